"""What surrounds every call that a service answers.

`CallScope` is one server interceptor. Around each handler it binds the request id and the trace,
sets the deadline, counts and times the call, writes its log line, and turns errors into statuses.

A handler may stream by `yield` and by `await context.write()`. Generators are closed when the call
ends for whatever reason (grpc.aio leaves that to the garbage collector), so a `finally` in a
servicer runs at once when a caller goes away.
"""

import asyncio
import inspect
import logging
import re
import time
import traceback
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.rpc import status_pb2
from opentelemetry import propagate, trace

from services.runtime import channels, deadlines, logs, status, telemetry
from services.runtime.errors import DeadlineExceeded, ServiceError
from services.runtime.malformed import guarded
from services.runtime.settings import ServerSettings

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_QUIET = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")

# gRPC's classes are generic in its type stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class CallScope(grpc.aio.ServerInterceptor):
    """Surrounds every call of a server.

    Args:
        settings: The default deadlines.
        connections: Full method names (`/package.Service/Method`) whose streams last as long as
            the caller likes, and so have no default deadline.
    """

    def __init__(self, settings: ServerSettings, connections: frozenset[str]) -> None:
        self._unary_seconds = settings.unary_deadline_seconds
        self._stream_seconds = settings.stream_deadline_seconds
        self._connections = connections

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        if handler is None:  # no such method: gRPC answers UNIMPLEMENTED
            return handler
        method = str(handler_call_details.method)
        if method in self._connections:
            seconds = None
        elif handler.response_streaming:
            seconds = self._stream_seconds
        else:
            seconds = self._unary_seconds
        return _surround(handler, method, seconds)


def _surround(handler: Handler, method: str, default_seconds: float | None) -> Handler:
    """The same handler, answering inside `_answer`."""
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    inner = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )

    async def behavior(request: Any, context: Context) -> Any:
        if handler.request_streaming:
            request = _checked(request)

        async def body() -> Any:
            if isinstance(request, ServiceError):  # it could not be parsed
                raise request
            if inspect.isasyncgenfunction(inner):
                async with aclosing(inner(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)
                return None
            return await inner(request, context)

        return await _answer(body, method, default_seconds, context)

    return make(
        behavior,
        request_deserializer=guarded(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )


async def _checked(requests: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    async for request in requests:
        if isinstance(request, ServiceError):
            raise request
        yield request


async def _answer(
    body: Callable[[], Awaitable[Any]],
    method: str,
    default_seconds: float | None,
    context: Context,
) -> Any:
    """Runs one call to its end, whatever that is."""
    service, name = method.lstrip("/").split("/", 1)
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    request_id = metadata.get(channels.REQUEST_ID_KEY, "")
    if not _REQUEST_ID.fullmatch(request_id):
        request_id = uuid.uuid4().hex
    logs.request_id.set(request_id)
    context.set_trailing_metadata(((channels.REQUEST_ID_KEY, request_id),))
    remaining = context.time_remaining()
    deadlines.begin(default_seconds if remaining is None else remaining)

    started = time.perf_counter()
    code = "CANCELLED"  # holds unless the body returns or raises
    failed: status_pb2.Status | None = None
    running = telemetry.RPC_RUNNING.labels(service, name)
    running.inc()
    with tracer.start_as_current_span(
        method, context=propagate.extract(metadata), kind=trace.SpanKind.SERVER
    ) as span:
        try:
            async with asyncio.timeout(None if remaining is not None else default_seconds):
                result = await body()
            code = "CANCELLED" if context.cancelled() else "OK"
            return result
        except TimeoutError:
            late = DeadlineExceeded("the call took longer than its default deadline; set one")
            failed = status.to_status(late, request_id)
        except ServiceError as error:
            failed = status.to_status(error, request_id)
            if isinstance(error, status.RemoteError):
                logger.info("passed on", extra={"reason": status.reason_of(error)})
        except grpc.aio.AbortError:  # a handler of gRPC's own, such as health
            code = str(context.code())
            raise
        except Exception as error:
            # The message may quote what the person wrote: only its type and place are logged.
            logger.error(
                "call failed",
                extra={
                    "error_type": type(error).__qualname__,
                    "stack": traceback.format_tb(error.__traceback__),
                },
            )
            failed = status.to_status(ServiceError("internal error"), request_id)
        finally:
            if failed is not None:
                code = grpc.StatusCode((failed.code, _NAMES[failed.code])).name
            elapsed = time.perf_counter() - started
            running.dec()
            telemetry.RPC_HANDLED.labels(service, name, code).inc()
            telemetry.RPC_DURATION.labels(service, name).observe(elapsed)
            span.set_attribute("rpc.grpc.status", code)
            logger.log(
                logging.DEBUG if service in _QUIET else logging.INFO,
                "call answered",
                extra={"method": method, "code": code, "duration_seconds": round(elapsed, 6)},
            )
    assert failed is not None
    await context.abort(
        grpc.StatusCode((failed.code, _NAMES[failed.code])),
        failed.message,
        (
            (channels.REQUEST_ID_KEY, request_id),
            (status.STATUS_KEY, failed.SerializeToString()),
        ),
    )


_NAMES = {code.value[0]: code.value[1] for code in grpc.StatusCode}
