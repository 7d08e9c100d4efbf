"""The box to write in, Stop, and how full the context window is."""

from collections.abc import Sequence

import streamlit as st

from frontend import models, state
from frontend.components import keyboard
from frontend.conversation import Message
from frontend.state import Send
from frontend.views.page import Chat, Page

_INPUT = "composer"


def draw(
    page: Page, chat: Chat, branch: Sequence[Message], *, is_busy: bool, is_queued: bool
) -> None:
    """Draws the bottom of the page.

    Args:
        page: This run.
        chat: The conversation.
        branch: What is shown of it.
        is_busy: Whether an answer is being made.
        is_queued: Whether a message waits to be sent. No other can be written meanwhile.
    """
    texts = page.texts
    with st.bottom:
        _draw_notice(page)
        with st.container(key="status-line", horizontal=True, vertical_alignment="center"):
            _draw_gauge(page, chat, branch)
            with st.empty():
                if is_queued:
                    _draw_queued(page)
            with st.empty():
                if is_busy:
                    _draw_stop(page)
    if page.session.unsent:  # back into the box, to be changed or sent once more
        state.set_widget(_INPUT, page.session.unsent)
        page.session.unsent = ""
    # Outside `st.bottom`, where it goes by itself: only then does the page follow a growing answer.
    st.chat_input(
        texts("composer.placeholder"),
        key=_INPUT,
        disabled=is_queued,
        on_submit=_submit,
        args=(page,),
    )
    with st.bottom:
        with st.container(key="composer-note"):
            st.caption(texts("composer.note"), text_alignment="center")
        keyboard.listen(send_label=texts("composer.send"))


def _draw_stop(page: Page) -> None:
    st.button(
        page.texts("composer.stop"),
        icon=":material/stop_circle:",
        key="stop",
        shortcut="Esc",
        on_click=_stop,
        args=(page,),
    )


def _draw_queued(page: Page) -> None:
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        st.caption(page.texts("composer.queued"), width="content")
        st.button(
            page.texts("composer.cancel"),
            icon=":material/close:",
            key="cancel-queued",
            type="tertiary",
            on_click=_take_back,
            args=(page,),
        )


@state.callback
def _submit(page: Page) -> None:
    content = state.widget(_INPUT) or ""
    if content.strip():
        page.session.ask(Send(content))


@state.callback
def _take_back(page: Page) -> None:
    page.session.take_back()


@state.callback
def _stop(page: Page) -> None:
    """Stops what runs in the conversation: also what began a moment ago, or in another tab."""
    page.session.take_back()
    conversation_id = state.conversation_id()
    if conversation_id:
        page.attempt(lambda: _stop_turns(page, conversation_id))


def _stop_turns(page: Page, conversation_id: str) -> None:
    for message_id in page.gateway.get_conversation(conversation_id).running_message_ids:
        page.gateway.stop_turn(message_id)


def _draw_notice(page: Page) -> None:
    if page.session.notice is None:
        return
    with st.container(key="notice", horizontal=True, wrap=False, vertical_alignment="center"):
        st.error(page.sentence(page.session.notice), icon=":material/error:")
        st.button(
            page.texts("notice.dismiss"),
            key="dismiss-notice",
            type="tertiary",
            icon=":material/close:",
            on_click=_dismiss,
            args=(page,),
        )


def _dismiss(page: Page) -> None:
    page.session.notice = None


def _draw_gauge(page: Page, chat: Chat, branch: Sequence[Message]) -> None:
    """How much of the context window the last answer took; empty before there is one."""
    last = next((message for message in reversed(branch) if message.usage), None)
    model = models.chosen(chat.models, chat.settings().model)
    window = model.context_window_tokens if model else 0
    if last is None or last.usage is None or not window:
        st.html("<span></span>")
        return
    used = last.usage.prompt_tokens + last.usage.completion_tokens
    label = page.texts("gauge.label", used=used, window=window, share=used / window)
    st.html(
        f'<div class="damso-gauge" role="img" aria-label="{label}" title="{label}">'
        f'<span class="damso-gauge-bar"><i style="width:{min(1.0, used / window):.0%}"></i></span>'
        f"<span>{label}</span></div>"
    )
