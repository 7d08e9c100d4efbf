"""Reads the tree of a conversation's messages: branches, siblings, what runs."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Select, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway import rows
from services.gateway.conversations import Message, MessageNotFound, Role, State
from services.gateway.tables import feedback, messages

MAX_BRANCH_MESSAGES = 9_990
"""As many as a chat template is given; older ones are beyond any context window."""

MAX_BRANCH_BYTES = 6 << 20
"""The same for their text."""

MAX_PAGE_BYTES = 3 << 20
"""Text of a page of messages: the page ends early rather than be too large to send."""


@dataclass(frozen=True, slots=True)
class Branch:
    """The messages from the root to a leaf, without siblings and ratings."""

    messages: tuple[Message, ...] = ()
    older_ids: tuple[UUID, ...] = ()
    """Messages before these that are beyond any context window, oldest first."""

    def newest(self, max_bytes: int) -> "Branch":
        """The rounds at the end that together have at most `max_bytes` of text."""
        size, start = 0, len(self.messages)
        for place in range(len(self.messages) - 1, -1, -1):
            size += len(self.messages[place].content.encode())
            if size > max_bytes:
                break
            if place == 0 or self.messages[place].role is Role.USER:
                start = place
        left_out = tuple(message.id for message in self.messages[:start])
        return Branch(self.messages[start:], self.older_ids + left_out)


async def read_branch(connection: AsyncConnection, conversation_id: UUID, leaf_id: UUID) -> Branch:
    """The branch above a leaf, itself included.

    Raises:
        MessageNotFound: The conversation has no such message.
    """
    path = _path(conversation_id, leaf_id, MAX_BRANCH_MESSAGES)
    ids = (await connection.execute(select(path).order_by(path.c.depth.desc()))).all()
    if not ids:
        raise MessageNotFound(leaf_id)
    near = [row.id for row in ids if row.bytes <= MAX_BRANCH_BYTES or row.depth == 1]
    query = select(messages).where(messages.c.id.in_(near)).order_by(messages.c.number)
    found = tuple(rows.message_of(row) for row in await connection.execute(query))
    if not found:  # deleted in between
        raise MessageNotFound(leaf_id)
    return Branch(found, tuple(row.id for row in ids[: len(ids) - len(near)]))


async def read_page(
    connection: AsyncConnection, conversation_id: UUID, leaf_id: UUID, limit: int
) -> list[Message]:
    """The messages from a leaf towards the root, with siblings and ratings.

    Raises:
        MessageNotFound: The conversation has no such message.
    """
    path = _path(conversation_id, leaf_id, limit)
    query = (
        select(messages)
        .join(path, path.c.id == messages.c.id)
        .where((path.c.bytes <= MAX_PAGE_BYTES) | (path.c.depth == 1))
        .order_by(path.c.depth)
    )
    found = [rows.message_of(row) for row in await connection.execute(query)]
    if not found:
        raise MessageNotFound(leaf_id)
    return await with_surroundings(connection, found)


async def read_message(connection: AsyncConnection, message_id: UUID) -> Message:
    """One message, with its siblings and its rating.

    Raises:
        MessageNotFound: There is none.
    """
    query = select(messages).where(messages.c.id == message_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise MessageNotFound(message_id)
    return (await with_surroundings(connection, [rows.message_of(row)]))[0]


async def with_surroundings(connection: AsyncConnection, found: list[Message]) -> list[Message]:
    """Messages of one conversation, completed by their siblings and ratings."""
    conversation_id = found[0].conversation_id
    parents = {message.parent_id for message in found if message.parent_id}
    of_parents: ColumnElement[bool] = messages.c.parent_id.in_(parents)
    if any(message.parent_id is None for message in found):
        of_parents |= messages.c.parent_id.is_(None) & (
            messages.c.conversation_id == conversation_id
        )
    siblings: dict[tuple[UUID | None, str], list[UUID]] = {}
    for row in await connection.execute(
        select(messages.c.id, messages.c.parent_id, messages.c.role)
        .where(of_parents)
        .order_by(messages.c.number)
    ):
        siblings.setdefault((row.parent_id, row.role), []).append(row.id)
    rated = feedback.c.message_id.in_([message.id for message in found])
    ratings = {
        row.message_id: rows.feedback_of(row)
        for row in await connection.execute(select(feedback).where(rated))
    }
    return [
        replace(
            message,
            sibling_ids=tuple(siblings.get((message.parent_id, message.role), ())),
            feedback=ratings.get(message.id),
        )
        for message in found
    ]


async def running_messages(
    connection: AsyncConnection, conversation_ids: Collection[UUID]
) -> dict[UUID, tuple[UUID, ...]]:
    """The messages being made in each of some conversations, in the order they were begun."""
    found: dict[UUID, tuple[UUID, ...]] = {}
    for row in await connection.execute(
        select(messages.c.conversation_id, messages.c.id)
        .where(
            messages.c.conversation_id.in_(conversation_ids),
            messages.c.state == State.RUNNING.value,
        )
        .order_by(messages.c.number)
    ):
        found[row.conversation_id] = (*found.get(row.conversation_id, ()), row.id)
    return found


async def leaf_below(connection: AsyncConnection, conversation_id: UUID, message_id: UUID) -> UUID:
    """The end of the branch that goes on below a message with the newest one at each step.

    Raises:
        MessageNotFound: The conversation has no such message.
    """
    top = select(messages.c.id, messages.c.number).where(
        messages.c.id == message_id, messages.c.conversation_id == conversation_id
    )
    path = top.cte("path", recursive=True)
    newest = (
        select(messages.c.id, messages.c.number)
        .where(messages.c.parent_id == path.c.id)
        .order_by(messages.c.number.desc())
        .limit(1)
        .lateral()
    )
    path = path.union_all(
        select(newest.c.id, newest.c.number).select_from(path.join(newest, literal(True)))
    )
    # A child is always made after its parent, so the newest on the path is its end.
    query = select(path.c.id).order_by(path.c.number.desc()).limit(1)
    leaf: UUID | None = (await connection.execute(query)).scalar_one_or_none()
    if leaf is None:
        raise MessageNotFound(message_id)
    return leaf


def _path(conversation_id: UUID, leaf_id: UUID, limit: int) -> Any:
    """Ids from a leaf towards the root, at most `limit`, each with the bytes of text down to it."""
    size = func.octet_length(messages.c.content)
    leaf: Select[Any] = select(
        messages.c.id,
        messages.c.parent_id,
        literal(1).label("depth"),
        size.cast(BigInteger).label("bytes"),
    ).where(messages.c.id == leaf_id, messages.c.conversation_id == conversation_id)
    path = leaf.cte("path", recursive=True)
    return path.union_all(
        select(messages.c.id, messages.c.parent_id, path.c.depth + 1, path.c.bytes + size).where(
            messages.c.id == path.c.parent_id, path.c.depth < limit
        )
    )
