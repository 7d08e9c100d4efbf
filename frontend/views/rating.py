"""What people think of an answer: a thumb, why, and how it should have been."""

from dataclasses import replace

import streamlit as st

from frontend.conversation import Feedback, Message, Rating
from frontend.views.page import Page

REASONS = {
    Rating.UP: ("accurate", "helpful", "well_written", "followed_instructions", "creative"),
    Rating.DOWN: (
        "not_factual",
        "not_helpful",
        "ignored_instructions",
        "wrong_language",
        "badly_written",
        "too_long",
        "too_short",
        "repetitive",
        "refused",
        "unsafe",
    ),
}
"""Stable keys, as they are kept; the page shows them translated."""

_MOST_COMMENT = 10_000
_MOST_EDITED = 250_000


def draw_thumbs(page: Page, message: Message) -> None:
    """Draws 👍 and 👎. One that is given already takes the rating back."""
    given = message.feedback.rating if message.feedback else None
    for rating in Rating:
        is_given = given is rating
        label = page.texts(f"rating.{rating.value}" if not is_given else "rating.remove")
        st.button(
            label,
            key=f"{rating.value}-{message.id}",
            help=label,
            icon=f":material/thumb_{rating.value}:",
            type="primary" if is_given else "tertiary",
            on_click=_rate,
            args=(page, message, None if is_given else rating),
        )


def draw_form(page: Page, message: Message) -> None:
    """Draws the question why, under a message that was just rated."""
    feedback = message.feedback
    if feedback is None or feedback.rating is None:
        return
    texts = page.texts
    reasons = REASONS[feedback.rating]
    with st.form(key=f"rating-{message.id}"):
        chosen = st.pills(
            texts(f"rating.why_{feedback.rating.value}"),
            reasons,
            selection_mode="multi",
            default=[reason for reason in feedback.reasons if reason in reasons],
            format_func=lambda reason: texts(f"reason.{reason}"),
            key=f"reasons-{feedback.rating.value}-{message.id}",
        )
        comment = st.text_area(
            texts("rating.comment"),
            feedback.comment,
            key=f"comment-{message.id}",
            max_chars=_MOST_COMMENT,
            height=68,
        )
        edited = st.text_area(
            texts("rating.edited"),
            feedback.edited_content or message.content,
            key=f"edited-answer-{message.id}",
            max_chars=_MOST_EDITED,
            help=texts("rating.edited_help"),
            height=120,
        )
        with st.container(horizontal=True, horizontal_alignment="right"):
            closed = st.form_submit_button(texts("rating.close"), type="tertiary")
            kept = st.form_submit_button(texts("rating.save"), type="primary")
    if kept:
        page.attempt(
            lambda: page.gateway.rate(
                replace(
                    feedback,
                    reasons=tuple(chosen),
                    comment=comment,
                    edited_content="" if edited == message.content else edited,
                )
            )
        )
    if kept or closed:
        page.session.rating_message_id = ""
        st.rerun()


def _rate(page: Page, message: Message, rating: Rating | None) -> None:
    if rating is None:
        new = Feedback(message.id)
    else:
        # A changed mind keeps the words, but not the reasons for the opposite.
        new = replace(message.feedback or Feedback(message.id), rating=rating, reasons=())
    page.session.rating_message_id = message.id if rating else ""
    page.attempt(lambda: page.gateway.rate(new))
