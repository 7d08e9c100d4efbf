"""An answer while it is made: its text as it comes, until it ends or a click interrupts."""

import logging

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from frontend import markdown, state
from frontend.conversation import Message, PromptRendered, TextDelta, TurnFinished, TurnStarted
from frontend.errors import GatewayError
from frontend.state import Edit, Pending, Regenerate, Send
from frontend.turns import Turn
from frontend.views import messages, readiness
from frontend.views.page import Chat, Page

logger = logging.getLogger(__name__)

_TICK_SECONDS = 0.1
"""How soon a click is noticed while nothing comes."""

_FRAME_SECONDS = 0.04
"""Tokens that come faster share a drawing: the browser lays out the whole answer each time."""

_ANSWER_PARTS = 5
"""Most elements of a finished answer: text, two notes, buttons, the question why."""


def draw_place(page: Page) -> DeltaGenerator:
    """Draws where the answer will be."""
    with st.container(key="answer-running"):
        place = st.empty()
        messages.draw_nothing(_ANSWER_PARTS - 1)
    place.markdown(page.texts("turn.waiting"))
    return place


def begin(page: Page, chat: Chat, leaf_id: str, pending: Pending, place: DeltaGenerator) -> None:
    """Starts the turn that was asked for, and follows it.

    Args:
        page: This run.
        chat: The conversation.
        leaf_id: Its last message as it is drawn, which a new message follows; may be empty.
        pending: What was asked for.
        place: Where the answer is drawn.
    """
    try:
        turn = _start(page, chat, leaf_id, pending)
    except GatewayError as error:
        _give_up(page, pending, error)
    else:
        _follow(page, turn, pending, place)


def follow(page: Page, message: Message, place: DeltaGenerator) -> None:
    """Follows a turn that runs already: after a refresh, in another tab, after any click."""
    _follow(page, page.gateway.attach(message.id), None, place)


def _start(page: Page, chat: Chat, leaf_id: str, pending: Pending) -> Turn:
    match pending:
        case Send(content, request_id):
            conversation_id = chat.id
            if not conversation_id:
                conversation_id = page.gateway.create_conversation(chat.settings()).id
                page.session.begun_conversation_id = conversation_id
                state.open_conversation(page.session, conversation_id)
            return page.gateway.send(conversation_id, leaf_id, content, request_id)
        case Regenerate(message_id):
            return page.gateway.regenerate(message_id)
        case Edit(message_id, content):
            return page.gateway.edit(message_id, content)


def _follow(page: Page, turn: Turn, pending: Pending | None, place: DeltaGenerator) -> None:
    """Draws the frames of a turn, then has the page drawn as it was saved."""
    message_id = ""
    text = ""
    has_begun = False
    try:
        for frame in turn.frames(_TICK_SECONDS, _FRAME_SECONDS):
            has_begun = has_begun or bool(frame)
            for event in frame:
                match event:
                    case TurnStarted(message=message):
                        message_id = message.id
                        if pending is not None:
                            page.session.queue.remove(pending)
                            page.session.begun_conversation_id = ""
                    case PromptRendered():
                        page.session.keep_prompt(message_id, event)
                    case TextDelta(text=piece):
                        text += piece
                    case TurnFinished(message=message):
                        text = message.content
            if frame and text:
                place.markdown(markdown.untrusted(text))
            elif message_id:  # until then an interruption could lose what was asked for
                state.give_way()
    except GatewayError as error:
        if pending is not None and not message_id:
            _give_up(page, pending, error)
            return
        if not has_begun:  # an answer that cannot be followed now would fail again at once
            readiness.retry_later(page)
            return
        # What came is saved with the reason: the next run shows both.
    finally:
        turn.close()
    st.rerun()


def _give_up(page: Page, pending: Pending, error: GatewayError) -> None:
    """Tells why a turn did not begin. What was written is kept."""
    if isinstance(pending, Send) and (error.is_unreachable or error.failure.code == "UNAVAILABLE"):
        readiness.retry_later(page)  # a message is sent when they are back; the page says so
        return
    page.session.take_back()
    _discard_begun(page)
    page.session.notice = error.failure
    if isinstance(pending, Edit):
        page.session.editing_message_id = pending.message_id
    st.rerun()


def _discard_begun(page: Page) -> None:
    """Deletes the conversation that was begun for a message that could not be sent."""
    begun, page.session.begun_conversation_id = page.session.begun_conversation_id, ""
    if not begun or begun != state.conversation_id():
        return
    try:
        if page.gateway.list_messages(begun, page_size=1).items:
            return
        page.gateway.delete(begun)
    except GatewayError:
        return  # it stays, empty
    state.open_conversation(page.session, "")
