"""What one browser tab keeps between runs. The only reader of `st.session_state` and the URL.

The URL holds what a refresh must find again (the conversation and the language); the rest is lost
with the tab, and nothing in it is needed to show a conversation.
"""

import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import RerunException

from frontend.conversation import Failure, PromptRendered, Settings

P = ParamSpec("P")
Value = TypeVar("Value")

_KEY = "damso"
_CONVERSATION = "c"
_LANGUAGE = "lang"
_PROMPTS_KEPT = 50

_interruptions: ContextVar[list[RerunException] | None] = ContextVar("interruptions", default=None)
"""Clicks that arrived during the callback that runs; None outside callbacks."""


@dataclass(frozen=True)
class Send:
    """A message that is to be sent."""

    content: str
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Makes it safe to send again when a run was interrupted."""


@dataclass(frozen=True)
class Regenerate:
    """An answer that is to be made again, or a user message that is to be answered."""

    message_id: str


@dataclass(frozen=True)
class Edit:
    """A user message that is to be changed."""

    message_id: str
    content: str


Pending = Send | Regenerate | Edit


@dataclass
class Session:
    """One tab."""

    queue: list[Pending] = field(default_factory=list)
    """What was asked for and has not begun: the model loads, or another answer still runs.

    The box takes no further message while one waits; more come only from fast fingers.
    """

    unsent: str = ""
    """What could not be sent, on its way back into the box."""

    notice: Failure | None = None
    """What went wrong last."""

    draft: Settings = field(default_factory=Settings)
    """For a conversation that has not begun."""

    begun_conversation_id: str = ""
    """The conversation that was begun for a message that is not saved yet."""

    editing_message_id: str = ""
    rating_message_id: str = ""
    renaming_conversation_id: str = ""
    deleting_conversation_id: str = ""

    message_pages: int = 1
    """Pages of the conversation that are drawn."""

    conversation_pages: int = 1
    """Pages of the sidebar that are drawn."""

    prompts: dict[str, PromptRendered] = field(default_factory=dict)
    """What the model was given, by the answer's id; the newest few."""

    @property
    def pending(self) -> Pending | None:
        """What is to begin next."""
        return self.queue[0] if self.queue else None

    @property
    def written(self) -> list[str]:
        """The messages that wait to be sent."""
        return [asked.content for asked in self.queue if isinstance(asked, Send)]

    def ask(self, asked: Pending) -> None:
        """Has something begin as soon as it can."""
        self.notice = None
        self.queue.append(asked)

    def take_back(self) -> None:
        """Puts what waits back into the box."""
        self.unsent = "\n".join(filter(None, [self.unsent, *self.written]))
        self.queue.clear()

    def keep_prompt(self, message_id: str, prompt: PromptRendered) -> None:
        """Remembers what the model was given for an answer."""
        self.prompts[message_id] = prompt
        while len(self.prompts) > _PROMPTS_KEPT:
            del self.prompts[next(iter(self.prompts))]


def callback(action: Callable[P, None]) -> Callable[P, None]:
    """A click's action that is done whole, whatever is clicked meanwhile.

    Where the next click arrives while a callback touches Streamlit, Streamlit drops the rest of
    that callback without a word. Here the callback goes on, and makes way when it is done.
    """

    @wraps(action)
    def whole(*args: P.args, **kwargs: P.kwargs) -> None:
        interruptions: list[RerunException] = []
        token = _interruptions.set(interruptions)
        try:
            action(*args, **kwargs)
        finally:
            _interruptions.reset(token)
        if interruptions:
            raise interruptions[-1]

    return whole


def _touched(access: Callable[[], Value]) -> Value:
    """What an access to Streamlit's state gives, also in a callback that is interrupted there."""
    while True:
        try:
            return access()
        except RerunException as interruption:
            kept = _interruptions.get()
            if kept is None:
                raise
            kept.append(interruption)


def session() -> Session:
    """This tab's session."""
    if _KEY not in st.session_state:
        st.session_state[_KEY] = Session()
    found: Session = st.session_state[_KEY]
    return found


def widget(key: str) -> Any:
    """The value of a widget, for its callback; None where it is not drawn."""
    return _touched(lambda: st.session_state.get(key))


def set_widget(key: str, value: object) -> None:
    """Gives a widget a value, before it is drawn."""
    st.session_state[key] = value


def give_way() -> None:
    """Lets a click interrupt a long run here. Streamlit looks for one whenever state is touched."""
    _ = _KEY in st.session_state


def conversation_id() -> str:
    """The conversation in the URL; empty for a new one."""
    return _touched(lambda: st.query_params.get(_CONVERSATION, ""))


def open_conversation(tab: Session, conversation_id: str) -> None:
    """Shows a conversation, or the start of a new one."""
    tab.editing_message_id = tab.rating_message_id = ""
    tab.message_pages = 1
    tab.notice = None
    _touched(lambda: _set_query(_CONVERSATION, conversation_id))


def language() -> str:
    """The language the person chose, else what the browser asks for; may be one we lack."""
    if chosen := st.query_params.get(_LANGUAGE):
        return str(chosen)
    return st.context.locale or st.context.headers.get("Accept-Language", "")


def choose_language(language: str) -> None:
    """Shows the pages in a language from now on."""
    _touched(lambda: _set_query(_LANGUAGE, language))


def timezone() -> str:
    """The browser's time zone."""
    return st.context.timezone or "UTC"


def _set_query(key: str, value: str) -> None:
    if value:
        st.query_params[key] = value
    elif key in st.query_params:
        del st.query_params[key]
