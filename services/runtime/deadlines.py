"""Every call has a deadline, and what it calls gets no more than what remains."""

import time
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""On the monotonic clock, in seconds."""


def begin(seconds: float | None) -> None:
    """Gives the current call its time; None: no limit, for streams that last as a connection."""
    _deadline.set(None if seconds is None else time.monotonic() + seconds)


def remaining_seconds() -> float | None:
    """What is left of the current call's time, at least 0; None outside a call or without limit."""
    deadline = _deadline.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def budget_seconds(own: float) -> float:
    """Time for a call made on behalf of the current one: `own`, or what remains if that is less."""
    remaining = remaining_seconds()
    return own if remaining is None else min(own, remaining)
