"""Keeps the messages of turns: begun in one transaction, saved while they grow, ended once.

A message that is being made names its owner, the gateway process that makes it, by the advisory
lock that this process holds (`ownership.py`). PostgreSQL lets go of the lock when the process is
gone, however it went, so whoever gets the lock knows that nobody makes the message any more.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from psycopg import errors as postgres
from sqlalchemy import bindparam, case, exc, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway import rows
from services.gateway.branches import read_message
from services.gateway.conversations import (
    ConversationNotFound,
    Failure,
    FinishReason,
    Message,
    MessageNotFound,
    Role,
    State,
    Usage,
    derived_title,
)
from services.gateway.tables import conversations, messages
from services.runtime.database import Database
from services.runtime.errors import AlreadyExists


@dataclass(frozen=True, slots=True)
class NewTurn:
    """The messages that a turn begins with."""

    conversation_id: UUID
    question_id: UUID
    answer_id: UUID
    model: str = ""
    question_parent_id: UUID | None = None
    content: str | None = None
    """Text of the user message to add; None: `question_id` is kept already."""

    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended."""

    state: State
    content: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    failure: Failure | None = None


class RequestRepeated(AlreadyExists):
    """The conversation has a turn with this request id already.

    Attributes:
        message_id: The turn.
    """

    reason = "REQUEST_REPEATED"

    def __init__(self, message_id: UUID) -> None:
        super().__init__("another call with this request id was first")
        self.message_id = message_id


class TurnStore:
    """The messages that this process makes.

    Args:
        database: Where they are kept.
        owner: This process's advisory lock.
    """

    def __init__(self, database: Database, owner: int) -> None:
        self._database = database
        self._owner = owner

    async def begin(self, turn: NewTurn) -> tuple[Message, Message]:
        """Keeps the question, where it is new, and the empty answer.

        Returns:
            Both, as kept.

        Raises:
            RequestRepeated: Another call with this request id was first.
            ConversationNotFound, MessageNotFound: Deleted meanwhile.
        """
        try:
            async with self._database.transaction() as connection:
                return await self._begin(connection, turn)
        except exc.IntegrityError as error:
            match error.orig:
                case postgres.UniqueViolation() if turn.request_id:
                    first = await self.of_request(turn.conversation_id, turn.request_id)
                    if first:
                        raise RequestRepeated(first) from error
                case postgres.ForeignKeyViolation():
                    raise MessageNotFound(turn.question_parent_id or turn.question_id) from error
            raise

    async def _begin(self, connection: AsyncConnection, turn: NewTurn) -> tuple[Message, Message]:
        title = derived_title(turn.content or "")
        touched = await connection.execute(
            update(conversations)
            .where(conversations.c.id == turn.conversation_id)
            .values(
                current_message_id=turn.answer_id,
                update_time=func.now(),
                title=case((conversations.c.title == "", title), else_=conversations.c.title),
            )
        )
        if touched.rowcount == 0:
            raise ConversationNotFound(turn.conversation_id)
        if turn.content is not None:
            await connection.execute(
                insert(messages).values(
                    id=turn.question_id,
                    conversation_id=turn.conversation_id,
                    parent_id=turn.question_parent_id,
                    role=Role.USER.value,
                    content=turn.content,
                    state=State.COMPLETE.value,
                )
            )
        await connection.execute(
            insert(messages).values(
                id=turn.answer_id,
                conversation_id=turn.conversation_id,
                parent_id=turn.question_id,
                role=Role.ASSISTANT.value,
                content="",
                state=State.RUNNING.value,
                model=turn.model,
                owner=self._owner,
                request_id=turn.request_id,
            )
        )
        question = await read_message(connection, turn.question_id)
        return question, await read_message(connection, turn.answer_id)

    async def checkpoint(self, contents: Mapping[UUID, str]) -> None:
        """Keeps what has come of some answers, so that a crash does not lose it."""
        statement = (
            update(messages)
            .where(messages.c.id == bindparam("message"), messages.c.state == State.RUNNING.value)
            .values(content=bindparam("so_far"))
        )
        async with self._database.transaction() as connection:
            await connection.execute(
                statement,
                [{"message": message, "so_far": text} for message, text in contents.items()],
            )

    async def end(self, message_id: UUID, outcome: Outcome) -> Message:
        """Keeps an answer as it ended. The owner's word stands above a sweep's.

        Raises:
            MessageNotFound: Its conversation was deleted.
        """
        of_message = select(messages.c.conversation_id).where(messages.c.id == message_id)
        async with self._database.transaction() as connection:
            # The conversation's row is locked first, as by those who delete it.
            touched = await connection.execute(
                update(conversations)
                .where(conversations.c.id == of_message.scalar_subquery())
                .values(update_time=func.now())
            )
            if touched.rowcount == 0:
                raise MessageNotFound(message_id)
            await connection.execute(
                update(messages)
                .where(messages.c.id == message_id)
                .values(
                    content=outcome.content,
                    state=outcome.state.value,
                    finish_reason=outcome.finish_reason.value if outcome.finish_reason else None,
                    usage=rows.usage_json(outcome.usage),
                    failure=rows.failure_json(outcome.failure),
                    owner=None,
                )
            )
            return await read_message(connection, message_id)

    async def of_request(self, conversation_id: UUID, request_id: str) -> UUID | None:
        """The answer that was begun with a request id."""
        query = select(messages.c.id).where(
            messages.c.conversation_id == conversation_id, messages.c.request_id == request_id
        )
        async with self._database.transaction() as connection:
            found: UUID | None = (await connection.execute(query)).scalar_one_or_none()
            return found

    async def interrupt_abandoned(self, running: Collection[UUID]) -> int:
        """Marks the answers whose makers are gone as interrupted.

        Args:
            running: The turns that run in this process. Its other answers, if they are not just
                begun, could not be kept as they ended.

        Returns:
            How many there were.
        """
        statement = text("""
            UPDATE gateway.messages SET state = 'interrupted', owner = NULL
            WHERE state = 'running' AND (
                owner IN (
                    SELECT owner
                    FROM (
                        SELECT DISTINCT owner FROM gateway.messages
                        WHERE state = 'running' AND owner <> :self
                    ) AS owners
                    WHERE pg_try_advisory_xact_lock(owner)
                )
                OR (
                    owner = :self
                    AND id <> ALL (CAST(:running AS uuid[]))
                    AND create_time < now() - interval '30 seconds'
                )
            )
        """)
        async with self._database.transaction() as connection:
            values = {"self": self._owner, "running": list(running)}
            return (await connection.execute(statement, values)).rowcount
