"""vLLM's engine arguments from our settings."""

from collections.abc import Iterable
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform

from services.generation.context_window import fitting_window
from services.generation.sampling import MAX_ALTERNATIVES
from services.generation.settings import EngineSettings

_GIB = 1 << 30
_CPU_KV_CACHE_GIB = 1.0
_CPU_RUNNING = 128


def engine_args(
    model: str, served_name: str, adapted_layers: Iterable[str], settings: EngineSettings
) -> AsyncEngineArgs:
    """The arguments that `AsyncLLM` starts with.

    Args:
        model: Checkpoint directory or hub id.
        served_name: What requests call it.
        adapted_layers: Last names of the layers that adapters may change.
        settings: The operator's wishes.
    """
    arguments: dict[str, Any] = {
        "model": model,
        "served_model_name": served_name,
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "gpu_memory_utilization": settings.gpu_memory_fraction,
        "max_num_seqs": settings.max_running,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "pipeline_parallel_size": settings.pipeline_parallel_size,
        "max_logprobs": MAX_ALTERNATIVES,
        "scheduling_policy": "priority",
        "use_tqdm_on_load": False,
        # The only backend that bounds what a schema or expression may cost; without free white
        # space a small model does not fall into endless blanks.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
    }
    if settings.kv_cache_gib is not None:
        arguments["kv_cache_memory_bytes"] = int(settings.kv_cache_gib * _GIB)
    if settings.max_loras:
        arguments |= {
            "enable_lora": True,
            "max_loras": settings.max_loras,
            "max_cpu_loras": max(settings.max_loras, settings.max_adapters),
            "max_lora_rank": settings.max_lora_rank,
            "lora_target_modules": sorted(set(adapted_layers)),
        }
    if current_platform.is_cpu():
        kv_cache_bytes = int((settings.kv_cache_gib or _CPU_KV_CACHE_GIB) * _GIB)
        arguments["kv_cache_memory_bytes"] = kv_cache_bytes
        # Compiling a small model takes longer than it saves, and adapters rule it out anyway.
        arguments["enforce_eager"] = True
        arguments["worker_cls"] = "services.generation.vllm_cpu_worker.CpuWorker"
        window = settings.max_model_len or fitting_window(model, kv_cache_bytes)
        running = settings.max_running or _CPU_RUNNING
        # Prompts are read in one piece: split where the company of the step leaves room, their
        # logprobs would depend on that company (`scoring.py`). The longest fits beside all others.
        arguments |= {
            "max_model_len": window,
            "max_num_seqs": running,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": window + running,
        }
    return AsyncEngineArgs(**(arguments | settings.engine_args))
