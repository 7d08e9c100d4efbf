"""What answers are made with: instructions and sampling, saved with the conversation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from frontend import state
from frontend.conversation import Settings
from frontend.views.page import Chat, Page

_MOST_STOPS = 16
_MOST_SYSTEM_PROMPT = 100_000


@dataclass(frozen=True)
class _Number:
    """What a sampling value may be."""

    least: float
    most: float | None
    """None: no limit."""
    step: float


_NUMBERS = {
    "temperature": _Number(0.0, 2.0, 0.1),
    "top_p": _Number(0.01, 1.0, 0.05),
    "max_tokens": _Number(1, None, 1),
    "seed": _Number(0, None, 1),
    "top_k": _Number(0, None, 1),
    "min_p": _Number(0.0, 1.0, 0.05),
    "repetition_penalty": _Number(0.01, 2.0, 0.05),
    "presence_penalty": _Number(-2.0, 2.0, 0.1),
    "frequency_penalty": _Number(-2.0, 2.0, 0.1),
}
_FIRST = ("temperature", "top_p", "max_tokens", "seed")
_MORE = ("top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")


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
    _draw_numbers(page, chat, _FIRST)
    with st.expander(texts("settings.more")):
        _draw_numbers(page, chat, _MORE)
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


def _draw_numbers(page: Page, chat: Chat, names: Sequence[str]) -> None:
    """Draws fields in two columns. An empty one leaves the choice to the gateway."""
    columns = st.columns(2)
    for position, name in enumerate(names):
        number = _NUMBERS[name]
        columns[position % 2].number_input(
            page.texts(f"settings.{name}"),
            min_value=number.least,
            max_value=number.most,
            value=getattr(chat.settings().sampling, name),
            step=number.step,
            placeholder=page.texts(f"settings.{name}_empty"),
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


@state.callback
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
