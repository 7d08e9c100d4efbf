"""What each token id stands for, in bytes, read from a tokenizer's decoder.

Decoders are pipelines of steps. Those that served models have are known here; of any other, only
the library's own `decode` of a whole sequence is relied on (see `decode_stream.py`).
"""

import json
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")

Step = dict[str, Any]
"""One step of a decoder, as `Tokenizer.to_str` writes it."""


def _byte_level_alphabet() -> dict[str, int]:
    """The character that stands for each byte in byte-level vocabularies, as in GPT-2.

    Source: https://github.com/openai/gpt-2/blob/master/src/encoder.py, `bytes_to_unicode`
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + place): byte for place, byte in enumerate(shifted)
    }


_ALPHABET = _byte_level_alphabet()
assert set(_ALPHABET) == set(ByteLevel.alphabet())


class Vocabulary:
    """The tokens of a tokenizer, by id.

    Args:
        backend: The tokenizer; not changed afterwards.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        self._added = backend.get_added_tokens_decoder()
        decoder = json.loads(backend.to_str())["decoder"]
        self._steps = list(_flattened(decoder))
        self._bytes: dict[int, bytes] = {}
        self._byte_level_bytes: dict[int, bytes] = {}

    @cached_property
    def size(self) -> int:
        """The number of ids: one more than the largest."""
        return max(self._backend.get_vocab().values(), default=-1) + 1

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of tokens with a meaning of their own, which decoding may leave out."""
        return frozenset(id_ for id_, token in self._added.items() if token.special)

    @cached_property
    def is_byte_level(self) -> bool:
        """Whether decoding is to join the tokens' bytes and nothing else."""
        return [step["type"] for step in self._steps] == ["ByteLevel"]

    @cached_property
    def has_byte_fallback(self) -> bool:
        """Whether tokens such as `<0xEA>` stand for one byte each."""
        return any(step["type"] == "ByteFallback" for step in self._steps)

    @cached_property
    def decodes_locally(self) -> bool:
        """Whether what a token decodes to hangs on nothing but the token before it.

        Where single bytes are tokens, runs of them count as one token.
        """
        fused = False
        for step in self._steps:
            match step["type"]:
                case "Fuse":
                    fused = True
                case "Replace" if fused:
                    if len(step["pattern"].get("String", "")) != 1:
                        return False
                case "Strip" if fused:
                    if step["stop"] > 0:
                        return False
                case (
                    "Replace" | "Strip" | "ByteFallback" | "Metaspace" | "WordPiece" | "BPEDecoder"
                ):
                    pass
                case _:
                    return False
        return True

    def is_byte(self, token_id: int) -> bool:
        """Whether the token stands for one byte of a character, such as `<0xEA>`."""
        if not self.has_byte_fallback:
            return False
        return _BYTE_TOKEN.fullmatch(self._backend.id_to_token(token_id) or "") is not None

    def bytes_of(self, token_id: int) -> bytes:
        """What a token stands for in text, in UTF-8; perhaps a part of a character."""
        found = self._bytes.get(token_id)
        if found is None:
            token = self._backend.id_to_token(token_id) or ""
            found = token.encode() if token_id in self._added else self._stands_for(token)
            self._bytes[token_id] = found
        return found

    def byte_level_bytes_of(self, token_id: int) -> bytes:
        """What a byte-level decoder adds for a token: added tokens pass through it as well."""
        found = self._byte_level_bytes.get(token_id)
        if found is None:
            found = _from_alphabet(self._backend.id_to_token(token_id) or "")
            self._byte_level_bytes[token_id] = found
        return found

    def _stands_for(self, token: str) -> bytes:
        for step in self._steps:
            match step["type"]:
                case "ByteLevel":
                    return _from_alphabet(token)
                case "ByteFallback" if byte := _BYTE_TOKEN.fullmatch(token):
                    return bytes.fromhex(byte[1])
                case "Replace" if "String" in step["pattern"]:
                    token = token.replace(step["pattern"]["String"], step["content"])
                case "Metaspace":
                    token = token.replace(step["replacement"], " ")
                case "WordPiece":
                    token = token.removeprefix(step["prefix"])
                case "BPEDecoder":
                    token = token.removesuffix(step["suffix"])
        return token.encode()


def _flattened(decoder: Step | None) -> Iterator[Step]:
    if decoder is None:
        return
    if decoder["type"] == "Sequence":
        for step in decoder["decoders"]:
            yield from _flattened(step)
    else:
        yield decoder


def _from_alphabet(token: str) -> bytes:
    """The token's bytes; its own UTF-8 where any character stands for none, as the library does."""
    try:
        return bytes(_ALPHABET[character] for character in token)
    except KeyError:
        return token.encode()
