"""Ratings of answers."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from services.gateway import rows
from services.gateway.conversations import (
    Feedback,
    MessageNotFound,
    Rating,
    Role,
    RoleMismatch,
    check_bytes,
    check_characters,
)
from services.gateway.store import after_time
from services.gateway.tables import feedback, messages
from services.runtime import pages
from services.runtime.database import Database
from services.runtime.errors import InvalidArgument

MAX_REASONS = 16
MAX_REASON_CHARACTERS = 64
MAX_COMMENT_CHARACTERS = 10_000


class FeedbackStore:
    """The ratings of schema `gateway`.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rate(
        self,
        message_id: UUID,
        rating: Rating | None,
        reasons: Sequence[str],
        comment: str,
        edited_content: str,
    ) -> Feedback | None:
        """Keeps a rating in place of the one before; one that says nothing removes it.

        Args:
            message_id: The assistant message.
            rating: What is thought of it.
            reasons: Why, as stable keys.
            comment: In the person's own words.
            edited_content: How the answer should have been.

        Returns:
            The rating; None: it was removed.

        Raises:
            MessageNotFound: There is no such message.
            RoleMismatch: It is a user message.
        """
        check_feedback(reasons, comment, edited_content)
        async with self._database.transaction() as connection:
            query = select(messages.c.conversation_id, messages.c.role).where(
                messages.c.id == message_id
            )
            message = (
                await connection.execute(query.with_for_update(key_share=True))
            ).one_or_none()
            if message is None:
                raise MessageNotFound(message_id)
            if message.role != Role.ASSISTANT:
                raise RoleMismatch(
                    "feedback.message_id must name an assistant message",
                    field="feedback.message_id",
                )
            if not (rating or reasons or comment or edited_content):
                await connection.execute(
                    delete(feedback).where(feedback.c.message_id == message_id)
                )
                return None
            values = {
                "rating": rating.value if rating else None,
                "reasons": list(reasons),
                "comment": comment,
                "edited_content": edited_content,
            }
            row = await connection.execute(
                insert(feedback)
                .values(message_id=message_id, conversation_id=message.conversation_id, **values)
                .on_conflict_do_update(
                    index_elements=[feedback.c.message_id],
                    set_={**values, "update_time": func.now()},
                )
                .returning(feedback)
            )
            return rows.feedback_of(row.one())

    async def page(
        self, conversation_id: UUID | None, page_size: int, page_token: str
    ) -> tuple[list[Feedback], str]:
        """A page of the ratings, the newest first, and the next one's token.

        Args:
            conversation_id: Only of this conversation; None: of all.
            page_size: As the caller asked for.
            page_token: Of the page before.
        """
        limit = pages.size(page_size, default=100, most=1000)
        scope = f"ListFeedback {conversation_id}"
        query = (
            select(feedback)
            .order_by(feedback.c.update_time.desc(), feedback.c.message_id.desc())
            .limit(limit + 1)
        )
        if conversation_id:
            query = query.where(feedback.c.conversation_id == conversation_id)
        if position := pages.decode(page_token, scope):
            query = query.where(after_time(feedback.c.update_time, feedback.c.message_id, position))
        async with self._database.transaction() as connection:
            found = (await connection.execute(query)).all()
        items = [rows.feedback_of(row) for row in found[:limit]]
        if len(found) <= limit:
            return items, ""
        last = items[-1]
        return items, pages.encode([last.update_time.isoformat(), str(last.message_id)], scope)


def check_feedback(reasons: Sequence[str], comment: str, edited_content: str) -> None:
    """Refuses a rating that is too long.

    Raises:
        InvalidArgument: It is.
    """
    if len(reasons) > MAX_REASONS:
        raise InvalidArgument(
            f"feedback.reasons has {len(reasons)} keys; at most {MAX_REASONS} are allowed",
            field="feedback.reasons",
        )
    for reason in reasons:
        if not reason:
            raise InvalidArgument(
                "feedback.reasons must not hold an empty key", field="feedback.reasons"
            )
        check_characters(reason, MAX_REASON_CHARACTERS, "feedback.reasons")
    check_characters(comment, MAX_COMMENT_CHARACTERS, "feedback.comment")
    check_bytes(edited_content, "feedback.edited_content")
