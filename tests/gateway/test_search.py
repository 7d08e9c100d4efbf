import grpc
import pytest

from damso.chat.v1 import chat_pb2 as pb
from services.gateway.search import SNIPPET_CHARACTERS, snippet
from services.runtime.status import error_info
from tests.gateway.gateways import saying


@pytest.fixture
async def find(gateway):

    async def find(query, **page):
        request = pb.SearchConversationsRequest(query=query, **page)
        return await gateway.chat.SearchConversations(request, timeout=10)

    return find


async def keep(gateway, *contents, title=""):
    conversation = await gateway.conversation(title=title, settings=saying("ok"))
    for content in contents:
        await gateway.ask(conversation, content)
    return conversation.id


async def found(find, query):
    return [result.conversation.id for result in (await find(query)).results]


@pytest.mark.parametrize(
    ("content", "query"),
    [
        ("나는 서울에서 살아요", "서울"),
        ("나는 서울에서 살아요", "울에"),
        ("나는 서울에서 살아요", "서울에서 살아요"),
        ("The Quick Brown Fox", "quick brown"),
        ("the quick brown fox", "QUICK"),
        ("über ÄPFEL", "äpfel"),
        ("ПРИВЕТ", "привет"),
        ("한글", "한글"),  # composed of jamo, as macOS writes it
        ("한글", "한글"),
        ("100% sure", "100%"),
        ("snake_case", "e_c"),
        (r"C:\path", r"\p"),
        ("it's 'quoted' :name", "'quoted' :name"),
        ("x", "x"),
        ("안녕 👩‍👩‍👧", "👩‍👩‍👧"),
    ],
)
async def test_a_text_is_found_in_messages(gateway, find, content, query):
    await keep(gateway, "something else")
    conversation = await keep(gateway, content, title="untitled")
    assert await found(find, query) == [conversation]


async def test_percent_and_underscore_stand_for_themselves(gateway, find):
    await keep(gateway, "100 sure", "snakeXcase", title="untitled")
    assert await found(find, "100%") == []
    assert await found(find, "e_c") == []
    assert await found(find, "%") == []


async def test_a_title_is_found_and_has_no_message(gateway, find):
    conversation = await keep(gateway, title="Plans for 부산")
    result = (await find("for 부")).results[0]
    assert (result.conversation.id, result.message_id) == (conversation, "")
    assert result.snippet == "Plans for 부산"


async def test_the_newest_message_that_holds_the_text_is_named(gateway, find):
    conversation = await gateway.conversation()
    await gateway.ask(conversation, "apple one")
    newest = await gateway.ask(conversation, "apple two")
    await gateway.ask(conversation, "pear")
    result = (await find("APPLE")).results[0]
    assert result.message_id == newest.parent_id
    assert result.snippet == "apple two"


async def test_results_are_paged_the_most_recently_changed_first(gateway, find):
    made = [await keep(gateway, f"needle {number}") for number in range(5)]
    seen, token = [], ""
    while True:
        page = await find("needle", page_size=2, page_token=token)
        seen += [result.conversation.id for result in page.results]
        if not (token := page.next_page_token):
            break
    assert seen == made[::-1]


@pytest.mark.parametrize("query", ["", "   ", "x" * 201])
async def test_a_query_without_text_or_too_long_is_refused(find, query):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await find(query)
    assert error_info(caught.value).metadata["field"] == "query"


def test_a_snippet_shows_what_stands_around_the_text():
    whole = "a" * 500 + " needle\n\n\there " + "b" * 500
    shown = snippet(whole, "NEEDLE")
    assert "needle here" in shown
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) <= SNIPPET_CHARACTERS + 2


def test_a_snippet_survives_letters_whose_case_changes_their_length():
    assert "needle" in snippet("İ" * 300 + "needle", "needle")
