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
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
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
_QUIET = frozenset({"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"})
"""Services whose calls are asked all the time; their log lines are for debugging."""

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
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Puts the scope around a method's handler."""
        handler = await continuation(handler_call_details)
        if handler is None:  # no such method: gRPC answers UNIMPLEMENTED
            return None
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
    inner: Any = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )

    async def behavior(request: Any, context: Context) -> Any:
        async def body() -> Any:
            if isinstance(request, ServiceError):  # it could not be parsed
                raise request
            argument = _Checked(request) if handler.request_streaming else request
            if inspect.isasyncgenfunction(inner):
                async with aclosing(inner(argument, context)) as responses:
                    async for response in responses:
                        await context.write(response)
                return None
            return await inner(argument, context)

        return await _answer(body, method, default_seconds, context)

    return make(
        behavior,
        request_deserializer=guarded(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )


class _Checked:
    """The requests of a stream, up to one that could not be parsed."""

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = aiter(requests)

    def __aiter__(self) -> "_Checked":
        return self

    async def __anext__(self) -> Any:
        request = await anext(self._requests)
        if isinstance(request, ServiceError):
            raise request
        return request


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
    callers_seconds: float | None = context.time_remaining()
    deadlines.begin(default_seconds if callers_seconds is None else callers_seconds)

    started = time.perf_counter()
    code = grpc.StatusCode.CANCELLED  # of a unary call whose caller has gone
    failed: status_pb2.Status | None = None
    reason: dict[str, str] = {}
    running = telemetry.RPC_RUNNING.labels(service, name)
    running.inc()
    with tracer.start_as_current_span(
        f"{service}/{name}",
        context=propagate.extract(metadata),
        kind=trace.SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        # An exception's message may quote what the person wrote.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        limit = asyncio.timeout(default_seconds if callers_seconds is None else None)
        try:
            async with limit:
                result = await _alone(body)
            if not context.cancelled():
                code = grpc.StatusCode.OK
            return result
        except ServiceError as error:
            failed = status.to_status(error, request_id)
            reason = {"reason": status.reason_of(error)}
        except grpc.aio.AbortError:  # a handler of gRPC's own, such as health
            given = context.code()  # a StatusCode or its number, as the handler gave it
            code = given if isinstance(given, grpc.StatusCode) else status.grpc_code(given)
            raise
        except (KeyboardInterrupt, SystemExit):
            raise
        except asyncio.CancelledError:
            code = _code_of_gone(context)
            raise
        except grpc.aio.InternalError as error:  # how a write fails once the caller has gone
            code = _code_of_gone(context)
            raise asyncio.CancelledError from error
        except BaseException as error:  # a panic of a library in Rust is no Exception
            if isinstance(error, TimeoutError) and limit.expired():
                late = DeadlineExceeded(
                    f"the call took longer than {default_seconds:g} s; set a longer deadline"
                )
                failed = status.to_status(late, request_id)
            else:
                logs.fault(logger, "call failed", error)
                failed = status.to_status(ServiceError("internal error"), request_id)
        finally:
            if failed is not None:
                code = status.grpc_code(failed.code)
            elapsed = time.perf_counter() - started
            running.dec()
            telemetry.RPC_HANDLED.labels(service, name, code.name).inc()
            telemetry.RPC_DURATION.labels(service, name).observe(elapsed)
            span.set_attribute("rpc.grpc.status_code", code.value[0])
            logger.log(
                logging.DEBUG if service in _QUIET else logging.INFO,
                "call answered",
                extra={
                    "method": method,
                    "code": code.name,
                    "duration_seconds": round(elapsed, 6),
                    **reason,
                },
            )
    trailers = (
        (channels.REQUEST_ID_KEY, request_id),
        (status.STATUS_KEY, failed.SerializeToString()),
    )
    try:
        return await context.abort(code, failed.message, trailers)
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError from error


async def _alone(body: Callable[[], Awaitable[Any]]) -> Any:
    """What a body gives; a known error comes out of a task group as itself."""
    try:
        return await body()
    except BaseExceptionGroup as group:
        known, faults = group.split((ServiceError, grpc.aio.InternalError))
        if known is None or faults is not None:
            raise
        error: BaseException = known
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def _code_of_gone(context: Context) -> grpc.StatusCode:
    """What a caller that has gone saw: gRPC ends a call whose deadline has passed by itself."""
    late = context.time_remaining() == 0
    return grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
