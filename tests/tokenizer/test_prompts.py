"""services/tokenizer/prompts.py: what stays and what goes when a chat is too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.errors import InvalidArgument
from services.tokenizer.prompts import Chat, ContextLengthExceeded, TemplateOptionReserved, fit

ROLES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def conversation(roles: str) -> list[dict[str, str]]:
    return [{"role": ROLES[role], "content": "x" * (7 * n % 5 + 1)} for n, role in enumerate(roles)]


class Renderer:
    """One token per character of content, and how many were ever rendered."""

    def __init__(self) -> None:
        self.tokens = 0

    def __call__(self, messages: list[dict[str, str]]) -> tuple[str, list[int]]:
        text = "".join(message["content"] for message in messages)
        self.tokens += len(text)
        return text, list(text.encode())


def dropped_by_trying_each(messages: list[dict[str, str]], budget: int) -> list[int] | None:
    """One round after the other, as the contract says it."""
    starts = [
        n
        for n, message in enumerate(messages)
        if message["role"] == "user" or not any(m["role"] != "system" for m in messages[:n])
    ]
    starts = [n for n in starts if messages[n]["role"] != "system"]
    for start in [0, *starts[1:]]:
        kept = [n for n, m in enumerate(messages) if n >= start or m["role"] == "system"]
        if sum(len(messages[n]["content"]) for n in kept) <= budget:
            return [n for n in range(len(messages)) if n not in kept]
    return None


@given(roles=st.text(alphabet="suat", min_size=1, max_size=40), budget=st.integers(1, 130))
def test_the_oldest_rounds_go_and_no_more_than_must(roles, budget):
    messages = conversation(roles)
    expected = dropped_by_trying_each(messages, budget)
    if expected is None:
        with pytest.raises(ContextLengthExceeded):
            fit(messages, budget, Renderer())
        return
    prompt = fit(messages, budget, Renderer())
    assert prompt.dropped_message_indexes == expected
    assert len(prompt.token_ids) <= budget


def test_system_messages_and_the_last_round_stay():
    messages = conversation("suatuasua")
    assert fit(messages, 12, Renderer()).dropped_message_indexes == [1, 2, 3, 4, 5]


def test_without_a_budget_nothing_goes():
    assert fit(conversation("uauaua"), None, Renderer()).dropped_message_indexes == []


def test_what_never_goes_and_does_not_fit_is_refused_with_both_numbers():
    messages = [{"role": "user", "content": "x" * 50}, {"role": "user", "content": "y" * 30}]
    with pytest.raises(ContextLengthExceeded) as caught:
        fit(messages, 20, Renderer())
    assert caught.value.metadata["prompt_tokens"] == "30"
    assert caught.value.metadata["max_prompt_tokens"] == "20"
    assert "30" in caught.value.message
    assert "20" in caught.value.message


def test_ten_thousand_messages_are_tokenized_little_more_than_once():
    messages = conversation("ua" * 5000)
    renderer = Renderer()
    budget = 4000
    prompt = fit(messages, budget, renderer)
    assert budget - 10 < len(prompt.token_ids) <= budget
    everything = sum(len(message["content"]) for message in messages)
    assert renderer.tokens < everything + 20 * budget


def test_contradictions_are_refused_by_field():
    messages = conversation("u")
    with pytest.raises(InvalidArgument) as caught:
        Chat(messages, max_prompt_tokens=0)
    assert caught.value.field == "max_prompt_tokens"
    with pytest.raises(InvalidArgument) as caught:
        Chat(messages, add_generation_prompt=True, continue_final_message=True)
    assert caught.value.field == "continue_final_message"
    with pytest.raises(TemplateOptionReserved) as caught:
        Chat(messages, template_options={"messages": []})
    assert caught.value.field == "template_options.messages"
