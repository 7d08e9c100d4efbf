"""What one browser tab keeps between runs. The only reader of `st.session_state` and the URL.

The URL holds what a refresh must find again (the conversation and the language); the rest is lost
with the tab, and nothing in it is needed to show a conversation.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from frontend.conversation import Failure, PromptRendered, Sampling, Settings

_KEY = "damso"
_CONVERSATION = "c"
_LANGUAGE = "lang"
_PROMPTS_KEPT = 50


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

    pending: Pending | None = None
    """What was asked for and has not begun: the model loads, or another answer still runs."""

    unsent: str = ""
    """What could not be sent, on its way back into the box."""

    notice: Failure | None = None
    """What went wrong last."""

    draft: Settings = field(
        default_factory=lambda: Settings(sampling=Sampling(temperature=0.7, top_p=0.95))
    )
    """For a conversation that has not begun."""

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

    def keep_prompt(self, message_id: str, prompt: PromptRendered) -> None:
        """Remembers what the model was given for an answer."""
        self.prompts[message_id] = prompt
        while len(self.prompts) > _PROMPTS_KEPT:
            del self.prompts[next(iter(self.prompts))]


def session() -> Session:
    """This tab's session."""
    if _KEY not in st.session_state:
        st.session_state[_KEY] = Session()
    found: Session = st.session_state[_KEY]
    return found


def widget(key: str) -> Any:
    """The value of a widget, for its callback; None where it is not drawn."""
    return st.session_state.get(key)


def set_widget(key: str, value: object) -> None:
    """Gives a widget a value, before it is drawn."""
    st.session_state[key] = value


def give_way() -> None:
    """Lets a click interrupt a long run here. Streamlit looks for one whenever state is touched."""
    _ = _KEY in st.session_state


def conversation_id() -> str:
    """The conversation in the URL; empty for a new one."""
    return st.query_params.get(_CONVERSATION, "")


def open_conversation(conversation_id: str) -> None:
    """Shows a conversation, or the start of a new one."""
    tab = session()
    tab.editing_message_id = tab.rating_message_id = ""
    tab.message_pages = 1
    tab.notice = None
    if conversation_id:
        st.query_params[_CONVERSATION] = conversation_id
    elif _CONVERSATION in st.query_params:
        del st.query_params[_CONVERSATION]


def language() -> str:
    """The language the person chose, else what the browser asks for; may be one we lack."""
    if chosen := st.query_params.get(_LANGUAGE):
        return str(chosen)
    return st.context.locale or st.context.headers.get("Accept-Language", "")


def choose_language(language: str) -> None:
    """Shows the pages in a language from now on."""
    st.query_params[_LANGUAGE] = language


def timezone() -> str:
    """The browser's time zone."""
    return st.context.timezone or "UTC"
