"""PostgreSQL: one pool of connections, and migrations that several processes may start at once."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, exc, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from services.runtime.errors import Unavailable

SESSION_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        # A machine that lost its power lets go of its locks after half a minute, not two hours.
        "tcp_keepalives_idle=10",
        "tcp_keepalives_interval=5",
        "tcp_keepalives_count=4",
        "idle_in_transaction_session_timeout=60s",
        "timezone=UTC",
    )
)
"""PostgreSQL settings of every session."""


class DatabaseUnavailable(Unavailable):
    """PostgreSQL cannot be reached, or is not yet prepared for this service."""

    reason = "DATABASE_UNAVAILABLE"


class Database:
    """The tables of one service.

    Args:
        url: `postgresql+psycopg://…`.
        connections: Most connections at once; callers wait for a free one.
    """

    def __init__(self, url: str, connections: int = 16) -> None:
        self._url = make_url(url)
        # Parameters hold what people wrote: hidden, they reach no log.
        self._engine = create_async_engine(
            self._url,
            hide_parameters=True,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=10,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5, "options": SESSION_OPTIONS},
            json_serializer=lambda value: json.dumps(value, ensure_ascii=False),
        )
        self._prepared = False

    @property
    def conninfo(self) -> str:
        """The address as libpq takes it, password included."""
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Commits when the block is left, rolls back when it raises.

        Raises:
            DatabaseUnavailable: Another try may succeed.
        """
        if not self._prepared:
            raise DatabaseUnavailable("the database is not ready yet; try again")
        async with self._begun() as connection:
            yield connection

    async def migrate(self, migrations: Path, schema: str) -> None:
        """Brings the service's schema to its newest version; does nothing to one that is there.

        Several processes may do so at once: one does the work and the others wait for it.

        Args:
            migrations: Directory with the service's Alembic `env.py` and `versions/`.
            schema: The service's schema, made where it is missing.

        Raises:
            DatabaseUnavailable: Another try may succeed.
        """
        async with self._begun() as connection:
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 0))"),
                {"lock": f"damso migrations {schema}"},
            )
            await connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
            await connection.run_sync(_upgrade, migrations, schema)
        self._prepared = True

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
            raise DatabaseUnavailable("the database cannot be reached; try again") from error
        except exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise DatabaseUnavailable("the database cannot be reached; try again") from error


def _upgrade(connection: Connection, migrations: Path, schema: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.attributes.update(connection=connection, schema=schema)
    command.upgrade(config, "head")


@asynccontextmanager
async def opened(url: str, connections: int = 16) -> AsyncIterator[Database]:
    """A database that is closed with the block."""
    database = Database(url, connections)
    try:
        yield database
    finally:
        await database.close()
