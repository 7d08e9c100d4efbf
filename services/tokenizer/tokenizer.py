"""Text ↔ token ids with one model's tokenizer. Knows nothing of chats or of the wire."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import tokenizers

from services.runtime.errors import InvalidArgument
from services.tokenizer import decode_stream
from services.tokenizer.decode_stream import DecodeStream
from services.tokenizer.spans import Span, spans_of
from services.tokenizer.vocabulary import Vocabulary


class TokenIdOutOfRange(InvalidArgument):
    """An id that the model's vocabulary does not have."""

    reason = "TOKEN_ID_OUT_OF_RANGE"


@dataclass(frozen=True)
class SpecialToken:
    """A token with a meaning of its own."""

    token_id: int
    token: str
    purpose: str
    """`bos`, `eos`, `unk`, `pad`, or empty."""


@dataclass(frozen=True)
class Encoding:
    """One encoded text."""

    token_ids: list[int]
    spans: list[Span]
    """As many as ids where they were asked for, else none."""


class Tokenizer:
    """One model's tokenizer. Safe to use from several threads.

    Args:
        backend: Neither truncates nor pads; not changed afterwards.
        named_tokens: Special tokens by transformers' names, such as `bos_token`.

    Attributes:
        vocabulary_size: The number of ids, added tokens included.
        special_tokens: By id.
        hash: SHA-256 in hexadecimal of the tokenizer's serialisation.
    """

    def __init__(self, backend: tokenizers.Tokenizer, named_tokens: dict[str, str]) -> None:
        self._backend = backend
        self._vocabulary = Vocabulary(backend)
        self.vocabulary_size = self._vocabulary.size
        self.special_tokens = _special_tokens(backend, named_tokens)
        self.hash = hashlib.sha256(backend.to_str().encode()).hexdigest()

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        """The ids of each text."""
        # `fast` leaves out where tokens stand, which nobody asked for.
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in encodings]

    def encode_with_spans(self, texts: Sequence[str], add_special_tokens: bool) -> list[Encoding]:
        """The ids of each text, where each token stands, and what it stands for."""
        encodings = self._backend.encode_batch(texts, add_special_tokens=add_special_tokens)
        return [
            Encoding(encoding.ids, spans_of(encoding, text, self._vocabulary))
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def count(self, texts: Sequence[str], add_special_tokens: bool) -> list[int]:
        """How many ids each text has."""
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        return [len(encoding) for encoding in encodings]

    def decode(self, sequences: Sequence[Sequence[int]], skip_special_tokens: bool) -> list[str]:
        """The text of each sequence; bytes that form no character show as U+FFFD.

        Raises:
            TokenIdOutOfRange: The vocabulary has no such id.
        """
        for place, token_ids in enumerate(sequences):
            self.check_ids(token_ids, f"sequences[{place}].token_ids")
        return self._backend.decode_batch(sequences, skip_special_tokens=skip_special_tokens)

    def open_decode_stream(self, skip_special_tokens: bool) -> DecodeStream:
        """A stream that decodes as ids come."""
        return decode_stream.open_stream(self._backend, self._vocabulary, skip_special_tokens)

    def check_ids(self, token_ids: Sequence[int], field: str) -> None:
        """Refuses ids that the vocabulary does not have.

        Raises:
            TokenIdOutOfRange: Names the first of them by its place in `field`.
        """
        if not token_ids or (min(token_ids) >= 0 and max(token_ids) < self.vocabulary_size):
            return
        place, token_id = next(
            (place, id_)
            for place, id_ in enumerate(token_ids)
            if not 0 <= id_ < self.vocabulary_size
        )
        raise TokenIdOutOfRange(
            f"{field}[{place}] is {token_id}, but ids of this tokenizer are in "
            f"[0, {self.vocabulary_size})",
            field=f"{field}[{place}]",
            token_id=token_id,
            vocabulary_size=self.vocabulary_size,
        )


def _special_tokens(
    backend: tokenizers.Tokenizer, named_tokens: dict[str, str]
) -> tuple[SpecialToken, ...]:
    # A token may serve as more than one; the first of these says best what it is for.
    purposes: dict[str, str] = {}
    for purpose in ("bos", "eos", "unk", "pad"):
        if token := named_tokens.get(f"{purpose}_token"):
            purposes.setdefault(token, purpose)
    added = backend.get_added_tokens_decoder()
    return tuple(
        SpecialToken(token_id, token.content, purposes.get(token.content, ""))
        for token_id, token in sorted(added.items())
        if token.special
    )
