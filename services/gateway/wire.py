"""Messages of the chat contract ↔ what they stand for. Beside `servicer.py`, which uses it."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.timestamp_pb2 import Timestamp

from damso.chat.v1 import chat_pb2 as pb
from damso.type.v1 import completion_pb2, failure_pb2, message_pb2, sampling_pb2
from services.gateway import conversations as domain
from services.gateway.events import Delta, Finished, NumberedEvent, Rendered, Started
from services.runtime import status
from services.runtime.errors import InvalidArgument, ServiceError

_ROLES = {
    domain.Role.USER: message_pb2.ROLE_USER,
    domain.Role.ASSISTANT: message_pb2.ROLE_ASSISTANT,
}
_STATES = {
    domain.State.RUNNING: pb.ChatMessage.STATE_RUNNING,
    domain.State.COMPLETE: pb.ChatMessage.STATE_COMPLETE,
    domain.State.STOPPED: pb.ChatMessage.STATE_STOPPED,
    domain.State.INTERRUPTED: pb.ChatMessage.STATE_INTERRUPTED,
    domain.State.FAILED: pb.ChatMessage.STATE_FAILED,
}
_FINISH_REASONS = {
    domain.FinishReason.STOP: completion_pb2.FINISH_REASON_STOP,
    domain.FinishReason.LENGTH: completion_pb2.FINISH_REASON_LENGTH,
    domain.FinishReason.ABORT: completion_pb2.FINISH_REASON_ABORT,
}
_RATINGS = {
    domain.Rating.UP: pb.Feedback.RATING_UP,
    domain.Rating.DOWN: pb.Feedback.RATING_DOWN,
}
RATINGS = {value: rating for rating, value in _RATINGS.items()}


class TextHoldsNul(InvalidArgument):
    """A text of the request holds a NUL character, which cannot be kept."""

    reason = "TEXT_HOLDS_NUL"


def check_texts(request: ProtoMessage, path: str = "") -> None:
    """Refuses a request any of whose texts holds NUL.

    Raises:
        TextHoldsNul: One does; names the field.
    """
    for field, value in request.ListFields():
        name = f"{path}{field.name}"
        if field.type == FieldDescriptor.TYPE_STRING:
            texts = value if field.is_repeated else (value,)
            if any("\0" in text for text in texts):
                raise TextHoldsNul(f"{name} must not hold NUL characters", field=name)
        elif field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_repeated:
            check_texts(value, f"{name}.")


def conversation_id(text: str) -> UUID:
    """An id of a conversation.

    Raises:
        ConversationNotFound: It is none.
    """
    try:
        return UUID(text)
    except ValueError:
        raise domain.ConversationNotFound(text[:64]) from None


def message_id(text: str) -> UUID:
    """An id of a message.

    Raises:
        MessageNotFound: It is none.
    """
    try:
        return UUID(text)
    except ValueError:
        raise domain.MessageNotFound(text[:64]) from None


def settings_from(settings: pb.ChatSettings) -> domain.ChatSettings:
    """Settings of a request."""
    sampling = json_format.MessageToDict(settings.sampling, preserving_proto_field_name=True)
    return domain.ChatSettings(
        model=settings.model,
        system_prompt=settings.system_prompt,
        sampling=MappingProxyType(sampling),
    )


def normal_sampling(sampling: Mapping[str, object]) -> dict[str, object]:
    """Sampling as this gateway keeps it, of JSON that somebody else wrote.

    Raises:
        InvalidArgument: It is not `SamplingParams` in protobuf's JSON form.
    """
    try:
        message = json_format.ParseDict(dict(sampling), sampling_pb2.SamplingParams())
    except json_format.ParseError:
        raise InvalidArgument("sampling has an unknown field or a value of a wrong type") from None
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def settings_to(settings: domain.ChatSettings) -> pb.ChatSettings:
    """Settings for a response."""
    message = pb.ChatSettings(model=settings.model, system_prompt=settings.system_prompt)
    if settings.sampling:
        # A field that a newer version wrote is left out rather than refused.
        json_format.ParseDict(dict(settings.sampling), message.sampling, ignore_unknown_fields=True)
    return message


def conversation_to(conversation: domain.Conversation) -> pb.Conversation:
    """A conversation for a response."""
    return pb.Conversation(
        id=str(conversation.id),
        title=conversation.title,
        settings=settings_to(conversation.settings),
        current_message_id=str(conversation.current_message_id or ""),
        create_time=time_to(conversation.create_time),
        update_time=time_to(conversation.update_time),
        running_message_ids=map(str, conversation.running_message_ids),
    )


def message_to(message: domain.Message) -> pb.ChatMessage:
    """A message for a response."""
    wire = pb.ChatMessage(
        id=str(message.id),
        conversation_id=str(message.conversation_id),
        parent_id=str(message.parent_id or ""),
        role=_ROLES[message.role],
        content=message.content,
        state=_STATES[message.state],
        sibling_ids=map(str, message.sibling_ids),
        create_time=time_to(message.create_time),
        model=message.model,
    )
    if message.finish_reason:
        wire.finish_reason = _FINISH_REASONS[message.finish_reason]
    if message.usage:
        wire.usage.CopyFrom(usage_to(message.usage))
    if message.failure:
        wire.failure.CopyFrom(_failure_to(message.failure))
    if message.feedback:
        wire.feedback.CopyFrom(feedback_to(message.feedback))
    return wire


def usage_to(usage: domain.Usage) -> completion_pb2.Usage:
    """Usage for a response."""
    wire = completion_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
    )
    wire.queue_time.FromMicroseconds(round(usage.queue_seconds * 1e6))
    wire.first_token_time.FromMicroseconds(round(usage.first_token_seconds * 1e6))
    wire.total_time.FromMicroseconds(round(usage.total_seconds * 1e6))
    return wire


def feedback_to(feedback: domain.Feedback) -> pb.Feedback:
    """Feedback for a response."""
    return pb.Feedback(
        message_id=str(feedback.message_id),
        conversation_id=str(feedback.conversation_id),
        rating=_RATINGS[feedback.rating] if feedback.rating else pb.Feedback.RATING_UNSPECIFIED,
        reasons=feedback.reasons,
        comment=feedback.comment,
        edited_content=feedback.edited_content,
        update_time=time_to(feedback.update_time),
    )


def event_to(numbered: NumberedEvent) -> pb.TurnEvent:
    """An event of a turn for a response.

    Raises:
        ServiceError: It says that the turn failed.
    """
    event = pb.TurnEvent(offset=numbered.offset)
    match numbered.event:
        case Delta(text=text):
            event.delta.text = text
        case Started(user_message=user_message, message=message):
            event.started.user_message.CopyFrom(message_to(user_message))
            event.started.message.CopyFrom(message_to(message))
        case Rendered() as rendered:
            event.rendered.prompt_tokens = rendered.prompt_tokens
            event.rendered.context_window_tokens = rendered.context_window_tokens
            event.rendered.dropped_message_ids.extend(map(str, rendered.dropped_message_ids))
            event.rendered.prompt = rendered.prompt
        case Finished(message=message, error=error):
            if error:
                raise error
            if message.failure:
                raise status.from_failure(_failure_to(message.failure))
            event.finished.message.CopyFrom(message_to(message))
    return event


def describe(error: ServiceError) -> domain.Failure:
    """A failure that can be kept, of the error that a turn ended with."""
    failure = status.to_failure(error)
    retry = failure.retry_delay.ToTimedelta() if failure.HasField("retry_delay") else None
    return domain.Failure(
        code=failure.code,
        reason=failure.reason,
        message=failure.message,
        metadata=dict(failure.metadata),
        retry_after_seconds=retry.total_seconds() if retry else None,
    )


def time_to(time: datetime) -> Timestamp:
    """A time for a response."""
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def _failure_to(failure: domain.Failure) -> failure_pb2.Failure:
    wire = failure_pb2.Failure(
        code=failure.code,
        reason=failure.reason,
        message=failure.message,
        metadata=failure.metadata,
    )
    if failure.retry_after_seconds is not None:
        wire.retry_delay.FromMilliseconds(round(failure.retry_after_seconds * 1000))
    return wire
