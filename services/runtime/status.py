"""ServiceError ↔ gRPC status with `google.rpc` details. The only place that knows both."""

from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from damso.type.v1 import failure_pb2
from services.runtime import errors

DOMAIN = "damso"
STATUS_KEY = "grpc-status-details-bin"
"""Trailing metadata that carries the `google.rpc.Status`, by gRPC's convention."""

Detail = TypeVar("Detail", bound=Message)

_CODES: dict[type[errors.ServiceError], int] = {
    errors.InvalidArgument: code_pb2.INVALID_ARGUMENT,
    errors.AlreadyExists: code_pb2.ALREADY_EXISTS,
    errors.NotFound: code_pb2.NOT_FOUND,
    errors.FailedPrecondition: code_pb2.FAILED_PRECONDITION,
    errors.ResourceExhausted: code_pb2.RESOURCE_EXHAUSTED,
    errors.Unavailable: code_pb2.UNAVAILABLE,
    errors.DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    errors.Unauthenticated: code_pb2.UNAUTHENTICATED,
    errors.PermissionDenied: code_pb2.PERMISSION_DENIED,
}
_INTERNAL: int = code_pb2.INTERNAL


_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RemoteError(errors.ServiceError):
    """Another service refused a call; passed on to our caller as it came.

    Args:
        status: What the other service answered.
    """

    def __init__(self, status: status_pb2.Status) -> None:
        info = _detail(status, error_details_pb2.ErrorInfo())
        super().__init__(status.message)
        self.metadata = dict(info.metadata) if info else {}
        self.status = status
        self.code = status.code
        self.remote_reason = info.reason if info else code_pb2.Code.Name(status.code)


def to_status(error: errors.ServiceError, request_id: str = "") -> status_pb2.Status:
    """The status of an error: its code, its message, one `ErrorInfo`, and what its class adds."""
    if isinstance(error, RemoteError):
        return error.status
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata)
    )
    if request_id:
        info.metadata["request_id"] = request_id
    status = status_pb2.Status(code=_code(error), message=error.message)
    for detail in (info, *_details(error)):
        status.details.add().Pack(detail)
    return status


def to_failure(error: errors.ServiceError) -> failure_pb2.Failure:
    """The same as a record that can be kept or sent inside a stream."""
    status = to_status(error)
    failure = failure_pb2.Failure(
        code=status.code,
        reason=reason_of(error),
        message=status.message,
        metadata=error.metadata,
    )
    if retry := _detail(status, error_details_pb2.RetryInfo()):
        failure.retry_delay.CopyFrom(retry.retry_delay)
    return failure


def from_failure(failure: failure_pb2.Failure) -> errors.ServiceError:
    """The error that a kept failure stands for, to end a call with."""
    status = status_pb2.Status(code=failure.code, message=failure.message)
    info = error_details_pb2.ErrorInfo(
        reason=failure.reason, domain=DOMAIN, metadata=dict(failure.metadata)
    )
    status.details.add().Pack(info)
    if failure.HasField("retry_delay"):
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=failure.retry_delay))
    return RemoteError(status)


def from_rpc_error(error: grpc.aio.AioRpcError) -> errors.ServiceError:
    """What another service answered, as an error that can be passed on.

    A status without `ErrorInfo` did not come from a Damso service but from gRPC itself, mostly
    because nobody listens at the address; it becomes one that says so.
    """
    status = _status(error)
    if status is not None:
        return RemoteError(status)
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.Unavailable("a service that this call needs cannot be reached; try again")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded("a service that this call needs did not answer in time")
    return RemoteError(status_pb2.Status(code=code.value[0], message=error.details() or code.name))


def grpc_code(number: int) -> grpc.StatusCode:
    """gRPC's own name of a code; UNKNOWN for one that it has not."""
    return _GRPC_CODES.get(number, grpc.StatusCode.UNKNOWN)


def reason_of(error: errors.ServiceError) -> str:
    """The stable name of the cause, also of an error that another service raised."""
    return error.remote_reason if isinstance(error, RemoteError) else error.reason


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The `ErrorInfo` of a failed call, empty where it has none."""
    status = _status(error)
    found = _detail(status, error_details_pb2.ErrorInfo()) if status is not None else None
    return found or error_details_pb2.ErrorInfo()


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    # grpc_status reads calls, not the errors that grpc.aio raises.
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY:
            return status_pb2.Status.FromString(value)
    return None


def _code(error: errors.ServiceError) -> int:
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), _INTERNAL)


def _details(error: errors.ServiceError) -> list[Message]:
    match error:
        case errors.InvalidArgument(field=field) if field:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=field, description=error.message, reason=error.reason
            )
            return [error_details_pb2.BadRequest(field_violations=[violation])]
        case errors.NotFound():  # and AlreadyExists
            return [
                error_details_pb2.ResourceInfo(
                    resource_type=error.resource_type,
                    resource_name=error.resource_name,
                    description=error.message,
                )
            ]
        case errors.FailedPrecondition():
            unmet = error_details_pb2.PreconditionFailure.Violation(
                type=error.reason, description=error.message
            )
            return [error_details_pb2.PreconditionFailure(violations=[unmet])]
        case errors.ResourceExhausted() | errors.Unavailable():
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(round(error.retry_after_seconds * 1000))
            return [error_details_pb2.RetryInfo(retry_delay=delay)]
    return []


def _detail(status: status_pb2.Status, empty: Detail) -> Detail | None:
    """The first detail of the kind of `empty`, unpacked into it."""
    for packed in status.details:
        if packed.Unpack(empty):
            return empty
    return None
