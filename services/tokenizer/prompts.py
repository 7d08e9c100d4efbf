"""From messages to a prompt that fits a token budget: the oldest rounds go first."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from services.runtime.errors import InvalidArgument
from services.tokenizer.chat_template import RESERVED_OPTIONS, ChatMessage, ChatTemplate
from services.tokenizer.tokenizer import Tokenizer


class ContextLengthExceeded(InvalidArgument):
    """The messages that are never dropped have more tokens than the prompt may have."""

    reason = "CONTEXT_LENGTH_EXCEEDED"


class TemplateOptionReserved(InvalidArgument):
    """A template option has the name of a variable that rendering sets itself."""

    reason = "TEMPLATE_OPTION_RESERVED"


@dataclass(frozen=True)
class Chat:
    """Messages, and how they become a prompt. See `RenderChatRequest`."""

    messages: list[ChatMessage]
    """Oldest first, at least one."""

    max_prompt_tokens: int | None = None
    """None: no limit."""

    add_generation_prompt: bool = True
    continue_final_message: bool = False

    tools: list[dict[str, Any]] | None = None
    """None: no tools."""

    template_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses what contradicts itself.

        Raises:
            InvalidArgument: Names the field.
            TemplateOptionReserved: Names the option.
        """
        if self.max_prompt_tokens is not None and self.max_prompt_tokens < 1:
            raise InvalidArgument("max_prompt_tokens must be at least 1", field="max_prompt_tokens")
        if self.continue_final_message and self.add_generation_prompt:
            raise InvalidArgument(
                "continue_final_message excludes add_generation_prompt; set one of them",
                field="continue_final_message",
            )
        if reserved := sorted(RESERVED_OPTIONS & self.template_options.keys()):
            raise TemplateOptionReserved(
                f"template_options.{reserved[0]} is set by the service; use the request's own "
                "field for it where there is one",
                field=f"template_options.{reserved[0]}",
            )


@dataclass(frozen=True)
class Prompt:
    """What the model is given."""

    text: str
    token_ids: list[int]
    dropped_message_indexes: list[int]
    """Ascending."""


def render_chat(
    chat: Chat, template: ChatTemplate, tokenizer: Tokenizer, max_seconds: float
) -> Prompt:
    """The prompt of a chat within its token budget.

    Args:
        chat: The messages and options.
        template: The model's.
        tokenizer: The model's.
        max_seconds: Most time for the template, all tries together.

    Raises:
        ChatTemplateMissing: The model has none.
        ChatTemplateRefused: The template does not accept the messages.
        ContextLengthExceeded: Not even the last round fits.
    """
    stop_time = time.monotonic() + max_seconds

    def render(messages: list[ChatMessage]) -> tuple[str, list[int]]:
        text = template.render(
            messages,
            add_generation_prompt=chat.add_generation_prompt,
            continue_final_message=chat.continue_final_message,
            tools=chat.tools,
            options=chat.template_options,
            max_seconds=stop_time - time.monotonic(),
        )
        # The template writes the special tokens itself.
        return text, tokenizer.encode([text], add_special_tokens=False)[0]

    return fit(chat.messages, chat.max_prompt_tokens, render)


def fit(
    messages: list[ChatMessage],
    max_tokens: int | None,
    render: Callable[[list[ChatMessage]], tuple[str, list[int]]],
) -> Prompt:
    """Renders as many of the newest rounds as fit, beside all system messages.

    A round is a user message and what follows it up to the next. What comes before the first user
    message is a round too. The last round stays.

    Args:
        messages: Oldest first.
        max_tokens: Most ids of the prompt. None: no limit.
        render: Messages → prompt text and its ids.

    Raises:
        ContextLengthExceeded: Not even the last round fits.
    """
    droppable = _rounds(messages)[:-1]
    tried: dict[int, Prompt] = {}

    def prompt(kept: int) -> Prompt:
        """The prompt with the newest `kept` of the rounds that may be dropped."""
        if kept not in tried:
            dropped = [index for round_ in droppable[: len(droppable) - kept] for index in round_]
            gone = set(dropped)
            text, ids = render([m for index, m in enumerate(messages) if index not in gone])
            tried[kept] = Prompt(text, ids, dropped)
        return tried[kept]

    def fits(kept: int) -> bool:
        return max_tokens is None or len(prompt(kept).token_ids) <= max_tokens

    if fits(len(droppable)):
        return prompt(len(droppable))
    if not fits(0):
        prompt_tokens = len(prompt(0).token_ids)
        raise ContextLengthExceeded(
            f"system messages and the last round have {prompt_tokens} tokens, but the prompt may "
            f"have at most {max_tokens}; shorten the last message",
            field="messages",
            prompt_tokens=prompt_tokens,
            max_prompt_tokens=max_tokens,
        )
    # Doubling first: most of a long conversation is then never tokenized again.
    doubled = list(takewhile(fits, (1 << power for power in range(len(droppable).bit_length()))))
    fitting = doubled[-1] if doubled else 0
    too_many = min(max(1, 2 * fitting), len(droppable))
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        if fits(middle):
            fitting = middle
        else:
            too_many = middle
    return prompt(fitting)


def _rounds(messages: list[ChatMessage]) -> list[list[int]]:
    """Indexes of the messages of each round, system messages left out."""
    rounds: list[list[int]] = []
    for index, message in enumerate(messages):
        if message["role"] == "system":
            continue
        if not rounds or message["role"] == "user":
            rounds.append([])
        rounds[-1].append(index)
    return rounds
