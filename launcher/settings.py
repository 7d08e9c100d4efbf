"""Settings of the local platform."""

from pathlib import Path

from pydantic import Field, SecretStr, field_serializer, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent


class LauncherSettings(BaseSettings):
    """`DAMSO_*` in the environment."""

    model_config = SettingsConfigDict(env_prefix="DAMSO_", env_ignore_empty=True, frozen=True)

    var: Path = REPOSITORY / "var"
    """Directory of everything that is kept: databases, models, logs."""

    port_offset: int = Field(default=0, ge=-5_000, le=14_000)
    """Added to every port, so that two checkouts can run side by side."""

    model: str = ""
    """Hub ids or checkpoint directories, separated by commas. Default: the bundled
    SmolLM2-135M-Instruct."""

    database_url: SecretStr | None = None
    """PostgreSQL with pgvector. Default: an embedded one."""

    redis_url: SecretStr | None = None
    """Redis or Valkey. Default: an embedded Valkey."""

    ready_seconds: float = Field(default=600, gt=0)
    """How long `up` waits until everything is ready."""

    @field_validator("var")
    @classmethod
    def _absolute(cls, var: Path) -> Path:
        return var.expanduser().resolve()

    @field_serializer("database_url", "redis_url", when_used="json-unless-none")
    def _reveal(self, url: SecretStr) -> str:
        return url.get_secret_value()  # only `instance.py` writes them, to a private file
