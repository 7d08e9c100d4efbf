"""What the tokenizer service reads from its environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.settings import ServerSettings


class Settings(BaseSettings):
    """`TOKENIZER_*` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="TOKENIZER_",
        env_nested_delimiter="__",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    server: ServerSettings = ServerSettings(port=50051)

    models: dict[str, str] = Field(min_length=1)
    """Served name → directory or hub id, as a JSON object. The first is the default model."""

    max_text_bytes: int = Field(default=8 << 20, gt=0)
    """Most UTF-8 bytes of text in one request, all its texts or messages together."""

    max_token_ids: int = Field(default=4 << 20, gt=0)
    """Most token ids in one request, or in one message of a stream."""

    max_render_seconds: float = Field(default=10, gt=0)
    """Most time that a chat template may take for one request."""

    threads: int = Field(default=4, gt=0)
    """Threads that tokenize beside the event loop; the library divides batches further, over all
    cores, where `parallel_batches` is set."""

    parallel_batches: bool = True
    """Whether one batch of texts is divided over all cores."""

    max_waiting_calls: int = Field(default=256, gt=0)
    """Calls that may wait for a thread; more are refused with RESOURCE_EXHAUSTED."""
