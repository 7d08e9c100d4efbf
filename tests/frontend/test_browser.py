"""The chat page in a real browser, before a real gateway and a real engine."""

import asyncio
import json
import re
from dataclasses import replace

import grpc
import pytest
from playwright.async_api import expect

from damso.generation.v1.generation_pb2 import GetLoadRequest
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from frontend.conversation import MessageState, Rating
from tests.frontend import answers
from tests.frontend.browser import PATIENCE_MS, ChatPage

IN_CONVERSATION = re.compile(r"[?&]c=")


@pytest.fixture
async def idle_engine(pages):
    """Waits until the engine neither decodes nor keeps a request waiting."""
    async with grpc.aio.insecure_channel(pages.gateway_address) as channel:
        stub = GenerationServiceStub(channel)

        async def becomes_idle() -> None:
            async with asyncio.timeout(5):
                while True:
                    load = await stub.GetLoad(GetLoadRequest(), timeout=5)
                    if load.running_count + load.waiting_count == 0:
                        return

        yield becomes_idle


async def test_a_first_message_begins_a_conversation_and_is_answered(page, gateway):
    await page.open()
    await expect(page.tab.get_by_text(page.texts("welcome.title"))).to_be_visible()
    await page.send("Say hello.")
    await expect(page.questions).to_have_text(["Say hello."])
    await page.has_text_running()
    await expect(page.tab).to_have_url(IN_CONVERSATION)
    await page.stop_button.click()
    await expect(page.answers).to_have_count(1, timeout=PATIENCE_MS)
    await expect(page.conversations.first).to_have_text("Say hello.")
    assert gateway.get_conversation(page.conversation_id).title == "Say hello."


async def test_stop_frees_the_engine_and_keeps_what_came(
    page, long_conversation, gateway, idle_engine
):
    await page.open(long_conversation.id)
    await page.send("Count to one thousand.")
    await page.has_text_running()
    await page.stop_button.click()
    await expect(page.answers).to_contain_text(page.texts("ending.stopped"), timeout=PATIENCE_MS)
    await idle_engine()
    assert gateway.list_messages(long_conversation.id, 1).items[0].state is MessageState.STOPPED


async def test_stop_before_the_first_token_frees_the_engine(page, long_conversation, idle_engine):
    await page.open(long_conversation.id)
    await page.send("Tell a very long story.")
    await page.stop_button.click()
    await expect(page.stop_button).to_have_count(0, timeout=PATIENCE_MS)
    await idle_engine()
    await expect(page.input).to_be_enabled()


async def test_escape_stops(page, long_conversation, idle_engine):
    await page.open(long_conversation.id)
    await page.send("Count to one thousand.")
    await page.has_text_running()
    await page.tab.keyboard.press("Escape")
    await expect(page.answers).to_contain_text(page.texts("ending.stopped"), timeout=PATIENCE_MS)
    await idle_engine()


async def test_a_message_written_during_an_answer_waits_and_comes_back_with_stop(
    page, long_conversation
):
    await page.open(long_conversation.id)
    await page.send("Count to one thousand.")
    await page.has_text_running()
    await page.send("And backwards?")
    await expect(page.tab.get_by_text(page.texts("composer.queued"))).to_be_visible()
    await expect(page.questions).to_have_text(["Count to one thousand.", "And backwards?"])
    await page.stop_button.click()
    await expect(page.answers).to_have_count(1, timeout=PATIENCE_MS)
    await expect(page.questions).to_have_text(["Count to one thousand."])
    await expect(page.input).to_have_value("And backwards?")


async def test_a_message_written_during_an_answer_is_sent_after_it(page, conversation):
    await page.open(conversation.id)
    await page.send("Name a colour.")
    await page.send("Name an animal.")
    await expect(page.answers).to_have_count(2, timeout=PATIENCE_MS)
    await expect(page.questions).to_have_text(["Name a colour.", "Name an animal."])


async def test_refresh_in_mid_answer_continues_it(page, long_conversation, gateway):
    await page.open(long_conversation.id)
    await page.send("Count to one thousand.")
    before = await page.has_text_running()
    await page.tab.reload()
    after = await page.has_text_running()
    assert after.startswith(before[:20])
    assert len(gateway.get_conversation(long_conversation.id).running_message_ids) == 1
    await page.stop_button.click()
    await expect(page.answers).to_have_count(1, timeout=PATIENCE_MS)
    await expect(page.questions).to_have_count(1)


