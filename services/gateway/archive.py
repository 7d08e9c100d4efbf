"""Conversations out of a document, with new ids, ready to be kept.

`open_webui.py` and `chatgpt.py` read the two forms that there are into what stands here.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from services.gateway.conversations import (
    MAX_CONTENT_BYTES,
    MAX_TITLE_CHARACTERS,
    ChatSettings,
    Conversation,
    Message,
)
from services.gateway.json_reading import ImportInvalid, Value


@dataclass(frozen=True, slots=True)
class Archived:
    """A conversation and its messages, parents before children."""

    conversation: Conversation
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A place in the document's tree."""

    parent: Value
    """The document's id of the node above; null: there is none."""

    message: Message | None
    """None: nothing that the person or the model said."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One conversation of the document."""

    title: Value
    settings: ChatSettings
    current: Value
    """The document's id of the leaf that is shown."""

    create_time: datetime | None
    update_time: datetime | None
    conversation_id: UUID = field(default_factory=uuid4)
    nodes: dict[str, Node] = field(default_factory=dict)
    """By the document's ids."""

    def archived(self) -> Archived:
        """The conversation as it is kept.

        Raises:
            ImportInvalid: The nodes form no tree.
        """
        messages, spoken = self._ordered()
        current = None
        if self.current.it is not None:
            if self.current.text() not in self.nodes:
                raise ImportInvalid(self.current.path, "names a message that is not there")
            current = spoken[self.current.text()]
        create_time = self.create_time or datetime.now(UTC)
        conversation = Conversation(
            id=self.conversation_id,
            title=self.title.text(default="")[:MAX_TITLE_CHARACTERS],
            settings=self.settings,
            current_message_id=current or (messages[-1].id if messages else None),
            create_time=create_time,
            update_time=self.update_time or create_time,
        )
        return Archived(conversation, tuple(messages))

    def _ordered(self) -> tuple[list[Message], dict[str, UUID | None]]:
        """The messages, parents before children and otherwise as the document has them.

        Returns:
            Them, and for each node its message, or the nearest one above it.
        """
        ordered: list[Message] = []
        spoken: dict[str, UUID | None] = {}
        for start in self.nodes:
            chain: dict[str, None] = {}
            key: str | None = start
            while key is not None and key not in spoken:
                if key in chain:
                    raise ImportInvalid(
                        self.nodes[start].parent.path, "leads back to the message itself"
                    )
                chain[key] = None
                key = self._above(key)
            above = spoken[key] if key is not None else None
            for key in reversed(chain):
                if message := self.nodes[key].message:
                    ordered.append(replace(message, parent_id=above))
                    above = message.id
                spoken[key] = above
        return ordered, spoken

    def _above(self, key: str) -> str | None:
        parent = self.nodes[key].parent
        if parent.it is None:
            return None
        above = parent.text()
        if above not in self.nodes:
            raise ImportInvalid(parent.path, "names a message that is not there")
        return above


def content_of(text: str, path: str) -> str:
    """A message's text.

    Raises:
        ImportInvalid: It is too long.
    """
    size = len(text.encode())
    if size > MAX_CONTENT_BYTES:
        raise ImportInvalid(path, f"has {size} bytes; at most {MAX_CONTENT_BYTES} are allowed")
    return text


def model_of(value: Value) -> str:
    """The name of the model that made a message, which need not be served here."""
    return value.text(default="")[:256]
