"""The chat page's script, run without a browser."""

import socket
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from frontend.texts import Texts

APP = str(Path(__file__).parents[2] / "frontend" / "app.py")
ENGLISH, KOREAN = Texts("en"), Texts("ko")


def app_at(address: str, monkeypatch, **query: str) -> AppTest:
    monkeypatch.setenv("FRONTEND_GATEWAY_ADDRESS", address)
    app = AppTest.from_file(APP, default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    return app


@pytest.fixture
def nowhere() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("texts", [ENGLISH, KOREAN], ids=["en", "ko"])
def test_without_a_gateway_the_page_says_what_is_wrong_and_that_it_tries_again(
    nowhere, monkeypatch, texts
):
    app = app_at(nowhere, monkeypatch, lang=texts.language).run()
    assert not app.exception
    assert texts("unreachable.title") in [one.value for one in app.markdown]
    captions = [one.value for one in app.caption]
    assert texts("error.GATEWAY_UNREACHABLE") in captions
    assert texts("unreachable.retries", address=nowhere) in captions


def test_a_message_written_without_a_gateway_waits_and_can_be_taken_back(nowhere, monkeypatch):
    app = app_at(nowhere, monkeypatch).run()
    app.chat_input[0].set_value("Are you there?").run()
    assert [one.value for one in app.text] == ["Are you there?"]
    assert app.chat_input[0].disabled
    app.button(key="cancel-queued").click().run()
    assert len(app.text) == 0
    assert not app.chat_input[0].disabled


def test_a_message_is_answered_and_the_conversation_is_in_the_url(pages, gateway, monkeypatch):
    app = app_at(pages.gateway_address, monkeypatch).run()
    app.number_input(key="max_tokens:").set_value(8).run()
    app.chat_input[0].set_value("Name a colour.").run()
    assert not app.exception
    conversation_id = app.query_params["c"]
    branch = gateway.list_messages(conversation_id, page_size=10).items
    assert [message.content for message in branch][1] == "Name a colour."
    assert branch[0].content in [one.value for one in app.markdown]
    assert gateway.get_conversation(conversation_id).settings.sampling.max_tokens == 8
    gateway.delete(conversation_id)


def test_a_link_to_a_deleted_conversation_leads_to_a_new_one_and_says_why(
    pages, gateway, conversation, monkeypatch
):
    gateway.delete(conversation.id)
    app = app_at(pages.gateway_address, monkeypatch, c=conversation.id).run()
    assert not app.exception
    assert "c" not in app.query_params
    assert [one.value for one in app.error] == [ENGLISH("error.CONVERSATION_NOT_FOUND")]


def test_a_blank_message_is_not_sent(pages, gateway, conversation, monkeypatch):
    app = app_at(pages.gateway_address, monkeypatch, c=conversation.id).run()
    app.chat_input[0].set_value("  \n ").run()
    assert not app.exception
    assert gateway.list_messages(conversation.id, page_size=10).items == ()


def test_long_conversations_are_drawn_in_parts(pages, gateway, conversation, monkeypatch):
    monkeypatch.setenv("FRONTEND_MESSAGES_PER_PAGE", "2")
    app = app_at(pages.gateway_address, monkeypatch, c=conversation.id).run()
    for question in ("Name a colour.", "Name an animal."):
        app.chat_input[0].set_value(question).run()
    assert [one.value for one in app.text] == ["Name an animal."]
    app.button(key="earlier").click().run()
    assert [one.value for one in app.text] == ["Name a colour.", "Name an animal."]


def test_the_language_that_was_chosen_is_in_the_url(pages, monkeypatch):
    app = app_at(pages.gateway_address, monkeypatch).run()
    assert app.chat_input[0].placeholder == ENGLISH("composer.placeholder")
    app.button_group(key="language").set_value("ko").run()
    assert app.query_params["lang"] == "ko"
    assert app.chat_input[0].placeholder == KOREAN("composer.placeholder")
