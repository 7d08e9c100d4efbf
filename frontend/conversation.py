"""What the pages know of a conversation; `damso.chat.v1` says what each thing means."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Role(Enum):
    """Who speaks in a message."""

    USER = "user"
    ASSISTANT = "assistant"


class MessageState(Enum):
    """Whether a message is whole."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class FinishReason(Enum):
    """Why decoding stopped."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


class Rating(Enum):
    """What is thought of a message."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens and when to stop. None: what the gateway has as its default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    unshown: bytes = field(default=b"", repr=False)
    """What other clients set and the page does not show, serialized; kept as it came."""


@dataclass(frozen=True)
class Settings:
    """What answers are made with."""

    model: str = ""
    """Empty: the first model served."""
    system_prompt: str = ""
    sampling: Sampling = Sampling()


@dataclass(frozen=True)
class Conversation:
    """A conversation, without its messages."""

    id: str
    title: str
    settings: Settings
    update_time: datetime
    current_message_id: str = ""
    running_message_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchHit:
    """A conversation that holds a text."""

    conversation: Conversation
    snippet: str


@dataclass(frozen=True)
class Failure:
    """Why something could not be done."""

    reason: str
    """Stable, in UPPER_SNAKE_CASE; `errors.py` has a sentence for it."""
    code: str
    """Name of the gRPC status code."""
    message: str = ""
    """In English, from the service."""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_seconds: float | None = None
    """None: not by waiting."""


@dataclass(frozen=True)
class Usage:
    """Tokens and times of one answer."""

    prompt_tokens: int
    completion_tokens: int
    first_token_seconds: float
    total_seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Speed of decoding after the first token; 0 where there is none to measure."""
        decoding = self.total_seconds - self.first_token_seconds
        if self.completion_tokens < 2 or decoding <= 0:
            return 0.0
        return (self.completion_tokens - 1) / decoding


@dataclass(frozen=True)
class Feedback:
    """A rating of an assistant message. Without anything in it, it removes the rating."""

    message_id: str
    rating: Rating | None = None
    reasons: tuple[str, ...] = ()
    """Stable keys such as `not_factual`."""
    comment: str = ""
    edited_content: str = ""
    """How the answer should have been."""


@dataclass(frozen=True)
class Message:
    """One node of a conversation's tree."""

    id: str
    parent_id: str
    role: Role
    content: str
    state: MessageState
    sibling_ids: tuple[str, ...] = ()
    model: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    failure: Failure | None = None
    feedback: Feedback | None = None


@dataclass(frozen=True)
class Page(Generic[Item]):
    """A part of a list."""

    items: tuple[Item, ...]
    next_token: str
    """Empty: this was the last part."""


@dataclass(frozen=True)
class TurnStarted:
    """The messages are saved and the turn runs."""

    user_message: Message
    message: Message


@dataclass(frozen=True)
class PromptRendered:
    """What the model is given."""

    prompt_tokens: int
    context_window_tokens: int
    dropped_message_ids: tuple[str, ...]
    prompt: str


@dataclass(frozen=True)
class TextDelta:
    """The next characters of the answer."""

    text: str


@dataclass(frozen=True)
class TurnFinished:
    """The answer as it was saved."""

    message: Message


TurnEvent = TurnStarted | PromptRendered | TextDelta | TurnFinished
