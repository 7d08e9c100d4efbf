"""services/tokenizer/chat_template.py, held against transformers' own `apply_chat_template`."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from services.tokenizer.chat_template import (
    ChatTemplate,
    ChatTemplateMissing,
    ChatTemplateRefused,
)
from tests.tokenizer import templates, throwaway
from tests.tokenizer.texts import HARD_TEXTS, texts

NAMED = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
BACKEND = throwaway.byte_level()

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "날씨 <b>&</b> 'quotes'",
        "parameters": {"type": "object", "properties": {"city": {"maxLength": 5, "x": 0.5}}},
    },
}


def theirs(template: str, messages: list[dict[str, Any]], **options: Any) -> str:
    tokenizer = TokenizersBackend(tokenizer_object=BACKEND, chat_template=template, **NAMED)
    options.setdefault("add_generation_prompt", False)
    return tokenizer.apply_chat_template(messages, tokenize=False, **options)


def ours(template: str, messages: list[dict[str, Any]], **options: Any) -> str:
    options.setdefault("add_generation_prompt", False)
    return ChatTemplate({"default": template}, NAMED).render(messages, **options)


def chat(*contents: str) -> list[dict[str, Any]]:
    roles = ["user", "assistant"]
    return [
        {"role": roles[index % 2], "content": content} for index, content in enumerate(contents)
    ]


@pytest.mark.parametrize("template", templates.ALL.values(), ids=templates.ALL)
@pytest.mark.parametrize("add_generation_prompt", [True, False])
@settings(max_examples=50)
@given(contents=st.lists(texts, min_size=1, max_size=6))
def test_prompts_are_those_of_transformers(template, add_generation_prompt, contents):
    for lead in ([], [{"role": "system", "content": contents[0]}]):
        messages = [*lead, *chat(*contents)]
        expected = theirs(template, messages, add_generation_prompt=add_generation_prompt)
        got = ours(template, messages, add_generation_prompt=add_generation_prompt)
        assert got == expected


@pytest.mark.parametrize("template", [templates.CHATML, templates.TRIMMING])
@pytest.mark.parametrize("final", [*HARD_TEXTS, "ends with a space ", "  both  ", "\n"])
def test_an_open_final_message_ends_where_transformers_ends_it(template, final):
    messages = chat("hello", final)
    try:
        expected = theirs(template, messages, continue_final_message=True)
    except ValueError:
        with pytest.raises(ChatTemplateRefused):
            ours(template, messages, continue_final_message=True)
    else:
        assert ours(template, messages, continue_final_message=True) == expected


@pytest.mark.parametrize("tools", [None, [TOOL], [TOOL, TOOL]])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"enable_thinking": False, "date_string": "1 March"},
        {"documents": [{"title": "one", "text": "…"}]},
        {"bos_token": "<other>"},
    ],
)
def test_tools_and_options_are_rendered_as_in_transformers(tools, options):
    messages = [{"role": "tool", "content": "left out"}, *chat("a", "b", "c", "d", "e", "f", "g")]
    expected = theirs(templates.TOOLS, messages, tools=tools, **options)
    assert ours(templates.TOOLS, messages, tools=tools, options=options) == expected


def test_the_tool_template_is_used_for_tools_only():
    template = ChatTemplate({"default": "plain", "tool_use": "tools"}, {})
    messages = chat("hi")
    assert template.render(messages, add_generation_prompt=True) == "plain"
    assert template.render(messages, add_generation_prompt=True, tools=[TOOL]) == "tools"
    assert template.source == "plain"


def test_messages_that_a_template_refuses_are_refused_in_its_words():
    with pytest.raises(ChatTemplateRefused) as caught:
        ours(templates.TRIMMING, [*chat("a"), *chat("b")])
    assert caught.value.metadata["template_message"].startswith("Conversation roles must alternate")
    assert caught.value.field == "messages"


@pytest.mark.parametrize(
    "broken",
    [
        "{% for",
        "{{ messages[0].content + 1 }}",
        "{{ messages[9].content.x }}",
        "{{ 1 / 0 }}",
        "{{ no_such_function() }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ range(10 ** 9) }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}{{ x.y.z }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_broken_templates_are_refused_without_quoting_messages(broken):
    with pytest.raises(ChatTemplateRefused) as caught:
        ours(broken, chat("a secret"))
    assert "secret" not in str(caught.value)
    assert "secret" not in str(caught.value.metadata)


def test_templates_reach_nothing_beyond_their_values():
    assert ours("{{ ''.__class__ }}{{ messages.__init__ }}", chat("a")) == ""


@pytest.mark.parametrize(
    "endless",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% set c = b %}"
        "{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) + f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    ],
)
def test_a_template_that_does_not_end_is_stopped(endless):
    with pytest.raises(ChatTemplateRefused, match="does not come to an end"):
        ours(endless, chat("a"), max_seconds=0.2)


def test_a_template_that_writes_without_end_is_stopped():
    with pytest.raises(ChatTemplateRefused, match="does not come to an end"):
        ours("{% for a in range(999) %}{{ messages[0].content }}{% endfor %}", chat("x" * 2**20))


def test_a_model_without_a_template_says_so():
    with pytest.raises(ChatTemplateMissing):
        ChatTemplate({}, {}).render(chat("a"), add_generation_prompt=True)
    assert ChatTemplate({}, {}).hash == ""
