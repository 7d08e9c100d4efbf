"""A button that copies a text, which Streamlit has for code only."""

from pathlib import Path

import streamlit as st

_SCRIPT = Path(__file__).with_name("clipboard.js").read_text(encoding="utf-8")
_STYLE = Path(__file__).with_name("clipboard.css").read_text(encoding="utf-8")


@st.cache_resource
def _component() -> object:
    return st.components.v2.component("damso_clipboard", js=_SCRIPT, css=_STYLE)


def copy_button(text: str, *, label: str, done: str, key: str) -> None:
    """Draws the button.

    Args:
        text: What is copied.
        label: What the button does, for tooltips and screen readers.
        done: The same, for a moment after it was done.
        key: Unique on the page.
    """
    _component()(  # type: ignore[operator]
        data={"text": text, "label": label, "done": done},
        key=key,
        width="content",
        height="content",
    )
