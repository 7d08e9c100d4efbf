"""What answers are made with: instructions and sampling, saved with the conversation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from frontend import state
from frontend.conversation import Settings
from frontend.views.page import Chat, Page

_MOST_STOPS = 16
_MOST_SYSTEM_PROMPT = 100_000


@dataclass(frozen=True)
class _Range:
    """What a sampling value may be: least, most and the step of its slider."""

    least: float
    most: float
    step: float


_RANGES = {
    "temperature": _Range(0.0, 2.0, 0.05),
    "top_p": _Range(0.01, 1.0, 0.01),
    "min_p": _Range(0.0, 1.0, 0.01),
    "repetition_penalty": _Range(0.05, 2.0, 0.05),
    "presence_penalty": _Range(-2.0, 2.0, 0.1),
    "frequency_penalty": _Range(-2.0, 2.0, 0.1),
}


def draw(page: Page, chat: Chat) -> None:
    """Draws the panel. Every change is saved at once."""
    texts = page.texts
    settings = chat.settings()
    st.text_area(
        texts("settings.system_prompt"),
        settings.system_prompt,
        height=110,
        max_chars=_MOST_SYSTEM_PROMPT,
        placeholder=texts("settings.system_prompt_placeholder"),
        **_saves(page, chat, "system_prompt"),
    )
    for name in ("temperature", "top_p"):
        _draw_slider(page, chat, name)
    st.number_input(
        texts("settings.max_tokens"),
        min_value=1,
        value=settings.sampling.max_tokens,
        step=1,
        placeholder=texts("settings.max_tokens_placeholder"),
        help=texts("settings.max_tokens_help"),
        **_saves(page, chat, "max_tokens"),
    )
    with st.expander(texts("settings.more")):
        st.number_input(
            texts("settings.top_k"),
            min_value=0,
            max_value=1_000_000,
            value=settings.sampling.top_k,
            step=1,
            help=texts("settings.top_k_help"),
            **_saves(page, chat, "top_k"),
        )
        for name in ("min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"):
            _draw_slider(page, chat, name)
        st.number_input(
            texts("settings.seed"),
            min_value=0,
            value=settings.sampling.seed,
            step=1,
            placeholder=texts("settings.seed_placeholder"),
            help=texts("settings.seed_help"),
            **_saves(page, chat, "seed"),
        )
        st.multiselect(
            texts("settings.stop"),
            options=settings.sampling.stop,
            default=settings.sampling.stop,
            accept_new_options=True,
            max_selections=_MOST_STOPS,
            placeholder=texts("settings.stop_placeholder"),
            help=texts("settings.stop_help"),
            **_saves(page, chat, "stop"),
        )
    st.caption(texts("settings.saved" if chat.conversation else "settings.draft"))


def save(page: Page, chat: Chat, change: Callable[[Settings], Settings]) -> None:
    """Changes settings of the conversation, or of the one that is about to begin.

    The change is made to what is kept now, not to what was drawn: two fields may be changed faster
    than the page is drawn once.
    """
    if chat.conversation is None:
        page.session.draft = change(page.session.draft)
    else:
        page.attempt(
            lambda: page.gateway.save_settings(
                chat.id, change(page.gateway.get_conversation(chat.id).settings)
            )
        )


def _draw_slider(page: Page, chat: Chat, name: str) -> None:
    limits = _RANGES[name]
    value = float(getattr(chat.settings().sampling, name))
    st.slider(
        page.texts(f"settings.{name}"),
        limits.least,
        limits.most,
        min(max(value, limits.least), limits.most),
        limits.step,
        help=page.texts(f"settings.{name}_help"),
        **_saves(page, chat, name),
    )


def _saves(page: Page, chat: Chat, name: str) -> dict[str, Any]:
    """What makes a widget save its setting. Each conversation has widgets of its own."""
    return {
        "key": f"{name}:{chat.id}",
        "on_change": _save_widget,
        "args": (page, chat, name),
    }


def _save_widget(page: Page, chat: Chat, name: str) -> None:
    value = state.widget(f"{name}:{chat.id}")
    if name == "system_prompt":
        save(page, chat, lambda settings: replace(settings, system_prompt=value or ""))
        return
    if name == "stop":
        value = tuple(value or ())
    save(
        page,
        chat,
        lambda settings: replace(settings, sampling=replace(settings.sampling, **{name: value})),
    )
