"""Where the tokens of an encoded text stand in it, in bytes of its UTF-8.

Where the tokens' bytes one after another are the text itself (byte-level vocabularies), a span is
exact even within a character. Else the tokenizer has changed the text first, and its own record
of which characters a token came from is used.
"""

from itertools import accumulate, groupby
from typing import NamedTuple

import tokenizers

from services.tokenizer.vocabulary import Vocabulary


class Span(NamedTuple):
    """One token in its text."""

    start_byte: int
    end_byte: int
    """Exclusive. A token that the tokenizer added begins and ends where it was put in."""

    token_bytes: bytes
    """What the token stands for."""


def spans_of(encoding: tokenizers.Encoding, text: str, vocabulary: Vocabulary) -> list[Span]:
    """The span of each token, in order.

    Args:
        encoding: `text` encoded, with offsets.
        text: The text.
        vocabulary: The tokens of the tokenizer.
    """
    pieces = [vocabulary.bytes_of(token_id) for token_id in encoding.ids]
    added = [bool(flag) for flag in encoding.special_tokens_mask]
    return _by_bytes(pieces, added, text.encode()) or _by_characters(
        pieces, added, text, encoding.offsets
    )


def _by_bytes(pieces: list[bytes], added: list[bool], text: bytes) -> list[Span]:
    """The spans if the pieces that were not added are the text; else none."""
    if b"".join([piece for piece, put_in in zip(pieces, added, strict=True) if not put_in]) != text:
        return []
    spans = []
    start = 0
    for piece, put_in in zip(pieces, added, strict=True):
        end = start if put_in else start + len(piece)
        spans.append(Span(start, end, piece))
        start = end
    return spans


def _by_characters(
    pieces: list[bytes], added: list[bool], text: str, offsets: list[tuple[int, int]]
) -> list[Span]:
    # Byte at which each character begins, and where the text ends.
    begins = [0, *accumulate(len(character.encode()) for character in text)]
    spans: list[Span] = []
    end = 0
    for piece, put_in, (first, last) in zip(pieces, added, offsets, strict=True):
        if put_in:
            spans.append(Span(end, end, piece))
        else:
            end = begins[last]
            spans.append(Span(begins[first], end, piece))
    return _split_characters(spans, text.encode())


def _split_characters(spans: list[Span], text: bytes) -> list[Span]:
    """Gives tokens that share characters, such as `<0xEA>`, their own bytes of them if they fit."""
    split: list[Span] = []
    for (start, end), group in groupby(spans, key=lambda span: span[:2]):
        shared = list(group)
        written = b"".join([span.token_bytes for span in shared])
        # Some tokenizers put a space before the text, which is in no text.
        put_before = 1 if written == b" " + text[start:end] else 0
        if written[put_before:] != text[start:end]:
            split += shared
            continue
        place = start - put_before
        for span in shared:
            next_place = place + len(span.token_bytes)
            split.append(Span(max(start, place), next_place, span.token_bytes))
            place = next_place
    return split
