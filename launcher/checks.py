"""Whether a program can serve, asked the way its callers would."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from damso.generation.v1 import generation_pb2, generation_pb2_grpc
from launcher import commands
from launcher.errors import LauncherError

_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Health:
    """The answer of one check.

    Attributes:
        ready: Whether it can serve.
        detail: What it does instead.
        progress: How far it is, in [0, 1], where it says so.
    """

    ready: bool
    detail: str = ""
    progress: float | None = None

    def __str__(self) -> str:
        if self.ready:
            return "ready"
        return self.detail if self.progress is None else f"{self.detail} {self.progress:.0%}"


READY = Health(ready=True)
STARTING = Health(ready=False, detail="starting")


class Check(Protocol):
    """Asks one program."""

    def probe(self) -> Health:
        """Answers within a few seconds; never raises."""
        ...


@dataclass(frozen=True)
class PostgresCheck:
    """Asks PostgreSQL whether it takes connections."""

    pg_isready: Path
    socket_directory: Path

    def probe(self) -> Health:
        """See `Check`."""
        try:
            where = ("-h", self.socket_directory, "-U", "damso", "-d", "damso")
            commands.run([self.pg_isready, "-q", "-t", "2", *where])
        except LauncherError:
            return STARTING
        return READY


@dataclass(frozen=True)
class ValkeyCheck:
    """Says PING to Valkey, which refuses while it reads its append-only file."""

    port: int
    password: str

    def probe(self) -> Health:
        """See `Check`."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), _TIMEOUT_SECONDS) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    authenticated, answer = answers.readline(), answers.readline()
        except OSError:
            return STARTING
        if authenticated.startswith(b"-"):
            return Health(ready=False, detail="refuses the password")
        return READY if answer == b"+PONG\r\n" else Health(ready=False, detail="loading")


@dataclass(frozen=True)
class PageCheck:
    """Asks Streamlit."""

    port: int

    def probe(self) -> Health:
        """See `Check`."""
        url = f"http://127.0.0.1:{self.port}/_stcore/health"
        try:
            # A proxy from the environment is not the way to this machine.
            answer = httpx.get(url, timeout=_TIMEOUT_SECONDS, trust_env=False)
        except httpx.HTTPError:
            return STARTING
        return READY if answer.is_success else STARTING


@dataclass(frozen=True)
class GrpcCheck:
    """Asks a service's gRPC health."""

    port: int

    def probe(self) -> Health:
        """See `Check`."""
        with _channel(self.port) as channel:
            return _grpc_health(channel)


@dataclass(frozen=True)
class GenerationCheck:
    """Asks gRPC health, and while the model loads, how far it is."""

    port: int

    def probe(self) -> Health:
        """See `Check`."""
        with _channel(self.port) as channel:
            health = _grpc_health(channel)
            return health if health.ready or health is STARTING else _loading(channel)


def _channel(port: int) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)])


def _grpc_health(channel: grpc.Channel) -> Health:
    stub = health_pb2_grpc.HealthStub(channel)
    try:
        request = health_pb2.HealthCheckRequest()
        answer = stub.Check(request, timeout=_TIMEOUT_SECONDS)  # type: ignore[attr-defined]
    except grpc.RpcError:
        return STARTING
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return READY
    return Health(ready=False, detail="not serving yet")


def _loading(channel: grpc.Channel) -> Health:
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    try:
        answer = stub.ListModels(generation_pb2.ListModelsRequest(), timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError:
        return Health(ready=False, detail="loading")
    for model in answer.models:
        if model.state == generation_pb2.Model.STATE_LOADING:
            phase = generation_pb2.Loading.Phase.Name(model.loading.phase)
            words = phase.removeprefix("PHASE_").replace("_", " ").lower()
            return Health(False, f"loading: {words}", model.loading.progress)
        if model.state == generation_pb2.Model.STATE_FAILED:
            return Health(ready=False, detail="its engine died and starts again")
    return Health(ready=False, detail="loading")
