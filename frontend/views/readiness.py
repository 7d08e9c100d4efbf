"""Whether an answer can be made now: says what is missing, and looks again by itself."""

import time
from dataclasses import dataclass

import streamlit as st

from frontend import state
from frontend.conversation import Failure
from frontend.errors import GatewayError
from frontend.models import Model, ModelState, chosen
from frontend.views.page import Chat, Page

_LOADING_SECONDS = 1.0
_RETRY_SECONDS = 2.0
_WATCH_SECONDS = 3.0


@dataclass(frozen=True)
class Readiness:
    """What can be had at this moment."""

    models: tuple[Model, ...] = ()
    failure: Failure | None = None
    """Why the models cannot be asked for."""
    gateway_failure: Failure | None = None
    """Why the gateway itself does not answer."""

    def can_answer(self, name: str) -> bool:
        """Whether the model of a name serves. One that is not known is asked, to learn why."""
        if not self.models:
            return False
        model = chosen(self.models, name)
        return model is None or model.state is ModelState.READY


def look(page: Page) -> Readiness:
    """Asks which models serve."""
    try:
        return Readiness(page.gateway.list_models())
    except GatewayError as error:
        if error.is_unreachable:
            return Readiness(gateway_failure=error.failure)
        return Readiness(failure=error.failure)


@st.fragment(run_every=_LOADING_SECONDS)
def draw(page: Page, name: str) -> None:
    """Says what is missing before a model can answer, and looks again until it is there."""
    ready = look(page)
    if ready.can_answer(name) or ready.gateway_failure is not None:
        st.rerun()
    texts = page.texts
    model = chosen(ready.models, name)
    with st.container(border=True, key="readiness"):
        if model is None or model.state is ModelState.FAILED:
            st.markdown(texts("loading.failed"))
            if ready.failure is not None:
                st.caption(page.sentence(ready.failure))
            st.caption(texts("loading.retries"))
            return
        st.markdown(texts("loading.title", model=model.name))
        st.progress(model.progress, text=texts(f"loading.{model.phase.value}"))
        if model.remaining_seconds is not None:
            st.caption(texts("loading.remaining", seconds=max(1, round(model.remaining_seconds))))


def draw_unreachable(page: Page, failure: Failure) -> None:
    """Says what keeps the page from the conversations, and tries again until it works."""
    _draw_unreachable(page, failure, time.monotonic() + _RETRY_SECONDS)


@st.fragment(run_every=_RETRY_SECONDS)
def _draw_unreachable(page: Page, failure: Failure, due: float) -> None:
    with st.container(border=True, key="unreachable"):
        st.markdown(page.texts("unreachable.title"))
        st.caption(page.sentence(failure))
        st.caption(page.texts("unreachable.retries", address=page.gateway.address))
    if time.monotonic() < due:  # what is asked here may work although what the page needs failed
        return
    try:
        page.gateway.list_conversations(page_size=1)
    except GatewayError:
        return
    st.rerun()


def retry_later(page: Page) -> None:
    """Draws the page anew after a while, which tries what is pending once more."""
    _retry(page, time.monotonic() + _RETRY_SECONDS)


@st.fragment(run_every=_RETRY_SECONDS)
def _retry(page: Page, due: float) -> None:
    if time.monotonic() >= due:
        st.rerun()


def watch(page: Page, chat: Chat) -> None:
    """Draws the page anew when another tab or another client changes the conversation."""
    if chat.conversation is not None:
        _watch(page, chat)


@st.fragment(run_every=_WATCH_SECONDS)
def _watch(page: Page, chat: Chat) -> None:
    drawn = chat.conversation
    if drawn is None or state.conversation_id() != drawn.id:
        return
    try:
        now = page.gateway.get_conversation(drawn.id)
    except GatewayError:
        st.rerun()
    if (now.update_time, now.running_message_ids) != (drawn.update_time, drawn.running_message_ids):
        st.rerun()
