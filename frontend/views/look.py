"""How the pages look, beyond what Streamlit's theme can say (`.streamlit/config.toml`)."""

import json
from pathlib import Path

import streamlit as st

from frontend.texts import Texts

_ICON = str(Path(__file__).with_name("icon.svg"))
LOGO = str(Path(__file__).with_name("logo.svg"))
_STYLE = Path(__file__).with_name("look.css")


def apply(texts: Texts) -> None:
    """Sets the page's title, layout and style sheet."""
    st.set_page_config(
        page_title=texts("app.title"),
        page_icon=_ICON,
        layout="centered",
        initial_sidebar_state="auto",
    )
    # The theme's own custom properties reach components only; the style sheet needs these too.
    accent = st.get_option("theme.dark.primaryColor" if _is_dark() else "theme.light.primaryColor")
    upload = json.dumps(texts("import.choose"), ensure_ascii=False)
    st.html(f"<style>:root {{ --damso-accent: {accent}; --damso-upload: {upload} }}</style>")
    st.html(_STYLE)


def _is_dark() -> bool:
    return st.context.theme.type == "dark"
