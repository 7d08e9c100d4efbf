"""The chat page: a conversation, what answers it, and the box to write in."""

from dataclasses import dataclass

import streamlit as st

from frontend import state
from frontend.conversation import Message, MessageState, Role
from frontend.errors import GatewayError
from frontend.state import Edit, Pending, Regenerate, Send
from frontend.views import composer, header, messages, readiness, sidebar, turn
from frontend.views.page import Chat, Page
from frontend.views.readiness import Readiness


@dataclass(frozen=True)
class _Now:
    """What one run shows."""

    chat: Chat
    branch: list[Message]
    """What is shown of the branch, the oldest message first."""
    has_earlier: bool
    """Whether there is more before it."""
    can_answer: bool
    running: Message | None
    """The answer that is being made."""
    begins: Pending | None
    """What begins in this run."""
    waits: list[str]
    """Messages that are sent later."""

    @property
    def is_busy(self) -> bool:
        """Whether an answer is being made, or is about to be."""
        return self.running is not None or self.begins is not None


def draw(page: Page) -> None:
    """Draws the page; where an answer is being made, follows it to its end."""
    ready = readiness.look(page)
    try:
        if ready.gateway_failure is not None:
            raise GatewayError(ready.gateway_failure)
        now = _look(page, ready)
        sidebar.draw(page, now.chat)
    except GatewayError as error:
        _draw_unreachable(page, error)
        return
    header.draw(page, now.chat)
    composer.draw(page, now.chat, now.branch, is_busy=now.is_busy, is_queued=bool(now.waits))
    with st.container(key="messages"):
        _draw_messages(page, now)
    readiness.watch(page, now.chat)


def _draw_messages(page: Page, now: _Now) -> None:
    with st.empty():
        if not now.can_answer:
            readiness.draw(page, now.chat.settings().model)
    with st.empty():
        if not (now.branch or now.is_busy or now.waits):
            messages.draw_welcome(page)
    kept = _before(now.branch, now.begins)
    messages.draw_branch(page, now.chat, kept, has_earlier=now.has_earlier, is_busy=now.is_busy)
    if isinstance(now.begins, Send | Edit):
        messages.draw_unsaved([now.begins.content], key="begins")
    place = turn.draw_place(page) if now.is_busy else None
    messages.draw_unsaved(now.waits, key="waits")
    messages.draw_nothing(len(now.branch) - len(kept))
    # Nothing is drawn after this: following an answer ends in a new run.
    if place is not None and now.running is not None:
        turn.follow(page, now.running, place)
    elif place is not None and now.begins is not None:
        leaf_id = now.branch[-1].id if now.branch else ""
        turn.begin(page, now.chat, leaf_id, now.begins, place)


def _draw_unreachable(page: Page, error: GatewayError) -> None:
    """What can be had without the gateway: a message can be written, and is sent later."""
    sidebar.draw_frame(page)
    waits = page.session.written
    composer.draw(page, Chat(None, ()), [], is_busy=False, is_queued=bool(waits))
    with st.container(key="messages"):
        with st.empty():
            readiness.draw_unreachable(page, error.failure)
        messages.draw_unsaved(waits, key="waits")


def _look(page: Page, ready: Readiness) -> _Now:
    """What there is, and what follows from what was asked for."""
    chat, branch, has_earlier = _load(page, ready)
    can_answer = ready.can_answer(chat.settings().model)
    running = next((m for m in branch if m.state is MessageState.RUNNING), None)
    begins = page.session.pending if can_answer and running is None else None
    waits = page.session.written[1:] if isinstance(begins, Send) else page.session.written
    return _Now(chat, branch, has_earlier, can_answer, running, begins, waits)


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
        page.session.take_back()
        state.open_conversation(page.session, "")
        page.session.notice = error.failure
        return Chat(None, ready.models), [], False
    return Chat(conversation, ready.models), branch[::-1], bool(token)


def _before(branch: list[Message], begins: Pending | None) -> list[Message]:
    """What stays of a branch when a message of it is changed or answered again."""
    if not isinstance(begins, Regenerate | Edit):
        return branch
    for position, message in enumerate(branch):
        if message.id == begins.message_id:
            stays = isinstance(begins, Regenerate) and message.role is Role.USER
            return branch[: position + stays]
    return branch
