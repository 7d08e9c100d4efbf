"""Adds the conversations of a JSON document, all or none."""

import asyncio
from collections.abc import AsyncIterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway import chatgpt, open_webui, rows
from services.gateway.archive import Archived
from services.gateway.conversations import Feedback, Message
from services.gateway.json_reading import ImportInvalid, parse
from services.gateway.open_webui import NormalSampling
from services.gateway.tables import conversations, feedback, messages
from services.runtime.database import Database

MAX_BYTES = 64 << 20
MAX_CONVERSATIONS = 10_000
MAX_MESSAGES = 200_000
ROWS_AT_ONCE = 500


class Imports:
    """Imports into schema `gateway`.

    Args:
        database: Where conversations are kept.
        normal_sampling: Reads the sampling that conversations name.
    """

    def __init__(self, database: Database, normal_sampling: NormalSampling) -> None:
        self._database = database
        self._normal_sampling = normal_sampling
        self._reading = asyncio.Semaphore(1)  # a document takes many times its size when parsed

    async def add(self, chunks: AsyncIterable[bytes]) -> list[UUID]:
        """Adds the conversations of a document that comes in pieces.

        Returns:
            Their new ids, in the document's order.

        Raises:
            ImportInvalid: Something in it cannot be kept; nothing was.
        """
        document = bytearray()
        async for chunk in chunks:
            document += chunk
            if len(document) > MAX_BYTES:
                raise ImportInvalid("$", f"is larger than {MAX_BYTES} bytes; import it in parts")
        async with self._reading:
            found = await asyncio.to_thread(read, bytes(document), self._normal_sampling)
        async with self._database.transaction() as connection:
            await _keep(connection, found)
        return [archived.conversation.id for archived in found]


def read(document: bytes, normal_sampling: NormalSampling) -> list[Archived]:
    """The conversations of a document, which has a list of them, or one.

    Args:
        document: UTF-8 JSON.
        normal_sampling: Reads the sampling that conversations name.

    Raises:
        ImportInvalid: Something in it cannot be kept.
    """
    whole = parse(document)
    values = list(whole.items()) if isinstance(whole.it, list) else [whole]
    if len(values) > MAX_CONVERSATIONS:
        raise ImportInvalid("$", f"has more than {MAX_CONVERSATIONS} conversations")
    found: list[Archived] = []
    count = 0
    for value in values:
        if "mapping" in value:
            found.append(chatgpt.read(value))
        elif "chat" in value:
            found.append(open_webui.read(value, normal_sampling))
        else:
            raise ImportInvalid(value.path, "must have `chat` (Open WebUI) or `mapping` (ChatGPT)")
        count += len(found[-1].messages)
        if count > MAX_MESSAGES:
            raise ImportInvalid("$", f"has more than {MAX_MESSAGES} messages")
    return found


async def _keep(connection: AsyncConnection, found: Sequence[Archived]) -> None:
    told = [message for archived in found for message in archived.messages]
    tables: list[tuple[Any, list[dict[str, Any]]]] = [
        (conversations, [_conversation(archived) for archived in found]),
        (messages, [_message(message) for message in told]),
        (feedback, [_feedback(message.feedback) for message in told if message.feedback]),
    ]
    for table, values in tables:
        for start in range(0, len(values), ROWS_AT_ONCE):
            await connection.execute(insert(table), values[start : start + ROWS_AT_ONCE])


def _conversation(archived: Archived) -> dict[str, Any]:
    conversation = archived.conversation
    return {
        "id": conversation.id,
        "title": conversation.title,
        "settings": rows.settings_json(conversation.settings),
        "current_message_id": conversation.current_message_id,
        "create_time": conversation.create_time,
        "update_time": conversation.update_time,
    }


def _message(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "conversation_id": message.conversation_id,
        "parent_id": message.parent_id,
        "role": message.role.value,
        "content": message.content,
        "state": message.state.value,
        "create_time": message.create_time,
        "model": message.model,
        "finish_reason": message.finish_reason.value if message.finish_reason else None,
        "usage": rows.usage_json(message.usage),
        "failure": rows.failure_json(message.failure),
    }


def _feedback(given: Feedback) -> dict[str, Any]:
    return {
        "message_id": given.message_id,
        "conversation_id": given.conversation_id,
        "rating": given.rating.value if given.rating else None,
        "reasons": list(given.reasons),
        "comment": given.comment,
        "edited_content": given.edited_content,
        "update_time": given.update_time,
    }
