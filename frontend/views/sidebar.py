"""The sidebar: conversations, search, and what concerns all of them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from frontend import markdown, state
from frontend.conversation import Conversation
from frontend.conversation import Page as Part
from frontend.texts import NAMES
from frontend.views import look
from frontend.views.page import Chat, Page

Item = TypeVar("Item")

_SEARCH = "search"
_MOST_TITLE = 200


def draw(page: Page, chat: Chat) -> None:
    """Draws the sidebar.

    Raises:
        GatewayError: The conversations cannot be listed.
    """
    texts = page.texts
    with st.sidebar:
        _draw_head(page)
        query = st.text_input(
            texts("search.label"),
            key=_SEARCH,
            placeholder=texts("search.placeholder"),
            label_visibility="collapsed",
            icon=":material/search:",
            max_chars=200,
        )
        with st.container(key="conversations", gap=None):
            if query and query.strip():
                _draw_found(page, chat, query.strip())
            else:
                _draw_list(page, chat)
        _draw_foot(page)


def draw_frame(page: Page) -> None:
    """Draws what can be drawn while the gateway does not answer."""
    with st.sidebar:
        _draw_head(page)
        _draw_language(page)


def _draw_head(page: Page) -> None:
    st.logo(look.LOGO, size="large")
    st.button(
        page.texts("sidebar.new"),
        key="new-chat",
        icon=":material/edit_square:",
        shortcut="Mod+Shift+O",
        width="stretch",
        on_click=_open,
        args=(page, ""),
    )


def _draw_list(page: Page, chat: Chat) -> None:
    texts = page.texts
    conversations, has_more = _read(page, page.gateway.list_conversations)
    if not conversations:
        st.caption(texts("sidebar.empty"))
    today = datetime.now(_zone())
    for age, group in groupby(conversations, key=lambda one: _age(one.update_time, today)):
        st.caption(texts(f"age.{age}"))
        _draw_conversations(page, chat, list(group))
    if has_more:
        _draw_more(page)


def _draw_found(page: Page, chat: Chat, query: str) -> None:
    hits, has_more = _read(page, partial(page.gateway.search, query))
    if not hits:
        st.caption(page.texts("search.none"))
    for hit in hits:
        _draw_conversations(page, chat, [hit.conversation])
        if hit.snippet:
            st.caption(markdown.plain(hit.snippet))
    if has_more:
        _draw_more(page)


def _read(page: Page, part_of: Callable[[int, str], Part[Item]]) -> tuple[list[Item], bool]:
    """The parts of a list that are shown, and whether there is more of it."""
    items: list[Item] = []
    token = ""
    for _ in range(page.session.conversation_pages):
        part = part_of(page.settings.conversations_per_page, token)
        items += part.items
        token = part.next_token
        if not token:
            break
    return items, bool(token)


def _draw_more(page: Page) -> None:
    st.button(
        page.texts("sidebar.more"),
        key="more-conversations",
        icon=":material/expand_more:",
        type="tertiary",
        on_click=_show_more,
        args=(page,),
    )


def _draw_conversations(page: Page, chat: Chat, conversations: Sequence[Conversation]) -> None:
    for one in conversations:
        if page.session.renaming_conversation_id == one.id:
            _draw_renaming(page, one)
        elif page.session.deleting_conversation_id == one.id:
            _draw_deleting(page, one)
        else:
            _draw_conversation(page, one, is_open=one.id == chat.id)


def _draw_conversation(page: Page, conversation: Conversation, *, is_open: bool) -> None:
    texts = page.texts
    title = markdown.plain(conversation.title) or texts("sidebar.untitled")
    row = "current" if is_open else "other"
    with st.container(
        key=f"{row}-{conversation.id}",
        horizontal=True,
        gap=None,
        vertical_alignment="center",
    ):
        st.button(
            title,
            key=f"open-{conversation.id}",
            type="tertiary",
            width="stretch",
            icon=":material/progress_activity:" if conversation.running_message_ids else None,
            on_click=_open,
            args=(page, conversation.id),
        )
        st.menu_button(
            texts("sidebar.menu", title=title),
            ("rename", "delete"),
            format_func=lambda action: texts(f"sidebar.{action}"),
            key=f"menu-{conversation.id}",
            icon=":material/more_horiz:",
            type="tertiary",
            on_click=_choose,
            args=(page, conversation.id),
        )


def _draw_renaming(page: Page, conversation: Conversation) -> None:
    texts = page.texts
    with st.form(key=f"rename-{conversation.id}"):
        title = st.text_input(
            texts("rename.label"), conversation.title, key=f"title-{conversation.id}",
            max_chars=_MOST_TITLE,
        )  # fmt: skip
        with st.container(horizontal=True, horizontal_alignment="right"):
            cancelled = st.form_submit_button(texts("rename.cancel"), type="tertiary")
            kept = st.form_submit_button(texts("rename.save"), type="primary")
    if kept and title.strip():
        page.attempt(lambda: page.gateway.rename(conversation.id, title.strip()))
    if kept or cancelled:
        page.session.renaming_conversation_id = ""
        st.rerun()


def _draw_deleting(page: Page, conversation: Conversation) -> None:
    texts = page.texts
    with st.container(border=True, key=f"deleting-{conversation.id}"):
        st.markdown(texts("delete.question", title=markdown.plain(conversation.title)))
        with st.container(horizontal=True, horizontal_alignment="right"):
            st.button(
                texts("delete.cancel"),
                key=f"keep-{conversation.id}",
                type="tertiary",
                on_click=_delete,
                args=(page, conversation.id),
                kwargs={"confirmed": False},
            )
            st.button(
                texts("delete.confirm"),
                key=f"delete-{conversation.id}",
                type="primary",
                on_click=_delete,
                args=(page, conversation.id),
                kwargs={"confirmed": True},
            )


def _draw_foot(page: Page) -> None:
    texts = page.texts
    with st.container(key="sidebar-foot"):
        with st.popover(
            texts("data.title"), icon=":material/import_export:", type="tertiary", key="data"
        ):
            st.download_button(
                texts("export.all"),
                data=page.gateway.export,
                file_name="damso-conversations.json",
                mime="application/json",
                key="export-all",
                icon=":material/download:",
                width="stretch",
                on_click="ignore",
            )
            with st.form(key="import", border=False, clear_on_submit=True):
                document = st.file_uploader(texts("import.label"), type="json", key="import-file")
                if st.form_submit_button(texts("import.submit")) and document is not None:
                    content = document.getvalue()
                    if page.attempt(lambda: page.gateway.import_(content)):
                        st.toast(texts("import.done"))
                    st.rerun()
        _draw_language(page)


def _draw_language(page: Page) -> None:
    st.segmented_control(
        page.texts("language.label"),
        list(NAMES),
        default=page.texts.language,
        required=True,
        format_func=NAMES.__getitem__,
        key="language",
        label_visibility="collapsed",
        on_change=_choose_language,
    )


@state.callback
def _choose_language() -> None:
    if language := state.widget("language"):
        state.choose_language(language)


@state.callback
def _open(page: Page, conversation_id: str) -> None:
    if conversation_id != state.conversation_id():
        page.session.take_back()  # what waits was written for the conversation that is left
    state.open_conversation(page.session, conversation_id)


@state.callback
def _choose(page: Page, conversation_id: str) -> None:
    action = state.widget(f"menu-{conversation_id}")
    page.session.renaming_conversation_id = conversation_id if action == "rename" else ""
    page.session.deleting_conversation_id = conversation_id if action == "delete" else ""


@state.callback
def _delete(page: Page, conversation_id: str, *, confirmed: bool) -> None:
    page.session.deleting_conversation_id = ""
    if (
        confirmed
        and page.attempt(lambda: page.gateway.delete(conversation_id))
        and state.conversation_id() == conversation_id
    ):
        page.session.take_back()
        state.open_conversation(page.session, "")


def _show_more(page: Page) -> None:
    page.session.conversation_pages += 1


def _zone() -> ZoneInfo:
    try:
        return ZoneInfo(state.timezone())
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _age(time: datetime, today: datetime) -> str:
    """Which heading a conversation stands under, by the reader's own days."""
    days = today.date() - time.replace(tzinfo=time.tzinfo or UTC).astimezone(today.tzinfo).date()
    if days < timedelta(days=1):
        return "today"
    if days < timedelta(days=2):
        return "yesterday"
    return "week" if days < timedelta(days=7) else "older"
