"""What services raise when a call cannot be answered. Knows nothing of gRPC.

    ServiceError
    ├── InvalidArgument      the caller must change a value      (names the field)
    ├── NotFound             no such thing
    ├── AlreadyExists        the name is taken
    ├── FailedPrecondition   not in the state that this needs
    ├── ResourceExhausted    too much at once                    (says when to come back)
    ├── Unavailable          not now                             (says when to come back)
    ├── DeadlineExceeded     the time given has passed
    ├── Unauthenticated      who is calling is not known
    └── PermissionDenied     the caller may not do this

`status.py` turns each into a gRPC status with an `ErrorInfo`.
"""

from typing import ClassVar

_LONGEST = 1024
"""Characters of a message or of a figure behind it: a status has to fit in gRPC's metadata, and
some of it is what the caller sent."""


class ServiceError(Exception):
    """A call cannot be answered.

    Args:
        message: What is wrong and what to change, in English. Never holds user text.
        metadata: The figures behind the message; keys carry the unit.
    """

    reason: ClassVar[str] = "INTERNAL"
    """Stable name of the cause, in UPPER_SNAKE_CASE. Pages translate by it."""

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.message = _cut(message)
        self.metadata = {key: _cut(str(value)) for key, value in metadata.items()}


class InvalidArgument(ServiceError):
    """The caller must change a value, whatever the state of the service.

    Args:
        message: What is wrong and what to change.
        field: Path of the field in the request, such as `sampling.top_p`.
        metadata: The figures behind the message.
    """

    reason = "INVALID_ARGUMENT"

    def __init__(self, message: str, *, field: str = "", **metadata: object) -> None:
        super().__init__(message, **({"field": field} if field else {}), **metadata)
        self.field = field


class NotFound(ServiceError):
    """Nothing has this name or id.

    Args:
        message: What is missing.
        resource_type: Kind of thing, such as `model`.
        resource_name: The name or id that was asked for.
    """

    reason = "NOT_FOUND"

    def __init__(self, message: str, *, resource_type: str = "", resource_name: str = "") -> None:
        super().__init__(message, resource_type=resource_type, resource_name=resource_name)
        self.resource_type = resource_type
        self.resource_name = _cut(resource_name)


class AlreadyExists(NotFound):
    """Something has this name already."""

    reason = "ALREADY_EXISTS"


class FailedPrecondition(ServiceError):
    """The thing is not in the state that the call needs."""

    reason = "FAILED_PRECONDITION"


class _Retryable(ServiceError):
    """Another try may succeed.

    Args:
        message: What is wrong.
        retry_after_seconds: When to come back.
        metadata: The figures behind the message.
    """

    def __init__(
        self, message: str, *, retry_after_seconds: float = 1.0, **metadata: object
    ) -> None:
        super().__init__(message, **metadata)
        self.retry_after_seconds = retry_after_seconds


class ResourceExhausted(_Retryable):
    """A quota is spent or a queue is full."""

    reason = "RESOURCE_EXHAUSTED"


class Unavailable(_Retryable):
    """The service, or one that it needs, cannot answer now."""

    reason = "UNAVAILABLE"


class DeadlineExceeded(ServiceError):
    """The time given for the call has passed."""

    reason = "DEADLINE_EXCEEDED"


class Unauthenticated(ServiceError):
    """Who is calling is not known."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(ServiceError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
