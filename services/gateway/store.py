"""Keeps conversations and reads their trees. `turn_store.py` writes the messages."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, func, insert, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway import rows
from services.gateway.branches import (
    Branch,
    leaf_below,
    read_branch,
    read_message,
    read_page,
    running_messages,
)
from services.gateway.conversations import (
    MAX_TITLE_CHARACTERS,
    ChatSettings,
    Conversation,
    ConversationNotFound,
    Message,
    check_characters,
)
from services.gateway.sampling import check_settings
from services.gateway.tables import conversations
from services.runtime import pages
from services.runtime.database import Database
from services.runtime.errors import InvalidArgument


class Store:
    """The conversations of schema `gateway`.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, title: str, settings: ChatSettings) -> Conversation:
        """Begins a conversation without messages."""
        check_characters(title, MAX_TITLE_CHARACTERS, "title")
        check_settings(settings)
        async with self._database.transaction() as connection:
            row = await connection.execute(
                insert(conversations)
                .values(id=uuid4(), title=title.strip(), settings=rows.settings_json(settings))
                .returning(conversations)
            )
            return rows.conversation_of(row.one())

    async def get(self, conversation_id: UUID) -> Conversation:
        """One conversation.

        Raises:
            ConversationNotFound: There is none.
        """
        async with self._database.transaction() as connection:
            return await _get(connection, conversation_id)

    async def page(self, page_size: int, page_token: str) -> tuple[list[Conversation], str]:
        """A page of the conversations, the most recently changed first, and the next's token."""
        limit = pages.size(page_size, default=50, most=200)
        scope = "ListConversations"
        query = (
            select(conversations)
            .order_by(conversations.c.update_time.desc(), conversations.c.id.desc())
            .limit(limit + 1)
        )
        if position := pages.decode(page_token, scope):
            query = query.where(
                after_time(conversations.c.update_time, conversations.c.id, position)
            )
        async with self._database.transaction() as connection:
            found = (await connection.execute(query)).all()
            running = await running_messages(connection, [row.id for row in found])
        items = [rows.conversation_of(row, running.get(row.id, ())) for row in found[:limit]]
        if len(found) <= limit:
            return items, ""
        return items, pages.encode([items[-1].update_time.isoformat(), str(items[-1].id)], scope)

    async def update(
        self,
        conversation_id: UUID,
        *,
        title: str | None,
        settings: ChatSettings | None,
        message_id: UUID | None,
    ) -> Conversation:
        """Changes what is given.

        Args:
            conversation_id: Which.
            title: Its new title.
            settings: Its new settings.
            message_id: A message of the branch to show.

        Raises:
            ConversationNotFound: There is none.
            MessageNotFound: The conversation has no such message.
        """
        values: dict[str, Any] = {}
        if title is not None:
            if not title.strip():
                raise InvalidArgument("title must hold some text", field="title")
            check_characters(title, MAX_TITLE_CHARACTERS, "title")
            values["title"] = title.strip()
        if settings is not None:
            check_settings(settings)
            values["settings"] = rows.settings_json(settings)
        async with self._database.transaction() as connection:
            if message_id is not None:
                values["current_message_id"] = await leaf_below(
                    connection, conversation_id, message_id
                )
            if values:
                await connection.execute(
                    update(conversations)
                    .where(conversations.c.id == conversation_id)
                    .values(**values, update_time=func.now())
                )
            return await _get(connection, conversation_id)

    async def delete(self, conversation_id: UUID) -> tuple[UUID, ...]:
        """Deletes a conversation and all that hangs on it.

        Returns:
            The messages of it that were being made.

        Raises:
            ConversationNotFound: There is none.
        """
        async with self._database.transaction() as connection:
            # Its row is locked first, as by those who begin and end turns in it.
            this = conversations.c.id == conversation_id
            locked = await connection.execute(
                select(conversations.c.id).where(this).with_for_update()
            )
            if locked.one_or_none() is None:
                raise ConversationNotFound(conversation_id)
            running = await running_messages(connection, [conversation_id])
            await connection.execute(delete(conversations).where(this))
        return running.get(conversation_id, ())

    async def message(self, message_id: UUID) -> Message:
        """One message, with its siblings and its rating.

        Raises:
            MessageNotFound: There is none.
        """
        async with self._database.transaction() as connection:
            return await read_message(connection, message_id)

    async def branch_page(
        self, conversation_id: UUID, leaf_id: UUID | None, page_size: int, page_token: str
    ) -> tuple[list[Message], str]:
        """A page of a branch, the leaf first, and the next one's token.

        Args:
            conversation_id: Which.
            leaf_id: The branch's leaf; None: the conversation's current one.
            page_size: As the caller asked for.
            page_token: Of the page before.

        Raises:
            ConversationNotFound: There is none.
            MessageNotFound: The conversation has no such message.
        """
        limit = pages.size(page_size, default=100, most=500)
        scope = f"ListMessages {conversation_id}"
        async with self._database.transaction() as connection:
            conversation = await _get(connection, conversation_id)
            if position := pages.decode(page_token, scope):
                start: UUID | None = UUID(str(position[0]))
            else:
                start = leaf_id or conversation.current_message_id
            if start is None:
                return [], ""
            items = await read_page(connection, conversation_id, start, limit)
        parent = items[-1].parent_id
        return items, pages.encode([str(parent)], scope) if parent else ""

    async def branch(self, conversation_id: UUID, leaf_id: UUID) -> Branch:
        """The messages from the root to a leaf.

        Raises:
            MessageNotFound: The conversation has no such message.
        """
        async with self._database.transaction() as connection:
            return await read_branch(connection, conversation_id, leaf_id)


def after_time(time: Any, item_id: Any, position: Iterable[str | int]) -> Any:
    """The condition of rows behind a page's end, in a list by time and id, newest first."""
    last_time, last_id = position
    return tuple_(time, item_id) < tuple_(
        literal(datetime.fromisoformat(str(last_time))), literal(UUID(str(last_id)))
    )


async def _get(connection: AsyncConnection, conversation_id: UUID) -> Conversation:
    query = select(conversations).where(conversations.c.id == conversation_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise ConversationNotFound(conversation_id)
    running = await running_messages(connection, [conversation_id])
    return rows.conversation_of(row, running.get(conversation_id, ()))
