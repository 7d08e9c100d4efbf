"""Calls to other services through the gateway's port, carried as bytes.

The methods are those of the services' descriptors. Of a request only field 1, the model's name, is
read, and only where several backends serve different models. A call keeps its deadline, request id,
trace, cancellation and status. Beside `servicer.py`: it knows the wire.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import StringValue

from services.gateway.clients import GENERATION
from services.runtime import channels, status
from services.runtime.errors import ServiceError, Unavailable

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Channels: TypeAlias = Mapping[str, grpc.aio.Channel]
"""Channels to the backends of one service, by address; the first is the default."""

AddressOf: TypeAlias = Callable[[str], Awaitable[str]]
"""The address of the backend that serves a model."""

GATHERED = frozenset(
    f"/{GENERATION.full_name}/{method}" for method in ("ListModels", "ListAdapters")
)
"""Methods that every backend answers for itself, where no model is named."""


class BackendUnreachable(Unavailable):
    """The service that the call is for does not answer."""

    reason = "BACKEND_UNAVAILABLE"


def connections(*services: ServiceDescriptor) -> list[str]:
    """Methods whose streams last as long as the caller likes: those that stream both ways."""
    return [
        f"/{service.full_name}/{method.name}"
        for service in services
        for method in service.methods
        if method.client_streaming and method.server_streaming
    ]


class Forwarder(grpc.GenericRpcHandler):
    """Forwards one service.

    Args:
        service: Its descriptor.
        backends: Where it runs.
        address_of: Which backend serves a model; not asked where there is one backend only.
    """

    def __init__(
        self, service: ServiceDescriptor, backends: Channels, address_of: AddressOf | None = None
    ) -> None:
        self._backends = backends
        self._address_of = address_of
        self._handlers = {
            f"/{service.full_name}/{method.name}": self._handler(service, method)
            for method in service.methods
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """The handler of a method, None for one of another service."""
        return self._handlers.get(str(handler_call_details.method))

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service's methods to a server."""
        server.add_generic_rpc_handlers((self,))

    def _handler(self, service: ServiceDescriptor, method: MethodDescriptor) -> Handler:
        path = f"/{service.full_name}/{method.name}"
        first = method.input_type.fields_by_number.get(1)
        routed = (
            first is not None
            and first.name == "model"
            and first.type == FieldDescriptor.TYPE_STRING
        )

        async def unary(request: bytes, context: Context) -> bytes:
            if path in GATHERED and len(self._backends) > 1 and not (routed and _model(request)):
                return await self._gather(path, request)
            channel = await self._channel(request if routed else b"")
            try:
                return await _unary(channel, path, request)
            except grpc.aio.AioRpcError as error:
                raise _named(error) from error

        async def unary_stream(request: bytes, context: Context) -> AsyncIterator[bytes]:
            channel = await self._channel(request if routed else b"")
            begin: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
            call = begin(request, **channels.outgoing(None))
            try:
                async for response in call:
                    yield response
            except grpc.aio.AioRpcError as error:
                raise _named(error) from error
            finally:
                call.cancel()

        async def stream_stream(
            requests: AsyncIterator[bytes], context: Context
        ) -> AsyncIterator[bytes]:
            # The first request says where to; a caller may also close its side without any.
            opening = await anext(requests, None)
            channel = await self._channel(opening or b"" if routed else b"")

            async def all_requests() -> AsyncIterator[bytes]:
                if opening is not None:
                    yield opening
                    async for request in requests:
                        yield request

            begin: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
            call = begin(all_requests(), **channels.outgoing(None))
            try:
                async for response in call:
                    yield response
            except grpc.aio.AioRpcError as error:
                raise _named(error) from error
            finally:
                call.cancel()

        if method.client_streaming and method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(stream_stream)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(unary_stream)
        if method.client_streaming:
            raise NotImplementedError(f"{path}: no service streams requests only")
        return grpc.unary_unary_rpc_method_handler(unary)

    async def _channel(self, request: bytes) -> grpc.aio.Channel:
        if len(self._backends) > 1 and self._address_of:
            return self._backends[await self._address_of(_model(request))]
        return next(iter(self._backends.values()))

    async def _gather(self, path: str, request: bytes) -> bytes:
        """The answers of all backends as one: serialised messages concatenate.

        Backends that do not answer are left out, unless none does.
        """
        answers: list[bytes] = []
        failed: grpc.aio.AioRpcError | None = None
        for channel in self._backends.values():
            try:
                answers.append(await _unary(channel, path, request))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise _named(error) from error
                failed = error
        if failed and not answers:
            raise _named(failed) from failed
        return b"".join(answers)


async def _unary(channel: grpc.aio.Channel, path: str, request: bytes) -> bytes:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return await call(request, **channels.outgoing(None))


def _model(request: bytes) -> str:
    """Field 1 of a request, which is its model's name."""
    try:
        # A wrapper has one field, a string with number 1; all others are skipped unread.
        return StringValue.FromString(request).value
    except DecodeError:
        return ""  # the backend says what is wrong with it


def _named(error: grpc.aio.AioRpcError) -> ServiceError:
    """The backend's own status; where it did not answer at all, one that says so."""
    passed = status.from_rpc_error(error)
    if type(passed) is Unavailable:
        return BackendUnreachable("the service that this call is for does not answer; try again")
    return passed
