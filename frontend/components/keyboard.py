"""Keys that Streamlit's chat input and buttons do not know."""

from pathlib import Path

import streamlit as st

_SCRIPT = Path(__file__).with_name("keyboard.js").read_text(encoding="utf-8")


@st.cache_resource
def _component() -> object:
    return st.components.v2.component("damso_keyboard", js=_SCRIPT, isolate_styles=False)


def listen(send_label: str) -> None:
    """Handles the keys on the page it is drawn on. Draws nothing.

    Args:
        send_label: What the send button does, for screen readers; Streamlit says it in English.
    """
    _component()(data={"sendLabel": send_label}, key="keyboard")  # type: ignore[operator]
