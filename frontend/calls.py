"""One call to the gateway: its channel, its deadline and id, and what its failure means."""

import json
import logging
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypedDict, cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from frontend.conversation import Failure
from frontend.errors import GatewayError

logger = logging.getLogger(__name__)

_STATUS_KEY = "grpc-status-details-bin"
_READS = [
    {"service": "damso.chat.v1.ChatService", "method": method}
    for method in ("ListConversations", "GetConversation", "SearchConversations", "ListMessages")
]
_OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 64 << 20),
    # A gateway that was restarted is found again within a second, not after a minute.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    (
        "grpc.service_config",
        json.dumps(
            {
                "methodConfig": [
                    {
                        "name": _READS,
                        "retryPolicy": {
                            "maxAttempts": 2,
                            "initialBackoff": "0.1s",
                            "maxBackoff": "0.5s",
                            "backoffMultiplier": 2,
                            "retryableStatusCodes": ["UNAVAILABLE"],
                        },
                    }
                ]
            }
        ),
    ),
]


class CallOptions(TypedDict):
    """Keyword arguments of a stub's call."""

    metadata: tuple[tuple[str, str], ...]
    timeout: float


def open_channel(address: str) -> grpc.Channel:
    """Opens a channel that is meant to last."""
    return grpc.insecure_channel(address, options=_OPTIONS)


def options(seconds: float, request_id: str = "") -> CallOptions:
    """Options of a call: how long it may take, and the id that every hop logs it under."""
    return CallOptions(
        metadata=(("x-request-id", request_id or uuid.uuid4().hex),), timeout=seconds
    )


@contextmanager
def translated(options: CallOptions) -> Iterator[None]:
    """Turns what gRPC raises into a `GatewayError`."""
    request_id = options["metadata"][0][1]
    try:
        yield
    except grpc.RpcError as error:
        failure = _failure(error)
        logger.log(
            # A turn that the page leaves is nothing to look at.
            logging.DEBUG if failure.code == "CANCELLED" else logging.WARNING,
            "call failed",
            extra={"request_id": request_id, "code": failure.code, "reason": failure.reason},
        )
        raise GatewayError(failure, request_id) from None


def _failure(error: grpc.RpcError) -> Failure:
    """Why a call failed. A status without details comes from gRPC itself, not from a service."""
    code = error.code().name
    trailing = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in trailing:
        if key == _STATUS_KEY and isinstance(value, bytes):
            return _detailed(status_pb2.Status.FromString(value), code)
    reason = {"UNAVAILABLE": "GATEWAY_UNREACHABLE", "DEADLINE_EXCEEDED": "GATEWAY_SILENT"}
    return Failure(reason.get(code, code), code, error.details() or "")


def _detailed(status: status_pb2.Status, code: str) -> Failure:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    can_retry = False
    for detail in status.details:
        detail.Unpack(info)
        can_retry = detail.Unpack(retry) or can_retry
    return Failure(
        reason=info.reason or code,
        code=code,
        message=status.message,
        metadata=dict(info.metadata),
        retry_seconds=retry.retry_delay.ToMilliseconds() / 1000 if can_retry else None,
    )
