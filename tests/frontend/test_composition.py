"""Enter sends a composed Hangul syllable exactly once, whatever the browser makes of the key.

Chromium is driven as an input method drives it: composition events, and key events that carry
keyCode 229 while a syllable is open.
"""

import pytest
from playwright.async_api import CDPSession, expect

from tests.frontend.browser import PATIENCE_MS

COMPOSING = 229


class InputMethod:
    """A Korean keyboard."""

    def __init__(self, protocol: CDPSession) -> None:
        self._protocol = protocol

    async def compose(self, *stages: str) -> None:
        for stage in stages:
            await self._protocol.send(
                "Input.imeSetComposition",
                {"text": stage, "selectionStart": len(stage), "selectionEnd": len(stage)},
            )

    async def commit(self, text: str) -> None:
        await self._protocol.send("Input.insertText", {"text": text})

    async def press_enter(self, kind: str, key: str = "Enter", code: int = 13, modifiers: int = 0):
        text = {"text": "\r"} if kind == "keyDown" and code == 13 else {}
        await self._protocol.send(
            "Input.dispatchKeyEvent",
            {
                "type": kind,
                "key": key,
                "code": "Enter",
                "windowsVirtualKeyCode": code,
                "modifiers": modifiers,
                **text,
            },
        )


@pytest.fixture
async def keyboard(page, browser_context, conversation) -> InputMethod:
    await page.open(conversation.id)
    await page.input.focus()
    return InputMethod(await browser_context.new_cdp_session(page.tab))


async def sent_once(page, text: str) -> None:
    await expect(page.answers).to_have_count(1, timeout=PATIENCE_MS)
    await expect(page.questions).to_have_text([text])
    await expect(page.input).to_have_value("")


async def test_enter_is_sent_once_where_the_browser_repeats_the_key(page, keyboard):
    """macOS, and most of Linux: the key comes while composing, and again after it."""
    await keyboard.commit("안녕")
    await keyboard.compose("ㅎ", "하", "한")
    await keyboard.press_enter("rawKeyDown", code=COMPOSING)
    await keyboard.commit("한")
    await keyboard.press_enter("keyDown")
    await keyboard.press_enter("keyUp")
    await sent_once(page, "안녕한")


@pytest.mark.parametrize("key", ["Enter", "Process"])
async def test_enter_is_sent_once_where_the_key_only_ends_the_syllable(page, keyboard, key):
    """Some input methods swallow the key: without help the person has to press Enter twice."""
    await keyboard.compose("ㅎ", "하", "한")
    await keyboard.commit("한")
    await keyboard.compose("ㄱ", "그", "글")
    await keyboard.press_enter("rawKeyDown", key=key, code=COMPOSING)
    await keyboard.commit("글")
    await keyboard.press_enter("keyUp")
    await sent_once(page, "한글")


async def test_enter_after_a_finished_syllable_is_sent_once(page, keyboard):
    await keyboard.compose("ㄱ", "가")
    await keyboard.commit("가")
    await keyboard.press_enter("keyDown")
    await keyboard.press_enter("keyUp")
    await sent_once(page, "가")


async def test_enter_that_picks_a_japanese_candidate_does_not_send(page, keyboard):
    await keyboard.compose("に", "にほん")
    await keyboard.press_enter("rawKeyDown", code=COMPOSING)
    await keyboard.commit("日本")
    await keyboard.press_enter("keyUp")
    await expect(page.input).to_have_value("日本")
    await expect(page.questions).to_have_count(0)


async def test_shift_enter_breaks_the_line(page, keyboard):
    await keyboard.commit("첫 줄")
    await keyboard.press_enter("keyDown", modifiers=8)
    await keyboard.press_enter("keyUp", modifiers=8)
    await keyboard.commit("둘째 줄")
    await expect(page.input).to_have_value("첫 줄\n둘째 줄")
    await expect(page.questions).to_have_count(0)
