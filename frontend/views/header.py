"""The top of a conversation: which model answers, how it is set, what can be taken away."""

import re
from dataclasses import replace

import streamlit as st

from frontend import state
from frontend.models import Model, ModelState, chosen
from frontend.views import settings_panel
from frontend.views.page import Chat, Page


def draw(page: Page, chat: Chat) -> None:
    """Draws the row above the messages."""
    with st.container(key="header", horizontal=True, vertical_alignment="center"):
        _draw_model(page, chat)
        with st.popover(
            page.texts("settings.title"), icon=":material/tune:", type="tertiary", key="settings"
        ):
            settings_panel.draw(page, chat)
        if chat.conversation is not None:
            conversation = chat.conversation
            st.download_button(
                page.texts("export.one"),
                data=lambda: page.gateway.export([conversation.id]),
                file_name=f"{_file_name(conversation.title)}.json",
                mime="application/json",
                key="export-one",
                icon=":material/download:",
                type="tertiary",
                on_click="ignore",
            )


def _draw_model(page: Page, chat: Chat) -> None:
    if not chat.models:
        return
    models = {model.name: model for model in chat.models}
    name = chat.settings().model
    current = chosen(chat.models, name)
    options = list(models) if current or not name else [name, *models]

    # The box keeps the label it was drawn with as long as its key stays.
    waiting = sum(model.state is not ModelState.READY for model in chat.models)
    key = f"model:{chat.id}:{waiting}"

    def label(option: str) -> str:
        model = models.get(option)
        return _label(page, model) if model else page.texts("model.gone", model=option)

    st.selectbox(
        page.texts("model.label"),
        options,
        index=options.index(current.name if current else name),
        format_func=label,
        key=key,
        label_visibility="collapsed",
        width=260,
        filter_mode=None,
        on_change=_choose_model,
        args=(page, chat, key),
    )


def _label(page: Page, model: Model) -> str:
    name = f"↳ {model.name}" if model.base_model else model.name
    if model.state is ModelState.READY:
        return name
    return page.texts(f"model.{model.state.value}", model=name)


@state.callback
def _choose_model(page: Page, chat: Chat, key: str) -> None:
    model = state.widget(key)
    settings_panel.save(page, chat, lambda settings: replace(settings, model=model))


def _file_name(title: str) -> str:
    return re.sub(r"[^\w-]+", "-", title).strip("-")[:60] or "conversation"
