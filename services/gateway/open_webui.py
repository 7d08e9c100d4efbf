"""Reads conversations of Open WebUI's export, with what Damso adds to it (`export.py`)."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar
from uuid import uuid4

from services.gateway.archive import Archived, Node, Tree, content_of, model_of
from services.gateway.conversations import (
    ChatSettings,
    Failure,
    Feedback,
    FinishReason,
    Message,
    Rating,
    Role,
    State,
    Usage,
)
from services.gateway.feedback import check_feedback
from services.gateway.json_reading import ImportInvalid, Value
from services.gateway.sampling import check_settings
from services.runtime.errors import InvalidArgument

MAX_FAILURE_CHARACTERS = 1024
"""Of each text of a failure, which has to fit in gRPC's metadata; as `services.runtime.errors`."""

NormalSampling = Callable[[Mapping[str, object]], Mapping[str, object]]
"""`SamplingParams` as they are kept; refuses with `InvalidArgument` what is none."""

Name = TypeVar("Name", bound=StrEnum)


def read(value: Value, normal_sampling: NormalSampling) -> Archived:
    """One conversation.

    Args:
        value: It.
        normal_sampling: Reads the sampling that its settings name.

    Raises:
        ImportInvalid: Something in it cannot be kept.
    """
    chat, own = value["chat"], value["damso"]
    history = chat["history"]
    tree = Tree(
        title=value["title"] if value["title"].it is not None else chat["title"],
        settings=_settings(value, normal_sampling),
        current=history["currentId"],
        create_time=own["create_time"].time() or value["created_at"].time(),
        update_time=own["update_time"].time() or value["updated_at"].time(),
    )
    for key in history["messages"].names():
        message = history["messages"][key]
        tree.nodes[key] = Node(message["parentId"], _message(message, tree))
    return tree.archived()


def _settings(value: Value, normal_sampling: NormalSampling) -> ChatSettings:
    settings = value["damso"]["settings"]
    if settings.it is None:  # the models of elsewhere are not served here
        settings = value["chat"]["params"]
        found = ChatSettings(system_prompt=settings["system"].text(default=""))
    else:
        found = ChatSettings(
            model=settings["model"].text(default=""),
            system_prompt=settings["system_prompt"].text(default=""),
            sampling=_sampling(settings["sampling"], normal_sampling),
        )
    try:
        check_settings(found)
    except InvalidArgument as error:
        raise ImportInvalid(settings.path, f"is not valid: {error.message}") from None
    return found


def _sampling(value: Value, normal_sampling: NormalSampling) -> Mapping[str, object]:
    try:
        kept = normal_sampling({name: value[name].it for name in value.names()})
    except InvalidArgument as error:
        raise ImportInvalid(value.path, f"is not valid: {error.message}") from None
    return MappingProxyType(dict(kept))


def _message(value: Value, tree: Tree) -> Message | None:
    role = value["role"].text()
    if role not in list(Role):
        return None  # a tool's or the system's
    own = value["damso"]
    time = own["create_time"].time() or value["timestamp"].time() or datetime.now(UTC)
    message = Message(
        id=uuid4(),
        conversation_id=tree.conversation_id,
        parent_id=None,
        role=Role(role),
        content=content_of(value["content"].text(), value["content"].path),
        state=_one_of(State, own["state"]) or State.COMPLETE,
        create_time=time,
    )
    if message.role is Role.USER:
        return message
    state = State.INTERRUPTED if message.state is State.RUNNING else message.state
    return Message(
        id=message.id,
        conversation_id=message.conversation_id,
        parent_id=None,
        role=message.role,
        content=message.content,
        state=state,
        create_time=time,
        model=model_of(value["model"]),
        finish_reason=_one_of(FinishReason, own["finish_reason"]),
        usage=_usage(own["usage"]),
        failure=_failure(own["failure"]),
        feedback=_feedback(value, message),
    )


def _usage(value: Value) -> Usage | None:
    if value.it is None:
        return None
    return Usage(
        prompt_tokens=_count(value["prompt_tokens"]),
        cached_tokens=_count(value["cached_tokens"]),
        completion_tokens=_count(value["completion_tokens"]),
        queue_seconds=value["queue_seconds"].number(),
        first_token_seconds=value["first_token_seconds"].number(),
        total_seconds=value["total_seconds"].number(),
    )


def _failure(value: Value) -> Failure | None:
    if value.it is None:
        return None
    metadata, retry = value["metadata"], value["retry_after_seconds"]
    return Failure(
        code=_count(value["code"]),
        reason=_short(value["reason"]),
        message=_short(value["message"]),
        metadata={
            _short(Value(metadata.path, name)): _short(metadata[name]) for name in metadata.names()
        },
        retry_after_seconds=retry.number() if retry.it is not None else None,
    )


def _short(value: Value) -> str:
    text = value.text()
    if len(text) > MAX_FAILURE_CHARACTERS:
        raise ImportInvalid(value.path, f"has more than {MAX_FAILURE_CHARACTERS} characters")
    return text


def _feedback(value: Value, message: Message) -> Feedback | None:
    own, annotation = value["damso"]["feedback"], value["annotation"]
    if own.it is not None:
        feedback = Feedback(
            message_id=message.id,
            conversation_id=message.conversation_id,
            rating=_one_of(Rating, own["rating"]),
            reasons=tuple(reason.text() for reason in own["reasons"].items()),
            comment=own["comment"].text(default=""),
            edited_content=own["edited_content"].text(default=""),
            update_time=own["update_time"].time() or message.create_time,
        )
    elif annotation["rating"].it in (1, -1):
        feedback = Feedback(
            message_id=message.id,
            conversation_id=message.conversation_id,
            rating=Rating.UP if annotation["rating"].it == 1 else Rating.DOWN,
            reasons=(),
            comment=annotation["comment"].text(default=""),
            edited_content="",
            update_time=message.create_time,
        )
    else:
        return None
    try:
        check_feedback(feedback.reasons, feedback.comment, feedback.edited_content)
    except InvalidArgument as error:
        raise ImportInvalid(
            value.path, f"has feedback that is not valid: {error.message}"
        ) from None
    return feedback


def _count(value: Value) -> int:
    number = value.number()
    if number != int(number) or not 0 <= number < 2**31:
        raise ImportInvalid(value.path, "must be a whole number of at least 0")
    return int(number)


def _one_of(kind: type[Name], value: Value) -> Name | None:
    if value.it is None:
        return None
    try:
        return kind(value.text())
    except ValueError:
        names = ", ".join(kind)
        raise ImportInvalid(value.path, f"must be one of {names}") from None
