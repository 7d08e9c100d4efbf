"""What generation speaks of: a request, what one engine step brings to it, and how it fails."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from services.generation.sampling import SamplingParams, require
from services.runtime.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class ContextLengthExceeded(InvalidArgument):
    """Prompt and `max_tokens` do not fit in the model's context window."""

    reason = "CONTEXT_LENGTH_EXCEEDED"


class ModelNotFound(NotFound):
    """No model or adapter is served under this name."""

    reason = "MODEL_NOT_FOUND"


class ModelLoading(Unavailable):
    """The model is not ready yet."""

    reason = "MODEL_LOADING"


class EngineDead(Unavailable):
    """The engine's process has died; a supervisor starts the service again."""

    reason = "ENGINE_DEAD"

    def __init__(self) -> None:
        super().__init__(
            "the engine has died and is about to be started again; try again",
            retry_after_seconds=30,
        )


class EngineFailed(ServiceError):
    """The engine gave up one request, and goes on."""

    reason = "ENGINE_FAILED"

    def __init__(self) -> None:
        super().__init__("the engine could not finish the request; change it, or report this")


class CompletionAborted(FailedPrecondition):
    """Somebody aborted the request by its id."""

    reason = "COMPLETION_ABORTED"


class QueueFull(ResourceExhausted):
    """As many completions wait as may."""

    reason = "QUEUE_FULL"

    def __init__(self, **metadata: object) -> None:
        super().__init__("the queue is full; try again", retry_after_seconds=1, **metadata)


class FinishReason(Enum):
    """Why a completion stopped."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text, or the token ids that were sent. Exactly one is set."""

    token_ids: Sequence[int] | None = None
    text: str | None = None
    field: str = "prompt"
    """Where it stood in the request, to name in errors."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One prompt and how to complete it."""

    request_id: str
    prompt: Prompt
    sampling: SamplingParams
    model: str = ""
    """Served name; empty: the base model."""
    priority: int = 0
    cache_salt: str = ""
    include_text: bool = True
    stream_interval: int = 1
    """Tokens per step that is passed on, in [1, 1024]."""
    read_prefix_cache: bool = True
    """Whether cached prefixes may stand in for reading the prompt again."""
    timed: bool = True
    """Whether its times are those of a completion that somebody waits for."""

    def __post_init__(self) -> None:
        require(
            bool(_REQUEST_ID.fullmatch(self.request_id)),
            "request_id",
            "must be 1 to 128 characters of [A-Za-z0-9._:-]",
        )
        require(-1000 <= self.priority <= 1000, "priority", "must be in [-1000, 1000]")
        require(len(self.cache_salt) <= 128, "cache_salt", "must be at most 128 characters")
        require(1 <= self.stream_interval <= 1024, "stream_interval", "must be in [1, 1024]")


@dataclass(frozen=True, slots=True)
class TokenProbability:
    """One token's probability in its place."""

    token_id: int
    token: str
    logprob: float | None
    """In nats; None for the first token of a prompt."""
    rank: int
    """1: the most probable; 0: not known."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's probability and those of its alternatives, most probable first."""

    token: TokenProbability
    alternatives: Sequence[TokenProbability] = ()


@dataclass(slots=True)
class Delta:
    """New tokens of one completion."""

    index: int
    token_ids: Sequence[int]
    text: str
    logprobs: Sequence[TokenLogprob] = ()
    finish_reason: FinishReason | None = None
    stop_string: str = ""
    stop_token_id: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and times of one request."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    queue_seconds: float
    first_token_seconds: float
    total_seconds: float


@dataclass(slots=True)
class Step:
    """What was decoded since the step before; the last one has `usage`."""

    deltas: list[Delta]
    prompt_logprobs: Sequence[TokenLogprob] = ()
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the engine is."""

    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    """In [0, 1]; blocks kept only as cached prefixes are not in use."""
