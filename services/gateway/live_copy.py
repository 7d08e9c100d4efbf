"""A copy of running turns in Redis, by which other gateways follow them word by word.

The copy is made in batches beside the token path, and is only ever a copy: when Redis is away,
turns go on as if nothing were, and other gateways learn of them when they are saved.

Each turn is a Redis stream of batches; a batch maps offsets to events. `Started` and `Finished` are
not copied, since PostgreSQL has what they say; the field `over` says that nothing more comes.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.gateway.events import Delta, Event, NumberedEvent, Rendered
from services.gateway.turns import Turn

logger = logging.getLogger(__name__)

BATCH_SECONDS = 0.1
RETRY_SECONDS = 2.0
KEPT_SECONDS = 120
"""How long a turn's copy outlives its last batch."""

READ_SECONDS = 1.0
"""Longest wait for a batch."""


@dataclass(slots=True)
class _Copied:
    """How far the copy of a turn is."""

    turn: Turn
    length: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of a turn that runs elsewhere."""

    events: tuple[NumberedEvent, ...]
    position: str
    """Where the next batch begins."""

    over: bool


class LiveCopy:
    """The copy, from both sides.

    Args:
        url: `redis://…`; None: there is no Redis, and nothing is copied.
        running: The turns that run in this process.
    """

    def __init__(self, url: str | None, running: Callable[[], Iterable[Turn]]) -> None:
        self._redis = (
            Redis.from_url(url, socket_connect_timeout=1, socket_timeout=READ_SECONDS + 2)
            if url
            else None
        )
        self._running = running
        self._copied: dict[UUID, _Copied] = {}
        self._answers = True
        self._leaving = asyncio.Event()

    async def run(self) -> None:
        """Copies what comes, until `leave`."""
        if self._redis is None:
            return
        while not self._leaving.is_set():
            try:
                await self._copy(self._redis)
                self._note(answers=True)
                await self._pause(BATCH_SECONDS)
            except (RedisError, OSError) as error:
                self._note(answers=False, error=error)
                # Nobody knows what arrived: every copy is made anew. Turns that are over get
                # none, else they would pile up for as long as Redis is away.
                self._copied = {
                    message_id: _Copied(copied.turn)
                    for message_id, copied in self._copied.items()
                    if not copied.turn.over
                }
                await self._pause(RETRY_SECONDS)
        await self._redis.aclose()

    def leave(self) -> None:
        """Lets `run` end. It is not cancelled, since redis-py may swallow that."""
        self._leaving.set()

    async def read(self, message_id: UUID, position: str) -> Batch:
        """The next batch of a turn that runs elsewhere, empty when none comes within a second.

        Args:
            message_id: The turn.
            position: Where the batch begins; `0` at first.
        """
        if self._redis is None or not self._answers:
            await asyncio.sleep(READ_SECONDS)
            return Batch((), position, over=False)
        try:
            found: Any = await self._redis.xread(
                {_key(message_id): position}, count=100, block=round(READ_SECONDS * 1000)
            )
        except (RedisError, OSError) as error:
            self._note(answers=False, error=error)
            await asyncio.sleep(READ_SECONDS)
            return Batch((), position, over=False)
        events: list[NumberedEvent] = []
        over = False
        for _, entries in found:
            for entry_id, fields in entries:
                position = entry_id.decode()
                for name, value in fields.items():
                    if name == b"over":
                        over = True
                    else:
                        events.append(NumberedEvent(int(name), _decoded(json.loads(value))))
        return Batch(tuple(events), position, over)

    async def _copy(self, redis: "Redis") -> None:
        for turn in self._running():
            self._copied.setdefault(turn.message_id, _Copied(turn))
        async with redis.pipeline(transaction=False) as pipeline:
            sent: dict[UUID, tuple[int, bool]] = {}
            for copied in self._copied.values():
                turn, length, over = copied.turn, copied.turn.length, copied.turn.over
                fields: dict[str, str] = {
                    str(numbered.offset): json.dumps(encoded, ensure_ascii=False)
                    for numbered in turn.between(copied.length, length)
                    if (encoded := _encoded(numbered.event)) is not None
                }
                if over:
                    fields["over"] = "1"
                if not fields:
                    continue
                key = _key(turn.message_id)
                if copied.length == 0:
                    pipeline.delete(key)
                pipeline.xadd(key, fields)  # type: ignore[arg-type]
                pipeline.expire(key, KEPT_SECONDS)
                sent[turn.message_id] = (length, over)
            if not sent:
                return
            await pipeline.execute()
        for message_id, (length, over) in sent.items():
            self._copied[message_id].length = length
            if over:
                del self._copied[message_id]

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()

    def _note(self, *, answers: bool, error: Exception | None = None) -> None:
        if answers != self._answers:
            self._answers = answers
            if answers:
                logger.info("Redis answers again")
            else:
                logger.warning(
                    "Redis does not answer; chat goes on, but turns cannot be followed word by "
                    "word through other gateways",
                    extra={"error_type": type(error).__name__},
                )


@asynccontextmanager
async def copying(
    url: str | None, running: Callable[[], Iterable[Turn]]
) -> AsyncIterator[LiveCopy]:
    """A live copy that is kept up within the block."""
    copy = LiveCopy(url, running)
    task = asyncio.create_task(copy.run(), name="live copy")
    try:
        yield copy
    finally:
        copy.leave()
        await task


def _key(message_id: UUID) -> str:
    return f"damso:gateway:turn:{message_id}"


def _encoded(event: Event) -> dict[str, object] | None:
    match event:
        case Delta(text=text):
            return {"text": text}
        case Rendered():
            return {
                "prompt_tokens": event.prompt_tokens,
                "context_window_tokens": event.context_window_tokens,
                "dropped_message_ids": [str(dropped) for dropped in event.dropped_message_ids],
                "prompt": event.prompt,
            }
    return None


def _decoded(value: dict[str, object]) -> Event:
    match value:
        case {"text": str(text)}:
            return Delta(text)
        case {
            "prompt_tokens": int(prompt_tokens),
            "context_window_tokens": int(context_window_tokens),
            "dropped_message_ids": list(dropped),
            "prompt": str(prompt),
        }:
            return Rendered(prompt_tokens, context_window_tokens, tuple(map(UUID, dropped)), prompt)
    raise ValueError("not an event of a turn")
