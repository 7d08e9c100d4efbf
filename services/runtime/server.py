"""The life of a service process: bind, report SERVING when it can serve, drain, stop."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import uvloop
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.runtime import logs, telemetry, tracing
from services.runtime.calls import CallScope
from services.runtime.health import HealthServicer
from services.runtime.settings import ServerSettings

logger = logging.getLogger(__name__)

_CONNECTIONS = (
    f"/{health.SERVICE_NAME}/Watch",
    f"/{reflection.SERVICE_NAME}/ServerReflectionInfo",
)
"""gRPC's own streams that last as long as the caller likes."""

Register = Callable[[grpc.aio.Server], None]
"""Adds one servicer to a server, such as `partial(add_…_to_server, servicer)`."""


class RunningServer:
    """A server that listens.

    Attributes:
        port: The port it is bound to.
    """

    def __init__(self, port: int, services: Iterable[str], checks: HealthServicer) -> None:
        self.port = port
        self._services = ("", *services)
        self._checks = checks

    async def set_serving(self, serving: bool) -> None:
        """Tells health checks, of the process and of each service, whether it can serve."""
        for service in self._services:
            await self._checks.set_serving(service, serving)


@asynccontextmanager
async def running(
    settings: ServerSettings,
    registers: dict[str, Register],
    *,
    connections: Iterable[str] = (),
    handlers: Iterable[grpc.GenericRpcHandler] = (),
    serving: bool = True,
) -> AsyncIterator[RunningServer]:
    """Listens until the block is left, then drains.

    Args:
        settings: Where, and how much.
        registers: For each full service name, what adds its servicer.
        connections: Full names of methods whose streams have no default deadline.
        handlers: For methods that no servicer has; the gateway forwards by them.
        serving: Whether health says SERVING from the start. A service that loads something first
            says so later by `set_serving`.

    Raises:
        OSError: A port is taken.
    """
    server = grpc.aio.server(
        interceptors=[CallScope(settings, frozenset((*connections, *_CONNECTIONS)))],
        maximum_concurrent_rpcs=settings.max_concurrent_calls,
        options=[
            ("grpc.max_receive_message_length", settings.max_request_bytes),
            ("grpc.max_send_message_length", -1),
            # Two servers on one port would each get half of the calls.
            ("grpc.so_reuseport", 0),
            # Callers keep quiet streams alive by pings; without these they would be cut off.
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    checks = HealthServicer()
    for register in registers.values():
        register(server)
    reflection.enable_server_reflection(
        (*registers, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_generic_rpc_handlers(tuple(handlers))
    port = _bind(server, settings)
    stop_telemetry = _serve_telemetry(settings)
    this = RunningServer(port, registers, checks)
    await this.set_serving(serving)
    await server.start()
    logger.info("listening", extra={"host": settings.host, "port": port})
    try:
        yield this
    finally:
        await checks.drain()
        logger.info("draining", extra={"drain_seconds": settings.drain_seconds})
        await server.stop(settings.drain_seconds)
        stop_telemetry()
        logger.info("stopped")


def run(service: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a service's `main` with logs and traces set up; ends the process when it returns."""
    logs.configure(service)
    tracing.configure(service)

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(_log_stray_fault)
        await main()

    uvloop.run(watched())


async def until_signalled() -> None:
    """Waits for SIGTERM or SIGINT."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    await signalled.wait()


def _log_stray_fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An error that nobody awaited. asyncio's own line would quote it."""
    if isinstance(error := context.get("exception"), BaseException):
        logs.fault(logger, "task failed", error)
    else:
        logger.error("event loop fault", extra={"cause": context.get("message")})


def _bind(server: grpc.aio.Server, settings: ServerSettings) -> int:
    address = f"{settings.host}:{settings.port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    if port == 0:
        raise OSError(f"cannot listen on {address}")
    return port


def _serve_telemetry(settings: ServerSettings) -> Callable[[], None]:
    if settings.telemetry_port is not None:
        return telemetry.serve(settings.host, settings.telemetry_port)
    if settings.port:
        return telemetry.serve(settings.host, settings.port + 1000)
    return lambda: None  # a test's server on a free port
