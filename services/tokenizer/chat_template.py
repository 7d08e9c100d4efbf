"""Renders messages into prompts with a model's chat template, exactly as transformers does.

Templates come with models and are foreign code. Rendering is sandboxed as in transformers: no
template reaches beyond the values it is given. It also ends: each call and each turn of a loop
looks at the clock. What that cannot bound is one single operation, such as a string multiplied
until the memory is full: serve models whose templates you have read.
"""

import hashlib
import json
import time
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

import jinja2
from jinja2 import ext, nodes
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.runtime.errors import FailedPrecondition, InvalidArgument

ChatMessage = dict[str, Any]
"""What templates see: `role` and `content`."""

RESERVED_OPTIONS = frozenset({"messages", "tools", "add_generation_prompt", "chat_template"})
"""Variables that rendering sets itself."""

_MOST_CHARACTERS = 16 << 20

_FINAL = "CONTINUE_FINAL_MESSAGE_TAG "
"""Marks where the final message ends; transformers' own mark, in case a template knows it."""

_stop_time: ContextVar[float] = ContextVar("stop_time")
"""When the rendering of the current thread is given up, on the monotonic clock."""


class ChatTemplateRefused(InvalidArgument):
    """The template does not accept the messages, fails on them, or does not end."""

    reason = "CHAT_TEMPLATE_REFUSED"


class ChatTemplateMissing(FailedPrecondition):
    """The model has no chat template: it was not trained to chat."""

    reason = "CHAT_TEMPLATE_MISSING"


class ChatTemplate:
    """A model's chat templates.

    Args:
        templates: By name: `default`, and perhaps `tool_use`. Empty: the model has none.
        special_tokens: What templates may write, by name, such as `bos_token`.

    Attributes:
        source: The default template; empty where there is none.
        hash: SHA-256 of `source` in hexadecimal; empty where there is none.
    """

    def __init__(self, templates: dict[str, str], special_tokens: dict[str, str]) -> None:
        self._templates = templates
        self._special_tokens = special_tokens
        self.source = templates.get("default", next(iter(templates.values()), ""))
        self.hash = hashlib.sha256(self.source.encode()).hexdigest() if self.source else ""

    def render(
        self,
        messages: list[ChatMessage],
        *,
        add_generation_prompt: bool,
        continue_final_message: bool = False,
        tools: list[dict[str, Any]] | None = None,
        options: dict[str, Any] | None = None,
        max_seconds: float = 10,
    ) -> str:
        """The prompt, special tokens included.

        Args:
            messages: Oldest first, at least one.
            add_generation_prompt: Whether the prompt ends with the opening of an assistant
                message.
            continue_final_message: Whether the last message is left open instead.
            tools: JSON schemas in OpenAI's form. None: no tools.
            options: Further variables of the template, none of `RESERVED_OPTIONS`.
            max_seconds: When to give up.

        Raises:
            ChatTemplateMissing: The model has none.
            ChatTemplateRefused: It does not accept the messages, fails, or takes too long.
        """
        final = messages[-1]["content"]
        if continue_final_message:
            messages = [*messages[:-1], {**messages[-1], "content": final + _FINAL}]
        variables = {"documents": None, **self._special_tokens, **(options or {})}
        variables |= {
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
        }
        rendered = _render(self._source_for(tools), variables, max_seconds)
        return _left_open(rendered, final) if continue_final_message else rendered

    def _source_for(self, tools: list[dict[str, Any]] | None) -> str:
        if not self.source:
            raise ChatTemplateMissing(
                "this model has no chat template; send it a prompt instead of messages"
            )
        return self._templates.get("tool_use", self.source) if tools is not None else self.source


class _Stopped(Exception):
    """It took too long, or wrote too much."""


class _Refused(jinja2.TemplateError):
    """The template called `raise_exception`."""


class _Environment(ImmutableSandboxedEnvironment):
    """transformers' sandbox, with a clock."""

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if time.monotonic() > _stop_time.get():
            raise _Stopped
        return super().call(context, obj, *args, **kwargs)


class _Turn(ext.Extension):
    """What each turn of a loop calls, so that it passes `_Environment.call`."""

    def turn(self) -> None:
        """Does nothing."""

    def call_node(self) -> nodes.ExprStmt:
        return nodes.ExprStmt(self.call_method("turn"))


class _Generation(ext.Extension):
    """`{% generation %}`: marks what the model says, for training. Changes nothing here."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("passed_on"), [], [], body).set_lineno(line)

    def passed_on(self, caller: Macro) -> str:
        return caller()


@cache
def _compiled(source: str) -> jinja2.Template:
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, _Turn, ext.loopcontrols],
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    turn = environment.extensions[_Turn.identifier]
    assert isinstance(turn, _Turn)

    tree = environment.parse(source)
    for loop in tree.find_all(nodes.For):
        loop.body.insert(0, turn.call_node().set_lineno(loop.lineno))
    code = environment.compile(tree)
    return environment.template_class.from_code(environment, code, environment.make_globals(None))


def _render(source: str, variables: dict[str, Any], max_seconds: float) -> str:
    _stop_time.set(time.monotonic() + max_seconds)
    pieces: list[str] = []
    characters = 0
    try:
        for piece in _compiled(source).generate(variables):
            pieces.append(piece)
            characters += len(piece)
            if characters > _MOST_CHARACTERS:
                raise _Stopped
    except _Stopped:
        raise ChatTemplateRefused(
            "the model's chat template does not come to an end with these messages; send fewer",
            field="messages",
        ) from None
    except _Refused as refusal:
        raise ChatTemplateRefused(
            "the model's chat template does not accept these messages",
            field="messages",
            template_message=refusal.message,
        ) from None
    except Exception as error:  # whatever foreign code raises
        raise ChatTemplateRefused(
            "the model's chat template fails on these messages or options",
            field="messages",
            error_type=type(error).__name__,
        ) from None
    return "".join(pieces)


def _left_open(rendered: str, final: str) -> str:
    """The prompt up to the end of its final message, as transformers finds it."""
    if final.strip() not in rendered or _FINAL.strip() not in rendered:
        raise ChatTemplateRefused(
            "the model's chat template does not keep the final message, which thus cannot be "
            "continued",
            field="continue_final_message",
        )
    end = rendered.rindex(_FINAL.strip())
    kept = rendered[:end]
    # Where the template trims messages, the blank before the mark was not the message's own end.
    return kept if rendered[end : end + len(_FINAL)] == _FINAL else kept.rstrip()


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes HTML, which prompts are not."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise _Refused(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)  # of the machine's own zone, as in transformers
