"""What goes to the tokenizer and the engine for one answer, and what comes back."""

from dataclasses import dataclass
from enum import StrEnum

from services.gateway.conversations import FinishReason, Usage
from services.runtime.errors import Unavailable


class Speaker(StrEnum):
    """Who speaks in a line of the prompt."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Line:
    """One message as the chat template sees it."""

    speaker: Speaker
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Rendered messages."""

    token_ids: tuple[int, ...]
    text: str
    dropped_indexes: tuple[int, ...]
    """Places in the list of lines that were left out to fit."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What the engine brought since the piece before."""

    text: str
    finish_reason: FinishReason | None = None
    """Set where decoding stopped."""

    usage: Usage | None = None
    """Set in the last piece, and only there."""


class TokenizerUnreachable(Unavailable):
    """The tokenizer service does not answer."""

    reason = "TOKENIZER_UNAVAILABLE"
