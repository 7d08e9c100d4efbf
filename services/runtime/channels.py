"""Channels to other services: keepalive, retries of idempotent calls, ids on every call."""

import json
from collections.abc import Iterable, Sequence
from typing import TypedDict

import grpc.aio
from opentelemetry import propagate

from services.runtime import deadlines, logs

REQUEST_ID_KEY = "x-request-id"

_KEEPALIVE_OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    # A call larger than this cannot be sent again.
    ("grpc.per_rpc_retry_buffer_size", 8 << 20),
    # A service that was restarted is found again within a second, not after a minute.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class CallOptions(TypedDict):
    """Keyword arguments of a stub's call."""

    metadata: Sequence[tuple[str, str]]
    timeout: float | None


def open_channel(address: str, idempotent: Iterable[tuple[str, str]] = ()) -> grpc.aio.Channel:
    """Opens a channel; close it, or use it as `async with`.

    Args:
        address: `host:port`, or any target that gRPC resolves.
        idempotent: (full service name, method) pairs that may be tried again when the service
            cannot be reached. No others ever are.
    """
    retried = [{"service": service, "method": method} for service, method in idempotent]
    policy = {
        "name": retried,
        "retryPolicy": {
            # The most that gRPC allows; together about as long as a service takes to restart.
            "maxAttempts": 5,
            "initialBackoff": "0.2s",
            "maxBackoff": "2s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }
    config = {"methodConfig": [policy] if retried else []}
    return grpc.aio.insecure_channel(
        address, options=[*_KEEPALIVE_OPTIONS, ("grpc.service_config", json.dumps(config))]
    )


def outgoing(timeout_seconds: float | None) -> CallOptions:
    """Options for a call on behalf of the current one: its request id, its trace, its deadline.

    Args:
        timeout_seconds: The call's own limit; what remains of the current call is used if that
            is less. None: only what remains of the current call, for streams.
    """
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    metadata = list(carrier.items())
    if request_id := logs.request_id.get():
        metadata.append((REQUEST_ID_KEY, request_id))
    if timeout_seconds is None:
        return CallOptions(metadata=metadata, timeout=deadlines.remaining_seconds())
    return CallOptions(metadata=metadata, timeout=deadlines.budget_seconds(timeout_seconds))
