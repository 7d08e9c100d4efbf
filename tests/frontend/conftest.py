import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from frontend.conversation import Conversation, Settings
from frontend.errors import GatewayError
from frontend.gateway import Gateway
from tests.frontend import answers
from tests.frontend.browser import CHROMIUM, CHROMIUM_ARGS, ChatPage
from tests.frontend.serving import serving

ARTEFACTS = Path(__file__).parents[2] / "var" / "test-artefacts" / "frontend"


@dataclass(frozen=True)
class Pages:
    """Where the pages are, and the gateway behind them."""

    gateway_address: str
    url: str


@pytest.fixture(scope="session")
def pages(request: pytest.FixtureRequest) -> Iterator[Pages]:
    """The platform's pages.

    `DAMSO_TEST_GATEWAY_ADDRESS` names a gateway that runs already; the pages before it are then
    started here.
    """
    if address := os.environ.get("DAMSO_TEST_GATEWAY_ADDRESS"):
        with serving(address, ARTEFACTS / "streamlit.log") as url:
            yield Pages(address, url)
    else:
        platform = request.getfixturevalue("platform")
        yield Pages(platform.gateway_address, platform.frontend_url)


@pytest.fixture(scope="session")
def gateway(pages: Pages) -> Gateway:
    return Gateway(
        pages.gateway_address,
        call_deadline_seconds=30,
        turn_deadline_seconds=120,
        detached_seconds=30,
    )


@pytest.fixture
def conversation(gateway) -> Iterator[Conversation]:
    """A conversation without messages, whose answers are short."""
    with _kept_for_a_test(gateway, answers.SHORT) as conversation:
        yield conversation


@pytest.fixture
def long_conversation(gateway) -> Iterator[Conversation]:
    """A conversation without messages, whose answers go on until they are stopped."""
    with _kept_for_a_test(gateway, answers.LONG) as conversation:
        yield conversation


@contextmanager
def _kept_for_a_test(gateway: Gateway, settings: Settings) -> Iterator[Conversation]:
    conversation = gateway.create_conversation(settings)
    yield conversation
    with suppress(GatewayError):  # some tests delete it themselves
        gateway.delete(conversation.id)


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield browser
        await browser.close()


@pytest.fixture
async def browser_context(chromium) -> AsyncIterator[BrowserContext]:
    context = await chromium.new_context(
        locale="en-US",
        timezone_id="Asia/Seoul",
        viewport={"width": 1280, "height": 860},
        permissions=["clipboard-read", "clipboard-write"],
    )
    yield context
    await context.close()


@pytest.fixture
async def page(browser_context, pages, request) -> AsyncIterator[ChatPage]:
    """A tab, not opened yet. What it looked like at the end of the test is kept."""
    tab = await browser_context.new_page()
    yield ChatPage(tab, pages.url)
    await tab.screenshot(path=ARTEFACTS / f"{request.node.name}.png")
