"""Settings of the pages."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """`FRONTEND_*` in the environment."""

    model_config = SettingsConfigDict(env_prefix="FRONTEND_", frozen=True)

    gateway_address: str = "127.0.0.1:50050"
    """`host:port` of the gateway."""

    call_deadline_seconds: float = Field(default=15, gt=0)
    """For calls that are answered at once."""

    turn_deadline_seconds: float = Field(default=1800, gt=0)
    """For a turn that is followed to its end."""

    detached_seconds: float = Field(default=30, ge=0, le=600)
    """How long an answer goes on while no page shows it, so that a refresh finds it again."""

    messages_per_page: int = Field(default=24, ge=2, le=500)
    """Messages drawn at once, and how many more `show earlier` brings."""

    conversations_per_page: int = Field(default=30, ge=1, le=200)
    """Conversations in the sidebar, and how many more `show more` brings."""
