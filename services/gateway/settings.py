"""What the gateway reads from its environment."""

from typing import Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.gateway import wire
from services.gateway.conversations import ChatSettings
from services.gateway.sampling import check_settings
from services.runtime.errors import InvalidArgument
from services.runtime.settings import ServerSettings


class Settings(BaseSettings):
    """`GATEWAY_*` in the environment."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", env_nested_delimiter="__", frozen=True)

    server: ServerSettings = ServerSettings(port=50050)

    database_url: SecretStr
    """`postgresql+psycopg://…`, where conversations are kept. A connection pooler in front of it
    must keep sessions: the gateway holds an advisory lock and listens."""

    database_connections: int = Field(default=16, ge=2)
    """Most connections to the database at once."""

    redis_url: SecretStr | None = None
    """`redis://…`, through which gateways share the events of running turns. Default: none; a turn
    can then be followed word by word only through the gateway that makes it."""

    tokenizer_address: str = "127.0.0.1:50051"
    """`host:port` of the tokenizer service."""

    generation_addresses: tuple[str, ...] = Field(default=("127.0.0.1:50052",), min_length=1)
    """`host:port` of each generation service. The first one's base model is the default model."""

    chat_sampling: dict[str, Any] = {
        "temperature": 0.2,
        "top_p": 0.5,
        "repetition_penalty": 1.1,
    }
    """`SamplingParams` of chats where neither message nor conversation sets them, as JSON. Default:
    near the most probable tokens, and away from loops: what a small model needs."""

    turn_seconds: float = Field(default=1800, gt=0)
    """Most time that one answer may take."""

    @field_validator("chat_sampling")
    @classmethod
    def _check_chat_sampling(cls, sampling: dict[str, Any]) -> dict[str, object]:
        """Refused at the start, rather than at every chat that sets nothing itself."""
        try:
            normal = wire.normal_sampling(sampling)
            check_settings(ChatSettings(sampling=normal), "chat")
        except InvalidArgument as error:
            raise ValueError(error.message) from None
        return normal
