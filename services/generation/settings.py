"""What the generation service reads from its environment."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.settings import ServerSettings


class EngineSettings(BaseModel):
    """How the engine runs; `GENERATION_ENGINE__*` in the environment."""

    model_config = ConfigDict(frozen=True)

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Numeric type of the weights. `auto`: the checkpoint's."""

    max_model_len: int | None = Field(default=None, gt=0)
    """Context window, in tokens. Default: what fits (`context_window.py`)."""

    kv_cache_gib: float | None = Field(default=None, gt=0)
    """Memory for the KV cache, in GiB. Default: 1 on a CPU; elsewhere what
    `gpu_memory_fraction` leaves."""

    gpu_memory_fraction: float = Field(default=0.9, gt=0, le=1)
    """Share of device memory that vLLM may reserve, in (0, 1]."""

    max_running: int | None = Field(default=None, gt=0)
    """Most completions decoded at once. Default: vLLM's for the device."""

    max_waiting: int = Field(default=256, ge=0)
    """Most completions that wait for a place; more are refused."""

    max_loras: int = Field(default=4, ge=0)
    """Most adapters in one engine step; 0 serves none."""

    max_adapters: int = Field(default=32, gt=0)
    """Most adapters served at once, in host memory."""

    max_lora_rank: int = Field(default=32, gt=0)
    """Highest rank of an adapter."""

    tensor_parallel_size: int = Field(default=1, gt=0)
    """Devices that share each layer."""

    pipeline_parallel_size: int = Field(default=1, gt=0)
    """Groups of devices that share the layers."""

    cpu_threads: int | None = Field(default=None, gt=0)
    """Threads of the model on a CPU. Default: all cores but one, at least 1."""

    start_method: Literal["fork", "spawn"] = "fork"
    """How vLLM's processes begin. `spawn` imports everything again in each: 35 s more."""

    engine_args: dict[str, Any] = Field(default_factory=dict)
    """More of vLLM's `AsyncEngineArgs`, as JSON; they win over everything above."""


class Settings(BaseSettings):
    """`GENERATION_*` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="GENERATION_", env_nested_delimiter="__", frozen=True, protected_namespaces=()
    )

    server: ServerSettings

    model: str
    """Checkpoint directory or hub id of the base model."""

    model_name: str = ""
    """What requests call the base model. Default: the last part of `model`."""

    state_dir: Path
    """Directory of this process's own records: served adapters, durations of past starts."""

    adapter_root: Path | None = None
    """Directory that adapters are loaded from. Default: `adapter_root` in `state_dir`."""

    engine: EngineSettings = EngineSettings()

    @property
    def served_name(self) -> str:
        """What requests call the base model."""
        return self.model_name or self.model.rstrip("/").rsplit("/", 1)[-1]
