"""Rows of the tables ↔ what they stand for."""

from collections.abc import Iterable
from dataclasses import asdict
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from services.gateway.conversations import (
    ChatSettings,
    Conversation,
    Failure,
    Feedback,
    FinishReason,
    Message,
    Rating,
    Role,
    State,
    Usage,
)


def settings_json(settings: ChatSettings) -> dict[str, Any]:
    """Settings as they are kept."""
    return {
        "model": settings.model,
        "system_prompt": settings.system_prompt,
        "sampling": dict(settings.sampling),
    }


def settings_of(kept: dict[str, Any]) -> ChatSettings:
    """Settings as they were kept."""
    return ChatSettings(
        model=kept["model"],
        system_prompt=kept["system_prompt"],
        sampling=MappingProxyType(kept["sampling"]),
    )


def usage_json(usage: Usage | None) -> dict[str, Any] | None:
    """Usage as it is kept."""
    return asdict(usage) if usage else None


def failure_json(failure: Failure | None) -> dict[str, Any] | None:
    """A failure as it is kept."""
    if failure is None:
        return None
    return {
        "code": failure.code,
        "reason": failure.reason,
        "message": failure.message,
        "metadata": dict(failure.metadata),
        "retry_after_seconds": failure.retry_after_seconds,
    }


def conversation_of(row: Row[Any], running: Iterable[UUID] = ()) -> Conversation:
    """A conversation of its row."""
    return Conversation(
        id=row.id,
        title=row.title,
        settings=settings_of(row.settings),
        current_message_id=row.current_message_id,
        create_time=row.create_time,
        update_time=row.update_time,
        running_message_ids=tuple(running),
    )


def message_of(row: Row[Any], feedback: Feedback | None = None) -> Message:
    """A message of its row."""
    return Message(
        id=row.id,
        conversation_id=row.conversation_id,
        parent_id=row.parent_id,
        role=Role(row.role),
        content=row.content,
        state=State(row.state),
        create_time=row.create_time,
        model=row.model,
        finish_reason=FinishReason(row.finish_reason) if row.finish_reason else None,
        usage=Usage(**row.usage) if row.usage else None,
        failure=Failure(**row.failure) if row.failure else None,
        feedback=feedback,
    )


def feedback_of(row: Row[Any]) -> Feedback:
    """Feedback of its row."""
    return Feedback(
        message_id=row.message_id,
        conversation_id=row.conversation_id,
        rating=Rating(row.rating) if row.rating else None,
        reasons=tuple(row.reasons),
        comment=row.comment,
        edited_content=row.edited_content,
        update_time=row.update_time,
    )
