"""The chat page as a person meets it: what can be seen, clicked and typed."""

import os
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Locator, Page, expect

from frontend.texts import Texts

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

PATIENCE_MS = 30_000
"""For what the engine has to do: it shares two cores with everything else."""


class ChatPage:
    """One tab.

    Args:
        tab: The browser's page.
        url: Where the pages are served.
        language: What buttons are looked for in.
    """

    def __init__(self, tab: Page, url: str, language: str = "en") -> None:
        self.tab = tab
        self.url = url
        self.texts = Texts(language)

    async def open(self, conversation_id: str = "") -> None:
        """Opens a conversation, or the start of a new one."""
        await self.tab.goto(f"{self.url}/?c={conversation_id}" if conversation_id else self.url)
        await expect(self.input).to_be_enabled(timeout=PATIENCE_MS)
        # The page's own keys are there once the button has been named.
        send = self.tab.get_by_test_id("stChatInputSubmitButton")
        await expect(send).to_have_attribute("aria-label", self.texts("composer.send"))

    @property
    def conversation_id(self) -> str:
        """The conversation in the address bar."""
        return parse_qs(urlsplit(self.tab.url).query).get("c", [""])[0]

    @property
    def input(self) -> Locator:
        """The box to write in."""
        return self.tab.get_by_test_id("stChatInputTextArea")

    @property
    def questions(self) -> Locator:
        """What the person wrote, the oldest first."""
        return self.tab.locator('[class*="st-key-bubble-"]')

    @property
    def answers(self) -> Locator:
        """Finished answers, the oldest first."""
        return self.tab.locator('[class*="st-key-answer-"]:not(.st-key-answer-running)')

    @property
    def running(self) -> Locator:
        """The answer that is being made."""
        return self.tab.locator(".st-key-answer-running")

    @property
    def conversations(self) -> Locator:
        """The sidebar's conversations."""
        return self.tab.locator('[class*="st-key-open-"] button')

    def button(self, key: str, within: Locator | None = None) -> Locator:
        """A button by the key of its text."""
        return (within or self.tab).get_by_role("button", name=self.texts(key), exact=True)

    def field(self, key: str, role: Literal["textbox", "spinbutton"] = "textbox") -> Locator:
        """A field to fill in, by the key of its label."""
        return self.tab.get_by_role(role, name=self.texts(key), exact=True)

    @property
    def stop_button(self) -> Locator:
        """Stop, whose name also tells its key."""
        return self.tab.locator(".st-key-stop button")

    async def send(self, text: str) -> None:
        """Writes a message and presses Enter."""
        await self.input.fill(text)
        await self.input.press("Enter")

    async def ask(self, text: str) -> None:
        """Sends a message and waits for the whole answer."""
        count = await self.answers.count()
        await self.send(text)
        await expect(self.answers).to_have_count(count + 1, timeout=PATIENCE_MS)
        await expect(self.stop_button).to_have_count(0)

    async def has_text_running(self) -> str:
        """Waits until some of the answer is there; gives it."""
        waiting = self.texts("turn.waiting").removeprefix(":shimmer[").removesuffix("]")
        await expect(self.running).not_to_have_text("", timeout=PATIENCE_MS)
        await expect(self.running).not_to_have_text(waiting, timeout=PATIENCE_MS)
        return await self.running.inner_text()
