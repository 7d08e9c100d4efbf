"""What is kept: conversations, the tree of their messages, and what may stand in them.

    Conversation ── first question ─┬─ answer ── question ── answer      the current branch
                                    └─ answer, regenerated
                 └─ first question, edited ── answer

Knows nothing of how it is stored (`store.py`, `turn_store.py`) or made (`chat.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from services.runtime.errors import InvalidArgument, NotFound

MAX_TITLE_CHARACTERS = 200
MAX_CONTENT_BYTES = 1_000_000
MAX_SYSTEM_PROMPT_CHARACTERS = 100_000
MAX_REQUEST_ID_CHARACTERS = 128
DERIVED_TITLE_CHARACTERS = 60


class Role(StrEnum):
    """Who speaks in a message."""

    USER = "user"
    ASSISTANT = "assistant"


class State(StrEnum):
    """Whether a message is whole."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class FinishReason(StrEnum):
    """Why decoding stopped."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


class Rating(StrEnum):
    """What is thought of a message."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What answers are made with."""

    model: str = ""
    """Served model or adapter; empty: the first one served."""

    system_prompt: str = ""

    sampling: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """`SamplingParams` in protobuf's JSON form, by proto field name. The gateway keeps them and
    passes them on; what they mean is generation's."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    queue_seconds: float
    first_token_seconds: float
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a turn failed, as it is kept."""

    code: int
    """A `google.rpc.Code`."""

    reason: str
    message: str
    metadata: Mapping[str, str]
    retry_after_seconds: float | None


@dataclass(frozen=True, slots=True)
class Feedback:
    """A rating of an assistant message."""

    message_id: UUID
    conversation_id: UUID
    rating: Rating | None
    reasons: tuple[str, ...]
    comment: str
    edited_content: str
    update_time: datetime


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation, without its messages."""

    id: UUID
    title: str
    settings: ChatSettings
    current_message_id: UUID | None
    create_time: datetime
    update_time: datetime
    running_message_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One node of a conversation's tree."""

    id: UUID
    conversation_id: UUID
    parent_id: UUID | None
    role: Role
    content: str
    state: State
    create_time: datetime
    model: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    failure: Failure | None = None
    sibling_ids: tuple[UUID, ...] = ()
    feedback: Feedback | None = None


class ConversationNotFound(NotFound):
    """No conversation has this id."""

    reason = "CONVERSATION_NOT_FOUND"

    def __init__(self, conversation_id: object) -> None:
        super().__init__(
            "there is no such conversation; it may have been deleted",
            resource_type="conversation",
            resource_name=str(conversation_id),
        )


class MessageNotFound(NotFound):
    """No message has this id."""

    reason = "MESSAGE_NOT_FOUND"

    def __init__(self, message_id: object) -> None:
        super().__init__(
            "there is no such message; its conversation may have been deleted",
            resource_type="message",
            resource_name=str(message_id),
        )


class ContentEmpty(InvalidArgument):
    """The message says nothing."""

    reason = "CONTENT_EMPTY"


class TextTooLarge(InvalidArgument):
    """A text is longer than it may be."""

    reason = "TEXT_TOO_LARGE"


class RoleMismatch(InvalidArgument):
    """The message named is the person's where the model's is wanted, or the other way round."""

    reason = "ROLE_MISMATCH"


def derived_title(content: str) -> str:
    """What a conversation is called after its first user message: the beginning, cut at a word."""
    line = " ".join(next(filter(str.strip, content.splitlines()), "").split())
    if len(line) <= DERIVED_TITLE_CHARACTERS:
        return line
    cut = line[:DERIVED_TITLE_CHARACTERS]  # of which the last is kept for the ellipsis
    words, space, _ = cut.rpartition(" ")
    return (words if space else cut[:-1]).rstrip() + "…"


def check_content(content: str, field: str = "content") -> None:
    """Refuses a user message that says nothing or too much.

    Raises:
        ContentEmpty: It is empty or only white space.
        TextTooLarge: It is over the limit.
    """
    if not content.strip():
        raise ContentEmpty(f"{field} must hold some text", field=field)
    check_bytes(content, field)


def check_bytes(content: str, field: str) -> None:
    """Refuses a text of more than `MAX_CONTENT_BYTES`.

    Raises:
        TextTooLarge: It is.
    """
    size = len(content.encode())
    if size > MAX_CONTENT_BYTES:
        raise TextTooLarge(
            f"{field} has {size} bytes; at most {MAX_CONTENT_BYTES} are allowed",
            field=field,
            size_bytes=size,
            max_bytes=MAX_CONTENT_BYTES,
        )


def check_characters(text: str, most: int, field: str) -> None:
    """Refuses a text of more than `most` characters.

    Raises:
        TextTooLarge: It is.
    """
    if len(text) > most:
        raise TextTooLarge(
            f"{field} has {len(text)} characters; at most {most} are allowed",
            field=field,
            size_characters=len(text),
            max_characters=most,
        )
