"""Draws the pictures of the pages that the documentation shows.

    DAMSO_TEST_GATEWAY_ADDRESS=127.0.0.1:50050 python -m tests.frontend.screenshots

Every picture is of the real page before the gateway of that address and the model behind it.
"""

import asyncio
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.async_api import Browser, async_playwright, expect

from frontend.conversation import Sampling, Settings
from frontend.gateway import Gateway
from tests.frontend.browser import CHROMIUM, CHROMIUM_ARGS, PATIENCE_MS, ChatPage
from tests.frontend.serving import serving

REPOSITORY = Path(__file__).parents[2]
PICTURES = REPOSITORY / "docs" / "screenshots"
_COLOURS = 128


@dataclass(frozen=True)
class Look:
    """How a browser is set up."""

    language: Literal["en", "ko"] = "en"
    scheme: Literal["light", "dark"] = "light"
    width: int = 1160
    height: int = 760


BRIEF = Settings(sampling=Sampling(temperature=0.3, seed=7, max_tokens=90))
PHONE = {"width": 390, "height": 780}


async def main() -> None:
    """Draws all pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    address = os.environ["DAMSO_TEST_GATEWAY_ADDRESS"]
    gateway = Gateway(
        address, call_deadline_seconds=30, turn_deadline_seconds=60, detached_seconds=30
    )
    with serving(address, REPOSITORY / "var" / "test-artefacts" / "screenshots.log") as url:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
            await _draw(browser, url, gateway)
            await browser.close()


async def _draw(browser: Browser, url: str, gateway: Gateway) -> None:
    page = await _open(browser, url, Look(language="ko"))
    await _keep(page, "welcome-ko")

    page = await _open(browser, url, Look(), gateway.create_conversation(BRIEF).id)
    await page.ask("What is the capital of France?")
    await page.send("Write three short sentences about autumn.")
    await page.has_text_running()
    await _keep(page, "streaming")
    await expect(page.answers).to_have_count(2, timeout=PATIENCE_MS)
    await page.button("message.regenerate").last.click()
    await expect(page.answers.last).to_contain_text("2/2", timeout=PATIENCE_MS)
    await _keep(page, "chat")
    await page.button("settings.title").click()
    await expect(page.field("settings.system_prompt")).to_be_visible()
    await _keep(page, "settings")
    await page.tab.keyboard.press("Escape")
    await page.answers.last.get_by_role("button", name=re.compile(r"tokens\b")).click()
    await expect(page.tab.get_by_test_id("stCode").first).to_contain_text("autumn")
    await _keep(page, "prompt")
    await page.tab.keyboard.press("Escape")
    conversation = page.conversation_id

    page = await _open(browser, url, Look(language="ko"), conversation)
    await page.button("rating.down").last.click()
    await page.button("reason.repetitive").click()
    await page.button("rating.save").scroll_into_view_if_needed()
    await _keep(page, "rating-ko")
    await page.button("rating.close").click()
    await page.button("rating.remove").click()
    await expect(page.button("rating.remove")).to_have_count(0)

    page = await _open(browser, url, Look(scheme="dark", language="ko"), conversation)
    await _keep(page, "chat-dark-ko")
    page = await _open(browser, url, Look(**PHONE), conversation)
    await _keep(page, "chat-phone")
    page = await _open(browser, url, Look(scheme="dark", **PHONE))
    await _keep(page, "welcome-phone-dark")


async def _open(browser: Browser, url: str, look: Look, conversation: str = "") -> ChatPage:
    context = await browser.new_context(
        locale={"en": "en-US", "ko": "ko-KR"}[look.language],
        color_scheme=look.scheme,
        viewport={"width": look.width, "height": look.height},
    )
    page = ChatPage(await context.new_page(), url, look.language)
    await page.open(conversation)
    return page


async def _keep(page: ChatPage, name: str) -> None:
    """Keeps what the page looks like, with few colours: pictures live in the repository."""
    path = PICTURES / f"{name}.png"
    await page.tab.evaluate("document.fonts.ready")
    await page.tab.screenshot(path=path, animations="disabled")
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    asyncio.run(main())
