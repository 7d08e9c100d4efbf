"""The pages while the model loads, in a real browser before a real gateway and engine."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from tests.frontend.browser import PATIENCE_MS, ChatPage
from tests.frontend.conftest import ARTEFACTS
from tests.frontend.serving import serving
from tests.gateway.gateways import gateway_here, settings
from tests.gateway.stores import Postgres
from tests.generation.process import MODEL_NAME, launched

NOWHERE = "127.0.0.1:1"


@pytest.fixture
async def loading_url(tmp_path) -> AsyncIterator[str]:
    """Pages before a gateway whose only model was started a moment ago."""
    postgres = Postgres()
    try:
        with launched(tmp_path / "generation") as generation:
            chosen = settings(postgres.new_database(), NOWHERE, [generation.address])
            async with gateway_here(chosen) as gateway:
                address = f"127.0.0.1:{gateway.port}"
                with serving(address, ARTEFACTS / "streamlit-loading.log") as url:
                    yield url
    finally:
        postgres.close()


async def test_the_page_shows_how_far_the_model_is_and_keeps_a_message_until_then(
    browser_context, loading_url
):
    page = ChatPage(await browser_context.new_page(), loading_url)
    await page.open()
    readiness = page.tab.locator(".st-key-readiness")
    await expect(readiness).to_contain_text(f"{MODEL_NAME} is loading", timeout=PATIENCE_MS)
    await expect(readiness.get_by_role("progressbar")).to_be_visible()
    await page.send("Are you awake?")
    await expect(page.questions).to_have_text(["Are you awake?"])
    await expect(page.tab.get_by_text(page.texts("composer.queued"))).to_be_visible()
    await page.tab.screenshot(path=ARTEFACTS / "loading.png")
