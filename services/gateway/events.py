"""What happens in a turn, in order: `Started`, `Rendered`, any number of `Delta`, `Finished`."""

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from services.gateway.conversations import Message
from services.runtime.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Started:
    """The messages are saved and the turn runs."""

    user_message: Message
    message: Message


@dataclass(frozen=True, slots=True)
class Rendered:
    """The prompt is rendered."""

    prompt_tokens: int
    context_window_tokens: int
    dropped_message_ids: tuple[UUID, ...]
    prompt: str
    """Empty where the caller did not ask for it."""


@dataclass(frozen=True, slots=True)
class Delta:
    """The next characters of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is saved."""

    message: Message
    error: ServiceError | None = None
    """What it failed with, where that is known here better than by `message.failure`."""


Event: TypeAlias = Started | Rendered | Delta | Finished


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    """An event and its place in the turn."""

    offset: int
    event: Event
