"""Following and stopping a turn, wherever it runs: here, in another gateway, or no more."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from uuid import UUID

from services.gateway.conversations import Message, Role, RoleMismatch, State
from services.gateway.events import Finished, NumberedEvent, Started
from services.gateway.live_copy import LiveCopy
from services.gateway.ownership import Notices
from services.gateway.store import Store
from services.gateway.turn_store import RequestRepeated
from services.gateway.turns import Turns
from services.runtime.errors import InvalidArgument, Unavailable

logger = logging.getLogger(__name__)

KEEP_SECONDS = 5.0
"""For how long a follower in another gateway holds a turn at a time."""

STOP_SECONDS = 10.0
"""How long another gateway is given to stop a turn."""

POLL_SECONDS = 0.05


class TurnNotStopped(Unavailable):
    """The gateway that makes the message does not answer."""

    reason = "TURN_NOT_STOPPED"


class Following:
    """Turns as those see them who did not begin them.

    Args:
        store: Keeps conversations.
        turns: The turns that run here.
        copy: Events of those that run elsewhere.
        notices: Reaches their owners.
    """

    def __init__(self, store: Store, turns: Turns, copy: LiveCopy, notices: Notices) -> None:
        self._store = store
        self._turns = turns
        self._copy = copy
        self._notices = notices

    async def events(
        self,
        message_id: UUID,
        offset: int,
        deadline_passed: Callable[[], bool],
        detached_seconds: float | None = None,
    ) -> AsyncGenerator[NumberedEvent]:
        """The events of a turn from an offset on, to its end.

        Args:
            message_id: The turn.
            offset: The first event wanted.
            deadline_passed: Whether the call ends because its deadline passed.
            detached_seconds: How long the turn goes on without a call from then on; None: as
                before.

        Raises:
            MessageNotFound: There is no such turn.
            RoleMismatch: It is a user message.
        """
        if offset < 0:
            raise InvalidArgument("offset must be at least 0", field="offset")
        if turn := self._turns.get(message_id):
            try:
                async with (
                    turn.attached(deadline_passed, detached_seconds),
                    aclosing(turn.events(offset)) as events,
                ):
                    async for event in events:
                        yield event
                return
            except RequestRepeated as repeated:  # another call with this request id was first
                first = repeated.message_id
            followed = self.events(first, offset, deadline_passed, detached_seconds)
        else:
            followed = self._elsewhere(message_id, offset, detached_seconds)
        async with aclosing(followed) as events:
            async for event in events:
                yield event

    async def stop(self, message_id: UUID) -> Message:
        """Stops a turn and waits until it is kept.

        Returns:
            The message as it was kept.

        Raises:
            MessageNotFound: There is no such turn.
            TurnNotStopped: Its gateway does not answer.
        """
        if turn := self._turns.get(message_id):
            turn.stop()
            await turn.ended()
        message = await self._answer(message_id)
        if message.state is State.RUNNING:
            await self._notices.stop(message_id)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    while message.state is State.RUNNING:
                        await asyncio.sleep(POLL_SECONDS)
                        message = await self._answer(message_id)
            except TimeoutError:
                raise TurnNotStopped("the gateway that makes the message does not answer") from None
        return message

    async def abandon(self, message_id: UUID) -> None:
        """Stops a turn whose conversation was deleted, without waiting."""
        if self._turns.get(message_id):
            self._turns.stop(message_id)
        else:
            await self._notices.stop(message_id)

    async def _elsewhere(
        self, message_id: UUID, offset: int, detached_seconds: float | None
    ) -> AsyncGenerator[NumberedEvent]:
        message = await self._answer(message_id)
        if offset == 0:
            yield NumberedEvent(0, await self._started(message))
            offset = 1
        position, over = "0", False
        keep_time = 0.0
        clock = asyncio.get_running_loop().time
        while message.state is State.RUNNING:
            if clock() >= keep_time:
                await self._notices.keep(message_id, max(KEEP_SECONDS, detached_seconds or 0))
                keep_time = clock() + KEEP_SECONDS / 2
            batch = await self._copy.read(message_id, position)
            position = batch.position
            for event in batch.events:
                if event.offset >= offset:
                    yield event
                    offset = event.offset + 1
            over = over or batch.over
            if over or not batch.events:
                message = await self._answer(message_id)
        yield NumberedEvent(offset, Finished(message))

    async def _started(self, message: Message) -> Started:
        if message.parent_id is None:
            raise RoleMismatch("message_id names an answer to nothing", field="message_id")
        question = await self._store.message(message.parent_id)
        empty = replace(message, content="", state=State.RUNNING, finish_reason=None, usage=None)
        return Started(question, replace(empty, failure=None))

    async def _answer(self, message_id: UUID) -> Message:
        message = await self._store.message(message_id)
        if message.role is not Role.ASSISTANT:
            raise RoleMismatch("message_id must name an assistant message", field="message_id")
        return message
