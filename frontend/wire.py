"""Proto ↔ what the pages know. Decides nothing."""

from datetime import UTC, datetime
from typing import Literal, get_args

from damso.chat.v1 import chat_pb2
from damso.generation.v1 import generation_pb2
from damso.type.v1 import completion_pb2, failure_pb2, message_pb2, sampling_pb2
from frontend.conversation import (
    Conversation,
    Failure,
    Feedback,
    FinishReason,
    Message,
    MessageState,
    PromptRendered,
    Rating,
    Role,
    Sampling,
    SearchHit,
    Settings,
    TextDelta,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    Usage,
)
from frontend.models import LoadingPhase, Model, ModelState

CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""Names of the gRPC status codes, by number."""

_STATES = {
    chat_pb2.ChatMessage.STATE_RUNNING: MessageState.RUNNING,
    chat_pb2.ChatMessage.STATE_COMPLETE: MessageState.COMPLETE,
    chat_pb2.ChatMessage.STATE_STOPPED: MessageState.STOPPED,
    chat_pb2.ChatMessage.STATE_INTERRUPTED: MessageState.INTERRUPTED,
    chat_pb2.ChatMessage.STATE_FAILED: MessageState.FAILED,
}
_FINISH_REASONS = {
    completion_pb2.FINISH_REASON_STOP: FinishReason.STOP,
    completion_pb2.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    completion_pb2.FINISH_REASON_ABORT: FinishReason.ABORT,
}
_RATINGS = {
    chat_pb2.Feedback.RATING_UP: Rating.UP,
    chat_pb2.Feedback.RATING_DOWN: Rating.DOWN,
}
_RATING_NUMBERS = {rating: number for number, rating in _RATINGS.items()}
_MODEL_STATES = {
    generation_pb2.Model.STATE_LOADING: ModelState.LOADING,
    generation_pb2.Model.STATE_READY: ModelState.READY,
    generation_pb2.Model.STATE_FAILED: ModelState.FAILED,
}
_PHASES = {
    generation_pb2.Loading.PHASE_IMPORTING: LoadingPhase.IMPORTING,
    generation_pb2.Loading.PHASE_STARTING_ENGINE: LoadingPhase.STARTING_ENGINE,
    generation_pb2.Loading.PHASE_WARMING_UP: LoadingPhase.WARMING_UP,
}
_Scalar = Literal[
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "max_tokens",
]
_SCALARS: tuple[_Scalar, ...] = get_args(_Scalar)


def conversation(proto: chat_pb2.Conversation) -> Conversation:
    """A conversation."""
    return Conversation(
        id=proto.id,
        title=proto.title,
        settings=settings(proto.settings),
        update_time=proto.update_time.ToDatetime(tzinfo=UTC)
        if proto.HasField("update_time")
        else datetime.now(UTC),
        current_message_id=proto.current_message_id,
        running_message_ids=tuple(proto.running_message_ids),
    )


def search_hit(proto: chat_pb2.SearchResult) -> SearchHit:
    """A conversation that was found."""
    return SearchHit(conversation(proto.conversation), proto.snippet)


def settings(proto: chat_pb2.ChatSettings) -> Settings:
    """What answers are made with."""
    return Settings(proto.model, proto.system_prompt, sampling(proto.sampling))


def sampling(proto: sampling_pb2.SamplingParams) -> Sampling:
    """How to sample."""
    unshown = sampling_pb2.SamplingParams()
    unshown.CopyFrom(proto)
    unshown.ClearField("stop")
    for name in _SCALARS:
        unshown.ClearField(name)
    return Sampling(
        **{name: getattr(proto, name) for name in _SCALARS if proto.HasField(name)},
        stop=tuple(proto.stop),
        unshown=unshown.SerializeToString(),
    )


def settings_proto(settings: Settings) -> chat_pb2.ChatSettings:
    """What answers are made with, for a request."""
    return chat_pb2.ChatSettings(
        model=settings.model,
        system_prompt=settings.system_prompt,
        sampling=sampling_proto(settings.sampling),
    )


def sampling_proto(sampling: Sampling) -> sampling_pb2.SamplingParams:
    """How to sample, for a request."""
    proto = sampling_pb2.SamplingParams.FromString(sampling.unshown)
    for name in _SCALARS:
        value = getattr(sampling, name)
        if value is not None:
            setattr(proto, name, value)
    proto.stop.extend(sampling.stop)
    return proto


def message(proto: chat_pb2.ChatMessage) -> Message:
    """A message."""
    return Message(
        id=proto.id,
        parent_id=proto.parent_id,
        role=Role.USER if proto.role == message_pb2.ROLE_USER else Role.ASSISTANT,
        content=proto.content,
        state=_STATES.get(proto.state, MessageState.COMPLETE),
        sibling_ids=tuple(proto.sibling_ids),
        model=proto.model,
        finish_reason=_FINISH_REASONS.get(proto.finish_reason),
        usage=_usage(proto.usage) if proto.HasField("usage") else None,
        failure=failure(proto.failure) if proto.HasField("failure") else None,
        feedback=feedback(proto.feedback) if proto.HasField("feedback") else None,
    )


def _usage(proto: completion_pb2.Usage) -> Usage:
    return Usage(
        prompt_tokens=proto.prompt_tokens,
        completion_tokens=proto.completion_tokens,
        first_token_seconds=proto.first_token_time.ToMicroseconds() / 1e6,
        total_seconds=proto.total_time.ToMicroseconds() / 1e6,
    )


def failure(proto: failure_pb2.Failure) -> Failure:
    """A failure that is kept with a message."""
    return Failure(
        reason=proto.reason,
        code=CODES[proto.code] if proto.code < len(CODES) else "UNKNOWN",
        message=proto.message,
        metadata=dict(proto.metadata),
        retry_seconds=proto.retry_delay.ToMilliseconds() / 1000
        if proto.HasField("retry_delay")
        else None,
    )


def feedback(proto: chat_pb2.Feedback) -> Feedback:
    """A rating."""
    return Feedback(
        message_id=proto.message_id,
        rating=_RATINGS.get(proto.rating),
        reasons=tuple(proto.reasons),
        comment=proto.comment,
        edited_content=proto.edited_content,
    )


def feedback_proto(feedback: Feedback) -> chat_pb2.Feedback:
    """A rating, for a request."""
    return chat_pb2.Feedback(
        message_id=feedback.message_id,
        rating=_RATING_NUMBERS[feedback.rating]
        if feedback.rating
        else chat_pb2.Feedback.RATING_UNSPECIFIED,
        reasons=feedback.reasons,
        comment=feedback.comment,
        edited_content=feedback.edited_content,
    )


def turn_event(proto: chat_pb2.TurnEvent) -> TurnEvent | None:
    """One event of a turn; None for a kind that these pages do not know yet."""
    match proto.WhichOneof("event"):
        case "started":
            return TurnStarted(message(proto.started.user_message), message(proto.started.message))
        case "rendered":
            return PromptRendered(
                prompt_tokens=proto.rendered.prompt_tokens,
                context_window_tokens=proto.rendered.context_window_tokens,
                dropped_message_ids=tuple(proto.rendered.dropped_message_ids),
                prompt=proto.rendered.prompt,
            )
        case "delta":
            return TextDelta(proto.delta.text)
        case "finished":
            return TurnFinished(message(proto.finished.message))
        case _:
            return None


def model(proto: generation_pb2.Model) -> Model:
    """A served model."""
    loading = proto.loading
    return Model(
        name=proto.name,
        base_model=proto.base_model,
        state=_MODEL_STATES.get(proto.state, ModelState.LOADING),
        context_window_tokens=proto.context_window_tokens,
        phase=_PHASES.get(loading.phase, LoadingPhase.UNKNOWN),
        progress=min(1.0, max(0.0, loading.progress)),
        remaining_seconds=loading.remaining_time.ToMilliseconds() / 1000
        if loading.HasField("remaining_time")
        else None,
    )
