"""Settings that every service has, and the clients' side of a channel."""

from pydantic import BaseModel, ConfigDict, Field


class ServerSettings(BaseModel):
    """Where a service listens; `<SERVICE>_SERVER__*` in the environment."""

    model_config = ConfigDict(frozen=True)

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = Field(ge=0, le=65535)
    """gRPC port; 0 takes a free one."""

    telemetry_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of `/metrics`. Default: the gRPC port + 1000, or none where that port is 0."""

    max_request_bytes: int = Field(default=64 << 20, gt=0)
    """Largest request message, in bytes. Services set tighter limits on single fields."""

    max_concurrent_calls: int = Field(default=4096, gt=0)
    """Calls at once, streams included; more are refused with RESOURCE_EXHAUSTED."""

    unary_deadline_seconds: float = Field(default=30, gt=0)
    """For calls whose caller sets none."""

    stream_deadline_seconds: float = Field(default=1800, gt=0)
    """For streaming responses whose caller sets none."""

    drain_seconds: float = Field(default=20, ge=0)
    """How long running calls may go on after SIGTERM."""
