"""The messages of a branch, and what can be done with each."""

from collections.abc import Sequence
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from frontend import markdown
from frontend.components import clipboard
from frontend.conversation import FinishReason, Message, MessageState, Role
from frontend.state import Edit, Regenerate
from frontend.views import rating
from frontend.views.page import Chat, Page


def draw_welcome(page: Page) -> None:
    """What stands where no conversation has begun."""
    with st.container(key="welcome"):
        st.markdown(f"## {page.texts('welcome.title')}", text_alignment="center", anchors=False)
        st.markdown(page.texts("welcome.text"), text_alignment="center")


def draw_branch(
    page: Page, chat: Chat, branch: Sequence[Message], *, has_earlier: bool, is_busy: bool
) -> None:
    """Draws the messages, the oldest first; not the answer that is being made.

    Args:
        page: This run.
        chat: The conversation.
        branch: The messages.
        has_earlier: Whether the conversation has more before them.
        is_busy: Whether an answer is being made: nothing else can be begun meanwhile.
    """
    with st.empty():
        if has_earlier:
            st.button(
                page.texts("messages.earlier"),
                key="earlier",
                icon=":material/expand_less:",
                type="tertiary",
                on_click=_show_earlier,
                args=(page,),
            )
    for message in branch:
        if message.role is Role.USER:
            _draw_question(page, chat, message, is_busy=is_busy)
        elif message.state is not MessageState.RUNNING:
            _draw_answer(page, chat, message, is_busy=is_busy)


def draw_unsaved(contents: Sequence[str], key: str) -> None:
    """Draws questions that are not saved yet."""
    for position, content in enumerate(contents):
        with _right(f"question-{key}-{position}"):
            st.empty()  # where its buttons will be
            _draw_words(content, key=f"{key}-{position}")


def draw_nothing(count: int) -> None:
    """Takes the place of what stood further down and is gone.

    Streamlit keeps old elements on the page until a run ends, and a run that follows an answer
    ends late.
    """
    for _ in range(count):
        st.empty()


def _draw_words(content: str, key: str) -> None:
    """What a person wrote, letter by letter: nothing in it acts as Markdown."""
    with st.container(key=f"bubble-{key}", width="content"):
        st.text(content)


def _draw_question(page: Page, chat: Chat, message: Message, *, is_busy: bool) -> None:
    texts = page.texts
    if page.session.editing_message_id == message.id:
        _draw_editor(page, message, is_busy=is_busy)
        return
    with _right(f"question-{message.id}"):
        with _actions(f"actions-question-{message.id}"):
            _draw_pager(page, chat, message)
            st.button(
                texts("message.edit"),
                key=f"edit-{message.id}",
                help=texts("message.edit"),
                icon=":material/edit:",
                type="tertiary",
                disabled=is_busy,
                on_click=_begin_edit,
                args=(page, message.id),
            )
        _draw_words(message.content, key=message.id)


def _draw_editor(page: Page, message: Message, *, is_busy: bool) -> None:
    texts = page.texts
    with st.form(key=f"editor-{message.id}"):
        content = st.text_area(
            texts("edit.label"), message.content, key=f"edited-{message.id}", height="content"
        )
        with st.container(horizontal=True, horizontal_alignment="right"):
            cancelled = st.form_submit_button(texts("edit.cancel"), type="tertiary")
            sent = st.form_submit_button(
                texts("edit.send"), type="primary", icon=":material/send:", disabled=is_busy
            )
    if cancelled:
        page.session.editing_message_id = ""
        st.rerun()
    if sent and content.strip():
        page.session.editing_message_id = ""
        page.session.ask(Edit(message.id, content))
        st.rerun()


def _draw_answer(page: Page, chat: Chat, message: Message, *, is_busy: bool) -> None:
    texts = page.texts
    with st.container(key=f"answer-{message.id}"):
        if message.content:
            st.markdown(markdown.untrusted(message.content))
        _draw_ending(page, message)
        with _actions(f"actions-answer-{message.id}", width="stretch"):
            _draw_pager(page, chat, message)
            clipboard.copy_button(
                message.content,
                label=texts("message.copy"),
                done=texts("message.copied"),
                key=f"copy-{message.id}",
            )
            st.button(
                texts("message.regenerate"),
                key=f"regenerate-{message.id}",
                help=texts("message.regenerate"),
                icon=":material/refresh:",
                type="tertiary",
                disabled=is_busy,
                on_click=_regenerate,
                args=(page, message.id),
            )
            rating.draw_thumbs(page, message)
            _draw_details(page, message)
        if page.session.rating_message_id == message.id:
            rating.draw_form(page, message)


