"""The frame of every page: language, look, navigation."""

import streamlit as st

from frontend import logs, state
from frontend.gateway import Gateway
from frontend.settings import Settings
from frontend.texts import Texts
from frontend.views import chat, look
from frontend.views.page import Page


@st.cache_resource
def _gateway(settings: Settings) -> Gateway:
    """One channel for every session."""
    return Gateway(
        settings.gateway_address,
        call_deadline_seconds=settings.call_deadline_seconds,
        turn_deadline_seconds=settings.turn_deadline_seconds,
        detached_seconds=settings.detached_seconds,
    )


def main() -> None:
    """Draws the page that the URL names."""
    logs.configure()
    texts = Texts(state.language())
    settings = Settings()
    page = Page(_gateway(settings), texts, state.session(), settings)
    look.apply(texts)
    st.navigation(
        [
            st.Page(
                lambda: chat.draw(page),
                title=texts("app.title"),
                url_path="chat",
                default=True,
            )
        ],
        position="hidden",
    ).run()


main()
