"""Text to token ids with the engine's tokenizer, off the event loop, and single ids to text."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from services.generation.engine import ContextLengthExceeded, Prompt
from services.runtime.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Continued:
    """A context and what follows it, as one row of ids."""

    token_ids: list[int]
    context_tokens: int
    """How many of the ids are context; the others are scored."""


class Encoder:
    """Encodes prompts of one model.

    Args:
        tokenizer: A Hugging Face tokenizer that nobody else uses.
        context_window_tokens: Longer prompts are refused.
        vocabulary_size: Ids must be below it.
    """

    def __init__(self, tokenizer: Any, context_window_tokens: int, vocabulary_size: int) -> None:
        self._tokenizer = tokenizer
        self._window = context_window_tokens
        self._vocabulary_size = vocabulary_size
        self._longest_token = max(map(len, tokenizer.get_vocab()))
        first = tokenizer.bos_token_id
        self._prefix = first if first is not None else tokenizer.eos_token_id
        self.token_text = lru_cache(maxsize=1 << 16)(self._token_text)

    async def encode(self, prompt: Prompt) -> list[int]:
        """The ids of a prompt, at least one.

        Raises:
            InvalidArgument: It is empty, or has ids out of the vocabulary.
            ContextLengthExceeded: It is longer than the context window.
        """
        token_ids = await self._ids(prompt, special=True)
        if not token_ids:
            raise InvalidArgument(
                f"{prompt.field} must have at least one token", field=prompt.field
            )
        if len(token_ids) >= self._window:
            raise too_long(prompt.field, len(token_ids), 1, self._window)
        return token_ids

    async def continued(self, context: Prompt | None, continuation: Prompt) -> Continued:
        """A context and its continuation as the model would have read them in one piece.

        Of two texts, white space at the context's end counts to the continuation, whose ids are
        those of the whole after as many as the context alone has: the convention of
        lm-evaluation-harness.

        Raises:
            InvalidArgument: The continuation is empty, or ids are out of the vocabulary.
            ContextLengthExceeded: Both are longer than the context window.
        """
        if context is not None and context.text and continuation.text:
            before = context.text.rstrip()
            after = context.text[len(before) :] + continuation.text
            head = await self._ids(Prompt(text=before, field=context.field), special=True)
            whole = await self._ids(
                Prompt(text=before + after, field=continuation.field), special=True
            )
        else:
            head = await self._ids(context, special=True) if context is not None else []
            tail = await self._ids(continuation, special=not head)
            whole = head + tail
        if not head and self._prefix is not None:
            if not whole or whole[0] != self._prefix:
                whole = [self._prefix, *whole]
            head = [self._prefix]
        if len(whole) <= len(head):
            raise InvalidArgument(
                f"{continuation.field} must have at least one token", field=continuation.field
            )
        if len(whole) >= self._window:
            raise too_long(continuation.field, len(whole), 1, self._window)
        return Continued(whole, len(head))

    async def _ids(self, prompt: Prompt, *, special: bool) -> list[int]:
        if prompt.token_ids is not None:
            self._check(prompt.token_ids, prompt.field)
            return list(prompt.token_ids)
        text = prompt.text or ""
        if len(text) > self._window * self._longest_token:
            # No token is longer than the longest: it cannot fit, so it is not even encoded.
            raise too_long(prompt.field, -(-len(text) // self._longest_token), 1, self._window)
        return await asyncio.to_thread(
            self._tokenizer.encode, text, add_special_tokens=special, verbose=False
        )

    def _check(self, token_ids: Sequence[int], field: str) -> None:
        if len(token_ids) > self._window:
            raise too_long(field, len(token_ids), 1, self._window)
        if token_ids and not (min(token_ids) >= 0 and max(token_ids) < self._vocabulary_size):
            raise InvalidArgument(
                f"{field}.token_ids must be in [0, {self._vocabulary_size})",
                field=f"{field}.token_ids",
                vocabulary_size=self._vocabulary_size,
            )

    def _token_text(self, token_id: int) -> str:
        return str(self._tokenizer.decode([token_id]))


def too_long(field: str, prompt_tokens: int, max_tokens: int, window: int) -> ContextLengthExceeded:
    """The error for a prompt that leaves no room in the context window."""
    return ContextLengthExceeded(
        f"a prompt of {prompt_tokens} tokens and max_tokens of {max_tokens} do not fit in the "
        f"context window of {window} tokens; shorten the prompt or lower max_tokens",
        field=field,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        context_window_tokens=window,
    )