async def test_a_second_tab_shows_the_same_answer(page, browser_context, long_conversation):
    await page.open(long_conversation.id)
    second = ChatPage(await browser_context.new_page(), page.url)
    await second.open(long_conversation.id)
    await page.send("Count to one thousand.")
    first_text = await page.has_text_running()
    await expect(second.running).to_contain_text(first_text.strip(), timeout=PATIENCE_MS)
    await second.stop_button.click()
    await expect(second.answers).to_have_count(1, timeout=PATIENCE_MS)
    await expect(page.answers).to_have_count(1, timeout=PATIENCE_MS)


async def test_an_answer_made_again_is_a_sibling_and_the_pager_goes_between(page, conversation):
    await page.open(conversation.id)
    await page.ask("Name a colour.")
    await page.button("message.regenerate").click()
    await expect(page.answers).to_contain_text("2/2", timeout=PATIENCE_MS)
    await page.button("pager.previous").click()
    await expect(page.answers).to_contain_text("1/2")
    await expect(page.button("pager.previous")).to_be_disabled()
    await page.button("pager.next").click()
    await expect(page.answers).to_contain_text("2/2")


async def test_an_edited_question_begins_a_branch_beside_the_old_one(page, conversation):
    await page.open(conversation.id)
    await page.ask("Name a colour.")
    await page.questions.hover()
    await page.button("message.edit").click()
    await page.field("edit.label").fill("Name an animal.")
    await page.button("edit.send").click()
    await expect(page.questions).to_have_text(["Name an animal."])
    await expect(page.answers).to_have_count(1, timeout=PATIENCE_MS)
    await page.questions.hover()
    await page.button("pager.previous").click()
    await expect(page.questions).to_have_text(["Name a colour."])


async def test_a_rating_is_kept_with_reasons_and_how_it_should_have_been(
    page, conversation, gateway
):
    await page.open(conversation.id)
    await page.ask("Name a colour.")
    await page.button("rating.down").click()
    await page.button("reason.not_factual").click()
    await page.button("reason.too_long").click()
    await page.field("rating.comment").fill("아니에요")
    await page.field("rating.edited").fill("Green.")
    await page.button("rating.save").click()
    await expect(page.button("rating.save")).to_have_count(0)
    answer = gateway.list_messages(conversation.id, page_size=1).items[0]
    assert answer.feedback.rating is Rating.DOWN
    assert set(answer.feedback.reasons) == {"not_factual", "too_long"}
    assert answer.feedback.comment == "아니에요"
    assert answer.feedback.edited_content == "Green."

    await page.button("rating.remove").click()
    await expect(page.button("rating.remove")).to_have_count(0)
    assert gateway.list_messages(conversation.id, page_size=1).items[0].feedback is None


async def test_copy_takes_the_answer_as_it_was_written(page, conversation, gateway):
    await page.open(conversation.id)
    await page.ask("Name a colour.")
    await page.button("message.copy").click()
    await expect(page.button("message.copied")).to_be_visible()
    copied = await page.tab.evaluate("navigator.clipboard.readText()")
    assert copied == gateway.list_messages(conversation.id, page_size=1).items[0].content


async def test_conversations_are_found_renamed_and_deleted(page, conversation, gateway):
    gateway.rename(conversation.id, "Rivers of Korea")
    await page.open(conversation.id)
    search = page.tab.get_by_placeholder(page.texts("search.placeholder"))
    await page.tab.keyboard.press("Control+k")
    await expect(search).to_be_focused()
    await search.fill("rivers of")
    await search.press("Enter")
    await expect(page.conversations).to_have_text(["Rivers of Korea"])

    menu = page.texts("sidebar.menu", title="Rivers of Korea")
    await page.conversations.first.hover()
    await page.tab.get_by_role("button", name=menu).click()
    await page.tab.get_by_text(page.texts("sidebar.rename"), exact=True).click()
    await page.field("rename.label").fill("한국의 강")
    await page.button("rename.save").click()
    await expect(page.tab.get_by_text(page.texts("search.none"))).to_be_visible()
    await search.fill("")
    await search.press("Enter")
    await expect(page.conversations.first).to_have_text("한국의 강")

    await page.conversations.first.hover()
    await page.tab.get_by_role("button", name=page.texts("sidebar.menu", title="한국의 강")).click()
    await page.tab.get_by_text(page.texts("sidebar.delete"), exact=True).click()
    await page.button("delete.confirm").click()
    await expect(page.conversations.get_by_text("한국의 강")).to_have_count(0)
    await expect(page.tab).not_to_have_url(IN_CONVERSATION)