def _draw_ending(page: Page, message: Message) -> None:
    """Says so where an answer did not come to its natural end."""
    texts = page.texts
    match message.state:
        case MessageState.STOPPED:
            st.caption(texts("ending.stopped"))
        case MessageState.INTERRUPTED:
            st.warning(texts("ending.interrupted"), icon=":material/warning:")
        case MessageState.FAILED:
            reason = page.sentence(message.failure) if message.failure else texts("error.UNKNOWN")
            st.error(reason, icon=":material/error:")
        case MessageState.COMPLETE if message.finish_reason is FinishReason.LENGTH:
            st.caption(texts("ending.length"))
    rendered = page.session.prompts.get(message.id)
    if rendered is not None and rendered.dropped_message_ids:
        st.caption(texts("message.dropped", count=len(rendered.dropped_message_ids)))


def _draw_details(page: Page, message: Message) -> None:
    """What the answer cost, and the exact prompt it was made from."""
    usage = message.usage
    if usage is None:
        return
    texts = page.texts
    summary = texts(
        "usage.summary",
        tokens=usage.completion_tokens,
        first=usage.first_token_seconds,
        speed=usage.tokens_per_second,
    )
    with st.popover(summary, type="tertiary", key=f"details-{message.id}"):
        st.markdown(
            texts(
                "usage.details",
                model=markdown.plain(message.model),
                prompt=usage.prompt_tokens,
                completion=usage.completion_tokens,
                first=usage.first_token_seconds,
                total=usage.total_seconds,
            )
        )
        rendered = page.session.prompts.get(message.id)
        if rendered is None:
            st.caption(texts("prompt.gone"))
        else:
            st.caption(texts("prompt.title"))
            st.code(rendered.prompt, language=None, wrap_lines=True, height=260)


def _draw_pager(page: Page, chat: Chat, message: Message) -> None:
    """‹ 2/3 ›, where a message has siblings."""
    siblings = message.sibling_ids
    if len(siblings) < 2 or message.id not in siblings:
        return
    position = siblings.index(message.id)
    label = page.texts("pager.position", position=position + 1, count=len(siblings))
    with _actions(f"pager-{message.id}"):
        _draw_step(page, chat, message, "previous", siblings[position - 1] if position else "")
        st.caption(label, width="content")
        later = siblings[position + 1 :]
        _draw_step(page, chat, message, "next", later[0] if later else "")


def _draw_step(page: Page, chat: Chat, message: Message, direction: str, target: str) -> None:
    icon = "chevron_left" if direction == "previous" else "chevron_right"
    st.button(
        page.texts(f"pager.{direction}"),
        key=f"{direction}-{message.id}",
        help=page.texts(f"pager.{direction}"),
        icon=f":material/{icon}:",
        type="tertiary",
        disabled=not target,
        on_click=_show_branch,
        args=(page, chat, target),
    )


def _right(key: str) -> DeltaGenerator:
    """A row that stands at the right, as what the person wrote does."""
    return st.container(
        key=key, horizontal=True, horizontal_alignment="right", wrap=False, gap="xsmall"
    )


def _actions(key: str, width: Literal["stretch", "content"] = "content") -> DeltaGenerator:
    """A row of small buttons."""
    return st.container(
        key=key, horizontal=True, gap=None, vertical_alignment="center", width=width
    )


def _show_earlier(page: Page) -> None:
    page.session.message_pages += 1


def _begin_edit(page: Page, message_id: str) -> None:
    page.session.editing_message_id = message_id


def _regenerate(page: Page, message_id: str) -> None:
    page.session.ask(Regenerate(message_id))


def _show_branch(page: Page, chat: Chat, message_id: str) -> None:
    page.attempt(lambda: page.gateway.show_branch(chat.id, message_id))
