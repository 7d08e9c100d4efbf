"""Turns while they run: the log of each one's events, who follows it, and when it stops.

A turn is one task, which writes to the log; callers read from the log, each at its own pace.
Offsets count the events as they were written. A reader that lags gets the deltas that it missed as
one, with the offset of the last of them, so it can always go on with the offset it saw plus one.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import UUID

from services.gateway.conversations import State
from services.gateway.events import Delta, Event, Finished, NumberedEvent
from services.runtime import logs
from services.runtime.errors import ServiceError

logger = logging.getLogger(__name__)

SAVE_SECONDS = 5.0
"""How long turns have to be saved when the process ends."""


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """How long a turn may go on."""

    detached_seconds: float = 0
    """While no call is attached to it."""

    total_seconds: float = 1800


class Turn:
    """One turn while it runs.

    Args:
        message_id: The answer that is made.
        limits: How long it may go on.

    Attributes:
        state_when_stopped: What the answer is when the turn is stopped.
    """

    def __init__(self, message_id: UUID, limits: TurnLimits) -> None:
        self.message_id = message_id
        self.state_when_stopped = State.STOPPED
        self._limits = limits
        self._log: list[Event] = []
        self._error: ServiceError | None = None
        self._over = False
        self._waiting: set[asyncio.Future[None]] = set()
        self._readers = 0
        self._detached: asyncio.TimerHandle | None = None
        self._kept_until = 0.0
        self._stopping = False
        self._scope: asyncio.Timeout | None = None

    # For the one that makes the answer.

    def append(self, event: Event) -> None:
        """Adds an event."""
        self._log.append(event)
        self._wake()

    def close(self, error: ServiceError | None = None) -> None:
        """Ends the log.

        Args:
            error: What readers are told in place of `Finished`.
        """
        if self._over:
            return
        self._over = True
        self._error = error
        if self._detached:
            self._detached.cancel()
        self._wake()

    @asynccontextmanager
    async def until_stopped(self) -> AsyncIterator[None]:
        """Cuts the block short with `TimeoutError` when the turn is stopped."""
        async with asyncio.timeout(0 if self._stopping else self._limits.total_seconds) as scope:
            self._scope = scope
            try:
                yield
            finally:
                self._scope = None

    @property
    def text(self) -> str:
        """The answer so far."""
        return _text(self._log)

    # For those that follow it.

    @property
    def length(self) -> int:
        """How many events there are."""
        return len(self._log)

    def stop(self) -> None:
        """Ends the turn soon, with what has come."""
        self._stopping = True
        if self._scope and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self._over

    def keep(self, seconds: float) -> None:
        """Lets the turn go on for some seconds more, though no call here is attached to it."""
        self._kept_until = max(self._kept_until, asyncio.get_running_loop().time() + seconds)
        if self._readers == 0 and not self._over:
            self._expect_reader()

    async def events(self, offset: int) -> AsyncGenerator[NumberedEvent]:
        """The events from an offset on, those that were and then those that come.

        `Finished` comes even when the offset is beyond it.

        Raises:
            ServiceError: The turn has no `Finished`, for this reason.
        """
        told: Event | None = None
        while True:
            while offset < len(self._log):
                numbered = self._from(offset)
                offset, told = numbered.offset + 1, numbered.event
                yield numbered
            if self._over:
                if self._error:
                    raise self._error
                for last in self._log[-1:]:
                    if isinstance(last, Finished) and told is not last:
                        yield NumberedEvent(offset, last)
                return
            await self._changed()

    def between(self, first: int, end: int) -> Iterable[NumberedEvent]:
        """The events from one offset to before another, one by one."""
        for offset, event in enumerate(self._log[first:end], first):
            yield NumberedEvent(offset, event)

    async def ended(self) -> None:
        """Waits until nothing more comes."""
        while not self._over:
            await self._changed()

    @asynccontextmanager
    async def attached(
        self, deadline_passed: Callable[[], bool], detached_seconds: float | None = None
    ) -> AsyncIterator[None]:
        """Counts a call as following the turn.

        Args:
            deadline_passed: Whether it ends because its deadline passed; that stops the turn.
            detached_seconds: How long the turn goes on without a call from then on; None: as
                before.
        """
        if detached_seconds is not None:
            self._limits = TurnLimits(detached_seconds, self._limits.total_seconds)
        self._readers += 1
        if self._detached:
            self._detached.cancel()
        try:
            yield
        finally:
            self._readers -= 1
            if not self._over:
                if deadline_passed():
                    self.stop()
                elif self._readers == 0:
                    self._expect_reader()

    def _expect_reader(self) -> None:
        """Stops the turn unless somebody attaches in time."""
        if self._detached:
            self._detached.cancel()
        loop = asyncio.get_running_loop()
        seconds = max(self._limits.detached_seconds, self._kept_until - loop.time())
        if seconds <= 0:
            self.stop()
        else:
            self._detached = loop.call_later(seconds, self.stop)

    def _from(self, offset: int) -> NumberedEvent:
        event = self._log[offset]
        if not isinstance(event, Delta):
            return NumberedEvent(offset, event)
        last = offset
        while last + 1 < len(self._log) and isinstance(self._log[last + 1], Delta):
            last += 1
        if last == offset:
            return NumberedEvent(offset, event)
        return NumberedEvent(last, Delta(_text(self._log[offset : last + 1])))

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def _changed(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)


def _text(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


class Turns:
    """The turns that run in this process. Leaving the block cuts them off."""

    def __init__(self) -> None:
        self._cut_off = False
        self._running: dict[UUID, Turn] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut_off()
        for turn in self.all():
            turn.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SAVE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, turn: Turn, work: Callable[[Turn], Awaitable[None]]) -> None:
        """Runs a turn in a task of its own, which outlives the call that began it."""
        if self._cut_off:
            turn.state_when_stopped = State.INTERRUPTED
        self._running[turn.message_id] = turn

        async def run() -> None:
            try:
                await work(turn)
            except Exception:
                turn.close(ServiceError("internal error"))
                raise
            finally:
                del self._running[turn.message_id]
                turn.close()

        task = asyncio.create_task(run(), name=f"turn {turn.message_id}")
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def get(self, message_id: UUID) -> Turn | None:
        """A turn that runs here."""
        return self._running.get(message_id)

    def all(self) -> list[Turn]:
        """Every turn that runs here."""
        return list(self._running.values())

    def cut_off(self) -> None:
        """Says that turns which end from now on without being whole are cut off by the platform."""
        self._cut_off = True
        for turn in self.all():
            turn.state_when_stopped = State.INTERRUPTED

    def stop(self, message_id: UUID) -> None:
        """Stops a turn, if it runs here."""
        if turn := self.get(message_id):
            turn.stop()

    def keep(self, message_id: UUID, seconds: float) -> None:
        """Lets a turn go on for some seconds more, if it runs here."""
        if turn := self.get(message_id):
            turn.keep(seconds)

    def _finish(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logs.fault(logger, "turn broke off", error)
