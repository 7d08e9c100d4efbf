"""A service for what no real one does on purpose: failing, never ending, calling another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from prometheus_client import REGISTRY

from services.runtime import channels, server, status
from services.runtime.calls import Context
from services.runtime.errors import NotFound
from services.runtime.server import RunningServer
from services.runtime.settings import ServerSettings

SERVICE = "damso.probe.v1.ProbeService"


class Probe:
    """Answers bytes with bytes.

    Attributes:
        closed: Set when a handler that never ends was ended.
        closed_in_call: Whether that was before the call was counted as over.
    """

    def __init__(self, next_hop: grpc.aio.Channel | None = None) -> None:
        self._next_hop = next_hop
        self.closed = asyncio.Event()
        self.closed_in_call = False

    async def Fail(self, request: bytes, context: Context) -> bytes:
        raise ValueError(f"cannot read {request.decode()}")

    async def FailLate(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield request
        raise NotFound("nothing there", resource_type="thing", resource_name="x")

    async def Wait(self, request: bytes, context: Context) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            self.closed.set()
        return b""

    async def TimeOutItself(self, request: bytes, context: Context) -> bytes:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        return b""

    async def Count(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Sends blocks of a size for ever."""
        try:
            while True:
                yield b"x" * int(request)
        finally:
            self.closed_in_call = running("Count") == 1
            self.closed.set()

    async def CountInTasks(self, request: bytes, context: Context) -> None:
        """The same beside a task that writes a last block when it is ended."""

        async def say_goodbye() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await context.write(b"goodbye")

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(say_goodbye())
                while True:
                    await context.write(b"x" * int(request))
        finally:
            self.closed.set()

    async def FailInTasks(self, request: bytes, context: Context) -> bytes:
        async def fail() -> None:
            raise NotFound("nothing there", resource_type="thing", resource_name="x")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
        return b""

    async def FailWhenCancelled(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            self.closed.set()
            raise ValueError("while going away")

    async def TimeLeft(self, request: bytes, context: Context) -> bytes:
        return str(context.time_remaining()).encode()

    async def Forward(self, request: bytes, context: Context) -> bytes:
        """Calls any method of the next hop; the request names it, a newline, then its request."""
        method, _, body = request.partition(b"\n")
        assert self._next_hop is not None
        try:
            return await self._next_hop.unary_unary(method.decode())(
                body, **channels.outgoing(timeout_seconds=5)
            )
        except grpc.aio.AioRpcError as error:
            raise status.from_rpc_error(error) from error

    def register(self, to: grpc.aio.Server) -> None:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        handlers = {
            "Fail": unary(self.Fail),
            "FailLate": stream(self.FailLate),
            "Wait": unary(self.Wait),
            "TimeOutItself": unary(self.TimeOutItself),
            "TimeLeft": unary(self.TimeLeft),
            "Count": stream(self.Count),
            "CountInTasks": stream(self.CountInTasks),
            "FailInTasks": unary(self.FailInTasks),
            "FailWhenCancelled": stream(self.FailWhenCancelled),
            "Forward": unary(self.Forward),
        }
        to.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])


def running(method: str) -> float | None:
    """How many calls of a probe's method are being answered in this process."""
    labels = {"service": SERVICE, "method": method}
    return REGISTRY.get_sample_value("damso_rpc_running", labels)


def handled(method: str, code: grpc.StatusCode) -> float:
    """How many calls of a probe's method have ended so in this process."""
    labels = {"service": SERVICE, "method": method, "code": code.name}
    return REGISTRY.get_sample_value("damso_rpc_handled_total", labels) or 0


class ProbeStub:
    """Calls a probe by a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        for name in ("Fail", "FailInTasks", "Wait", "TimeOutItself", "TimeLeft", "Forward"):
            setattr(self, name, channel.unary_unary(f"/{SERVICE}/{name}"))
        for name in ("FailLate", "Count", "CountInTasks", "FailWhenCancelled"):
            setattr(self, name, channel.unary_stream(f"/{SERVICE}/{name}"))


@asynccontextmanager
async def serving(
    probe: Probe, **settings: object
) -> AsyncIterator[tuple[RunningServer, ProbeStub]]:
    """Serves a probe on a free port."""
    bound = ServerSettings.model_validate({"port": 0, **settings})
    async with (
        server.running(bound, {SERVICE: probe.register}) as running,
        channels.open_channel(f"127.0.0.1:{running.port}") as channel,
    ):
        yield running, ProbeStub(channel)