async def test_export_gives_the_conversation_as_json(page, conversation):
    await page.open(conversation.id)
    await page.ask("Name a colour.")
    async with page.tab.expect_download() as downloading:
        await page.button("export.one").click()
    path = await (await downloading.value).path()
    assert "Name a colour." in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))


async def test_the_language_follows_the_browser_and_can_be_switched(chromium, pages):
    context = await chromium.new_context(locale="ko-KR")
    page = ChatPage(await context.new_page(), pages.url, language="ko")
    await page.open()
    await expect(page.tab.get_by_text(page.texts("welcome.title"))).to_be_visible()
    await page.tab.get_by_text("English", exact=True).click()
    english = ChatPage(page.tab, pages.url, language="en")
    await expect(page.tab.get_by_text(english.texts("welcome.title"))).to_be_visible()
    await page.tab.reload()
    await expect(page.tab.get_by_text(english.texts("welcome.title"))).to_be_visible()
    await context.close()


async def test_settings_are_saved_with_the_conversation(page, conversation, gateway):
    await page.open(conversation.id)
    await page.button("settings.title").click()
    await page.field("settings.system_prompt").fill("Answer in Korean.")
    await page.field("settings.max_tokens", "spinbutton").fill("7")
    await page.field("settings.max_tokens", "spinbutton").press("Tab")
    async with asyncio.timeout(10):
        while (saved := gateway.get_conversation(conversation.id).settings).sampling != replace(
            answers.SHORT.sampling, max_tokens=7
        ):
            await page.input.is_enabled()
    assert saved.system_prompt == "Answer in Korean."
    await page.tab.reload()
    await page.button("settings.title").click()
    await expect(page.field("settings.max_tokens", "spinbutton")).to_have_value("7")


async def test_the_page_follows_a_growing_answer(page, long_conversation):
    await page.tab.set_viewport_size({"width": 900, "height": 420})
    await page.open(long_conversation.id)
    await page.send("Count to one thousand.")
    await expect(page.questions).not_to_be_in_viewport(timeout=PATIENCE_MS)
    await expect(page.stop_button).to_be_visible()
    await page.stop_button.click()
    await expect(page.answers).to_have_count(1, timeout=PATIENCE_MS)


async def test_a_message_that_is_refused_goes_back_into_the_box(page, conversation):
    await page.open(conversation.id)
    await page.send("word " * 4000)
    await expect(page.tab.get_by_role("alert")).to_contain_text(
        page.texts("error.CONTEXT_LENGTH_EXCEEDED", prompt_tokens=4031, max_prompt_tokens=2036),
        timeout=PATIENCE_MS,
    )
    await expect(page.input).to_have_value("word " * 4000)
    await expect(page.questions).to_have_count(0)


async def test_an_image_in_an_answer_is_a_link_and_is_not_fetched(page, gateway):
    leak = "http://127.0.0.1:9/leak.png?said=secret"
    written = f"Look: ![a cat]({leak}) !![dog]({leak}) <img src='{leak}'>"
    conversation = gateway.create_conversation(answers.exactly(written))
    fetched = []
    page.tab.on("request", lambda request: fetched.append(request.url))
    await page.open(conversation.id)
    await page.ask("Show me a cat.")
    await expect(page.answers.get_by_role("link", name="a cat")).to_have_attribute("href", leak)
    await expect(page.answers.locator("img")).to_have_count(0)
    assert [url for url in fetched if "leak" in url] == []
    gateway.delete(conversation.id)


async def test_the_page_is_served_with_a_policy_that_its_own_scripts_keep(page, conversation):
    complaints = []
    page.tab.on("console", lambda message: complaints.append((message.type, message.text)))
    response = await page.tab.request.get(page.url)
    policy = response.headers["content-security-policy"]
    assert "img-src 'self' data: blob:;" in policy
    assert "unsafe-eval" not in policy
    await page.open(conversation.id)
    await page.ask("Name a colour.")
    assert [text for kind, text in complaints if kind == "error"] == []
