"""Conversations as one JSON document in Open WebUI's form, written as they are read.

What that form has no place for (exact times, state, usage, feedback, sampling) stands in objects
named `damso`, which Open WebUI passes over and `open_webui.py` reads, so that nothing is lost
between two Damsos.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from services.gateway import rows
from services.gateway.conversations import (
    Conversation,
    ConversationNotFound,
    Feedback,
    Message,
    Rating,
    Role,
)
from services.gateway.tables import conversations, feedback, messages
from services.runtime.database import Database
from services.runtime.errors import InvalidArgument

MAX_CONVERSATIONS = 1000
CHUNK_BYTES = 64 << 10


class Exports:
    """Exports of schema `gateway`.

    Args:
        database: Where conversations are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def document(self, conversation_ids: Sequence[UUID]) -> AsyncGenerator[bytes]:
        """The document, in pieces.

        Args:
            conversation_ids: Which conversations, in this order; none: all, the oldest first.

        Raises:
            InvalidArgument: There are too many.
            ConversationNotFound: There is no such conversation.
        """
        if len(conversation_ids) > MAX_CONVERSATIONS:
            raise InvalidArgument(
                f"conversation_ids has {len(conversation_ids)} ids; at most {MAX_CONVERSATIONS} "
                "are allowed",
                field="conversation_ids",
            )
        separator = b"["
        for conversation_id in conversation_ids or await self._all():
            found = await self._read(conversation_id)
            if found is None:
                if conversation_ids:
                    raise ConversationNotFound(conversation_id)
                continue  # deleted since the list was read
            written = separator + await asyncio.to_thread(_written, found)
            for start in range(0, len(written), CHUNK_BYTES):
                yield written[start : start + CHUNK_BYTES]
            separator = b",\n"
        yield b"]" if separator != b"[" else b"[]"

    async def _all(self) -> list[UUID]:
        query = select(conversations.c.id).order_by(conversations.c.create_time, conversations.c.id)
        async with self._database.transaction() as connection:
            return list((await connection.execute(query)).scalars())

    async def _read(self, conversation_id: UUID) -> dict[str, Any] | None:
        async with self._database.transaction() as connection:
            query = select(conversations).where(conversations.c.id == conversation_id)
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                return None
            rated = select(feedback).where(feedback.c.conversation_id == conversation_id)
            ratings = {
                rating.message_id: rows.feedback_of(rating)
                for rating in await connection.execute(rated)
            }
            tree = (
                select(messages)
                .where(messages.c.conversation_id == conversation_id)
                .order_by(messages.c.number)
            )
            found = [
                rows.message_of(message, feedback=ratings.get(message.id))
                for message in await connection.execute(tree)
            ]
        return _conversation(rows.conversation_of(row), found)


def _written(found: dict[str, Any]) -> bytes:
    return json.dumps(found, ensure_ascii=False).encode()


def _conversation(conversation: Conversation, found: Sequence[Message]) -> dict[str, Any]:
    settings = conversation.settings
    children: dict[UUID | None, list[str]] = {}
    for message in found:
        children.setdefault(message.parent_id, []).append(str(message.id))
    models = dict.fromkeys(message.model for message in found if message.model)
    return {
        "id": str(conversation.id),
        "title": conversation.title,
        "chat": {
            "title": conversation.title,
            "models": list(models),
            "params": {"system": settings.system_prompt} if settings.system_prompt else {},
            "history": {
                "currentId": _optional(conversation.current_message_id),
                "messages": {
                    str(message.id): _message(message, children.get(message.id, []))
                    for message in found
                },
            },
        },
        "meta": {"tags": []},
        "pinned": False,
        "folder_id": None,
        "created_at": _seconds(conversation.create_time),
        "updated_at": _seconds(conversation.update_time),
        "damso": {
            "settings": rows.settings_json(settings),
            "create_time": conversation.create_time.isoformat(),
            "update_time": conversation.update_time.isoformat(),
        },
    }


def _message(message: Message, children: list[str]) -> dict[str, Any]:
    written: dict[str, Any] = {
        "id": str(message.id),
        "parentId": _optional(message.parent_id),
        "childrenIds": children,
        "role": message.role.value,
        "content": message.content,
        "timestamp": _seconds(message.create_time),
        "damso": {
            "state": message.state.value,
            "create_time": message.create_time.isoformat(),
            "finish_reason": message.finish_reason.value if message.finish_reason else None,
            "usage": rows.usage_json(message.usage),
            "failure": rows.failure_json(message.failure),
            "feedback": _feedback(message.feedback),
        },
    }
    if message.role is Role.ASSISTANT:
        written |= {"model": message.model, "done": True}
    if message.feedback and message.feedback.rating:
        good = message.feedback.rating is Rating.UP
        written["annotation"] = {"rating": 1 if good else -1, "comment": message.feedback.comment}
    return written


def _feedback(given: Feedback | None) -> dict[str, Any] | None:
    if given is None:
        return None
    return {
        "rating": given.rating.value if given.rating else None,
        "reasons": list(given.reasons),
        "comment": given.comment,
        "edited_content": given.edited_content,
        "update_time": given.update_time.isoformat(),
    }


def _optional(item_id: UUID | None) -> str | None:
    return str(item_id) if item_id else None


def _seconds(time: datetime) -> int:
    return int(time.timestamp())
