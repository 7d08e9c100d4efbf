"""The chat page: a conversation, what answers it, and the box to write in."""

import streamlit as st

from frontend import state
from frontend.conversation import Message, MessageState, Role
from frontend.errors import GatewayError
from frontend.state import Edit, Pending, Regenerate, Send
from frontend.views import composer, header, messages, readiness, sidebar, turn
from frontend.views.page import Chat, Page
from frontend.views.readiness import Readiness


def draw(page: Page) -> None:
    """Draws the page; where an answer is being made, follows it to its end."""
    ready = readiness.look(page)
    try:
        if ready.gateway_failure is not None:
            raise GatewayError(ready.gateway_failure)
        chat, branch, earlier = _load(page, ready)
        sidebar.draw(page, chat)
    except GatewayError as error:
        _draw_unreachable(page, error)
        return

    running = next((m for m in branch if m.state is MessageState.RUNNING), None)
    pending = page.session.pending
    model = chat.settings().model
    starts = pending is not None and running is None and ready.can_answer(model)
    is_busy = starts or running is not None
    header.draw(page, chat)
    is_queued = pending is not None and not starts
    composer.draw(page, chat, branch, is_busy=is_busy, is_queued=is_queued)
    with st.container(key="messages"):
        with st.empty():
            if not ready.can_answer(model):
                readiness.draw(page, model)
        with st.empty():
            if not branch and pending is None:
                messages.draw_welcome(page)
        shown = _before(branch, pending) if starts else branch
        messages.draw_branch(page, chat, shown, has_earlier=earlier, is_busy=is_busy)
        if isinstance(pending, Send | Edit) and running is None:
            messages.draw_pending(pending.content)
        if is_busy:
            place = turn.draw_place(page)
            if running is not None and isinstance(pending, Send):
                messages.draw_pending(pending.content)
            messages.draw_nothing(len(branch) - len(shown))
            if running is not None:
                turn.follow(page, running, place)
            elif pending is not None:
                turn.begin(page, chat, pending, place)
    readiness.watch(page, chat)


def _draw_unreachable(page: Page, error: GatewayError) -> None:
    """What can be had without the gateway: a message can be written, and is sent later."""
    sidebar.draw_frame(page)
    pending = page.session.pending
    composer.draw(page, Chat(None, ()), [], is_busy=False, is_queued=pending is not None)
    with st.container(key="messages"):
        with st.empty():
            readiness.draw_unreachable(page, error.failure)
        if isinstance(pending, Send):
            messages.draw_pending(pending.content)


def _load(page: Page, ready: Readiness) -> tuple[Chat, list[Message], bool]:
    """The conversation in the URL, what is shown of its branch, and whether there is more."""
    conversation_id = state.conversation_id()
    if not conversation_id:
        return Chat(None, ready.models), [], False
    branch: list[Message] = []
    token = ""
    try:
        conversation = page.gateway.get_conversation(conversation_id)
        for _ in range(page.session.message_pages):
            part = page.gateway.list_messages(
                conversation_id, page.settings.messages_per_page, token
            )
            branch += part.items
            token = part.next_token
            if not token:
                break
    except GatewayError as error:
        if error.failure.code != "NOT_FOUND":
            raise
        # Deleted in another tab, or a link that was never ours.
        state.open_conversation("")
        page.session.notice = error.failure
        return Chat(None, ready.models), [], False
    return Chat(conversation, ready.models), branch[::-1], bool(token)


def _before(branch: list[Message], pending: Pending | None) -> list[Message]:
    """What stays of a branch when a message of it is changed or answered again."""
    if not isinstance(pending, Regenerate | Edit):
        return branch
    for position, message in enumerate(branch):
        if message.id == pending.message_id:
            stays = isinstance(pending, Regenerate) and message.role is Role.USER
            return branch[: position + stays]
    return branch
