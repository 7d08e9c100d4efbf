"""One connection by which the gateways of one database know of each other.

It holds the advisory lock that says that this process lives, hears the notices that other gateways
send to a turn's owner, and tells whether the database answers. PostgreSQL carries the notices, not
Redis: what they are about is in PostgreSQL, and Redis may be lost.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from secrets import randbits
from uuid import UUID

import psycopg
from sqlalchemy import text

from services.runtime.database import SESSION_OPTIONS, Database, DatabaseUnavailable

logger = logging.getLogger(__name__)

CHANNEL = "damso_gateway_turns"
LISTEN_SECONDS = 2.0
SWEEP_SECONDS = 6.0
RETRY_SECONDS = 0.5


class Ownership:
    """This process among the gateways of one database.

    Args:
        database: What they share.
        owner: This process's advisory lock.
        prepare: Brings the database to what this version needs; done before each first use.
        sweep: Looks after turns whose owners are gone.
        on_stop: Called with a turn that is to be stopped.
        on_keep: Called with a turn that is followed through another gateway, and for how many
            more seconds.
        on_change: Called with whether the database answers, whenever that changes.
    """

    def __init__(
        self,
        database: Database,
        owner: int,
        *,
        prepare: Callable[[], Awaitable[None]],
        sweep: Callable[[], Awaitable[int]],
        on_stop: Callable[[UUID], None],
        on_keep: Callable[[UUID, float], None],
        on_change: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._database = database
        self._prepare = prepare
        self._sweep = sweep
        self._on_stop = on_stop
        self._on_keep = on_keep
        self._on_change = on_change
        self._owner = owner

    async def hold(self) -> None:
        """Holds the lock and listens, over and over, until it is cancelled."""
        answers: bool | None = None
        sweep_delay = 0.0
        while True:
            try:
                await self._prepare()
                async with await psycopg.AsyncConnection.connect(
                    self._database.conninfo,
                    autocommit=True,
                    connect_timeout=5,
                    options=SESSION_OPTIONS,
                ) as connection:
                    await self._lock(connection)
                    await connection.execute(f"LISTEN {CHANNEL}")
                    answers = True
                    await self._on_change(True)
                    delay, sweep_delay = sweep_delay, SWEEP_SECONDS
                    await self._listen(connection, delay)
            except (psycopg.OperationalError, psycopg.InterfaceError, DatabaseUnavailable) as error:
                if answers is not False:
                    logger.warning(
                        "database does not answer", extra={"error_type": type(error).__name__}
                    )
                    answers = False
                    await self._on_change(False)
            await asyncio.sleep(RETRY_SECONDS)

    async def _lock(self, connection: psycopg.AsyncConnection) -> None:
        # After a lost connection PostgreSQL may think for a while that the old one still has it.
        while True:
            row = await connection.execute("SELECT pg_try_advisory_lock(%s)", (self._owner,))
            held = await row.fetchone()
            if held and held[0]:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, connection: psycopg.AsyncConnection, sweep_delay: float) -> None:
        # After a reconnection the other gateways are given time to get their locks again.
        clock = asyncio.get_running_loop().time
        sweep_time = clock() + sweep_delay
        while True:
            if clock() >= sweep_time:
                if interrupted := await self._sweep():
                    logger.warning("turns were cut off", extra={"message_count": interrupted})
                sweep_time = clock() + SWEEP_SECONDS
            async for notice in connection.notifies(timeout=LISTEN_SECONDS, stop_after=1):
                self._hear(notice.payload)
            await connection.execute("SELECT 1")  # raises when the connection is lost

    def _hear(self, payload: str) -> None:
        match json.loads(payload):
            case {"stop": str(message_id)}:
                self._on_stop(UUID(message_id))
            case {"keep": str(message_id), "seconds": int(seconds) | float(seconds)}:
                self._on_keep(UUID(message_id), seconds)


class Notices:
    """What a gateway says to the owners of turns that run in others.

    Args:
        database: What they share.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stop(self, message_id: UUID) -> None:
        """Asks a turn's owner to stop it."""
        await self._say({"stop": str(message_id)})

    async def keep(self, message_id: UUID, seconds: float) -> None:
        """Tells a turn's owner that somebody follows it, for `seconds` more at least."""
        await self._say({"keep": str(message_id), "seconds": seconds})

    async def _say(self, notice: dict[str, object]) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(
                text("SELECT pg_notify(:channel, :notice)"),
                {"channel": CHANNEL, "notice": json.dumps(notice)},
            )


def new_owner() -> int:
    """An advisory lock that no other process has."""
    return randbits(62)
