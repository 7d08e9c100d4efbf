"""Decodes a completion as it grows. The deltas together are what decoding all ids at once gives.

    vocabulary                        what is held back
    byte-level (GPT-2, Llama 3, …)    the bytes of a character that is not whole
    decoded token by token            a run of single-byte tokens, until it ends: the library shows
      (sentencepiece, WordPiece)        every byte of the run as U+FFFD if any of them is wrong
    any other                         everything, until the stream closes

Whatever the length of the stream, a token costs the same.
"""

import codecs
from collections.abc import Sequence
from typing import Protocol

from tokenizers import Tokenizer

from services.tokenizer.vocabulary import Vocabulary


class DecodeStream(Protocol):
    """Turns ids into text as soon as it cannot change any more."""

    @property
    def held_count(self) -> int:
        """Ids that came and whose text has not been given out; at most a few, or all of them."""

    def push(self, token_ids: Sequence[int]) -> str:
        """What comes next in the text; perhaps nothing yet."""

    def close(self) -> str:
        """What was held back, as decoding shows it. Nothing may be pushed afterwards."""


def open_stream(
    backend: Tokenizer, vocabulary: Vocabulary, skip_special_tokens: bool
) -> DecodeStream:
    """A stream for the tokenizer's kind of decoder.

    Args:
        backend: The tokenizer.
        vocabulary: Its tokens.
        skip_special_tokens: Whether special tokens are left out of the text.
    """
    skipped = vocabulary.special_ids if skip_special_tokens else frozenset()
    if vocabulary.is_byte_level:
        return _ByteLevelStream(vocabulary, skipped)
    return _TokenStream(backend, vocabulary, skipped)


class _ByteLevelStream:
    """The bytes of the tokens, decoded as UTF-8."""

    def __init__(self, vocabulary: Vocabulary, skipped: frozenset[int]) -> None:
        self._vocabulary = vocabulary
        self._skipped = skipped
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @property
    def held_count(self) -> int:
        return 0  # three bytes at most

    def push(self, token_ids: Sequence[int]) -> str:
        bytes_of, skipped = self._vocabulary.byte_level_bytes_of, self._skipped
        return self._utf8.decode(
            b"".join([bytes_of(id_) for id_ in token_ids if id_ not in skipped])
        )

    def close(self) -> str:
        return self._utf8.decode(b"", final=True)


class _TokenStream:
    """What the library's decoder adds for new tokens after those that came just before."""

    def __init__(self, backend: Tokenizer, vocabulary: Vocabulary, skipped: frozenset[int]) -> None:
        self._backend = backend
        self._vocabulary = vocabulary
        self._skipped = skipped
        self._context: list[int] = []
        """The last tokens whose text was given out: how the next ones decode hangs on them."""
        self._held: list[int] = []

    @property
    def held_count(self) -> int:
        return len(self._held)

    def push(self, token_ids: Sequence[int]) -> str:
        new = [id_ for id_ in token_ids if id_ not in self._skipped]
        whole = len(new) if self._vocabulary.decodes_locally else 0
        while whole and self._vocabulary.is_byte(new[whole - 1]):
            whole -= 1
        if whole == 0:
            self._held += new
            return ""
        released, self._held = self._held + new[:whole], new[whole:]
        return self._release(released)

    def close(self) -> str:
        return self._release(self._held)

    def _release(self, token_ids: list[int]) -> str:
        before = self._backend.decode(self._context, skip_special_tokens=False)
        after = self._backend.decode(self._context + token_ids, skip_special_tokens=False)
        for token_id in reversed(token_ids):
            # After a token that stands for nothing, the one before it still counts.
            if self._vocabulary.bytes_of(token_id) and not self._vocabulary.is_byte(token_id):
                self._context = [token_id]
                break
        else:
            self._context = self._context or token_ids[-1:]
        return after[len(before) :]
