"""services/tokenizer/decode_stream.py: the deltas are the text, and no more than half of one."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders

from services.tokenizer.tokenizer import Tokenizer
from services.tokenizer.vocabulary import Vocabulary
from tests.tokenizer import throwaway
from tests.tokenizer.texts import HARD_TEXTS, texts

many = settings(max_examples=150)
splits = st.lists(st.integers(1, 7), max_size=40)

BYTE_LEVEL = Vocabulary(throwaway.byte_level())
LOOSE_BYTES = [
    id_
    for id_ in range(BYTE_LEVEL.size)
    if BYTE_LEVEL.bytes_of(id_) in {bytes([byte]) for byte in range(0x80, 0x100)}
]
"""Byte-level tokens of one byte each that is no character by itself."""

_SENTENCEPIECE = throwaway.sentencepiece()
BYTES_AND_WORDS = [
    *_SENTENCEPIECE.encode("the 담소 ").ids,
    *[_SENTENCEPIECE.token_to_id(f"<0x{byte:02X}>") for byte in b"\xea\xb0\x80\xff"],
]
"""Tokens of words, and of the bytes of `가` and of none."""


def deltas(
    tokenizer: Tokenizer, ids: list[int], sizes: list[int], skip_special_tokens: bool = True
) -> list[str]:
    """What a stream gives for ids that come in parts of these sizes, then one at a time."""
    stream = tokenizer.open_decode_stream(skip_special_tokens)
    parts = []
    rest = ids
    for size in [*sizes, *[1] * len(ids)]:
        part, rest = rest[:size], rest[size:]
        parts.append(stream.push(part))
    return [part for part in [*parts, stream.close()] if part]


@many
@given(text=texts, sizes=splits, skip=st.booleans())
def test_deltas_of_an_encoded_text_are_its_decoding(
    tokenizer, backend, vocabulary, text, sizes, skip
):
    ids = tokenizer.encode([text], add_special_tokens=True)[0]
    parts = deltas(tokenizer, ids, sizes, skip)
    assert "".join(parts) == backend.decode(ids, skip_special_tokens=skip)
    # SmolLM2 has no tokens for some bytes, which only characters of unassigned planes have.
    pieces = b"".join(map(vocabulary.bytes_of, ids))
    if "\ufffd" not in text and pieces == text.encode():
        assert not any("\ufffd" in part for part in parts)


@many
@given(data=st.data(), sizes=splits, skip=st.booleans())
def test_deltas_of_any_ids_are_their_decoding(tokenizer, backend, data, sizes, skip):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1), max_size=60))
    assert "".join(deltas(tokenizer, ids, sizes, skip)) == backend.decode(ids, skip)


@many
@given(data=st.data())
def test_broken_bytes_are_shown_as_the_library_shows_them(data):
    tokenizer = throwaway_of("byte_level")
    ids = data.draw(st.lists(st.sampled_from(LOOSE_BYTES), max_size=30))
    assert "".join(deltas(tokenizer, ids, [])) == tokenizer.decode([ids], True)[0]


@many
@given(data=st.data())
def test_runs_of_byte_tokens_are_shown_as_the_library_shows_them(data):
    tokenizer = throwaway_of("sentencepiece")
    ids = data.draw(st.lists(st.sampled_from(BYTES_AND_WORDS), max_size=30))
    assert "".join(deltas(tokenizer, ids, [])) == tokenizer.decode([ids], True)[0]


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_characters_come_as_soon_as_they_are_whole(text):
    tokenizer = throwaway_of("byte_level")
    stream = tokenizer.open_decode_stream(skip_special_tokens=False)
    shown = ""
    taken = b""
    for encoding in tokenizer.encode_with_spans([text], False):
        for id_, span in zip(encoding.token_ids, encoding.spans, strict=True):
            shown += stream.push([id_])
            taken += span.token_bytes
            assert shown == taken.decode(errors="ignore")


def test_ids_that_end_in_half_a_character_end_in_a_replacement_character():
    tokenizer = throwaway_of("byte_level")
    ids = tokenizer.encode(["뷁"], False)[0]
    assert len(ids) == 3
    stream = tokenizer.open_decode_stream(skip_special_tokens=True)
    assert stream.push(ids[:2]) == ""
    assert stream.close() == "\ufffd" == tokenizer.decode([ids[:2]], True)[0]


def test_a_decoder_that_is_not_known_is_held_until_the_end():
    backend = throwaway.byte_level()
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("fox", "cat")])
    tokenizer = Tokenizer(backend, {})
    ids = tokenizer.encode(["the fox "], False)[0]
    stream = tokenizer.open_decode_stream(True)
    assert stream.push(ids) == ""
    assert stream.close() == backend.decode(ids) == "the cat "


@pytest.mark.parametrize("decoder", [None, decoders.BPEDecoder(suffix="</w>")])
@many
@given(data=st.data(), sizes=splits)
def test_other_decoders_give_their_decoding_too(decoder, data, sizes):
    backend = throwaway.wordpiece()
    backend.add_tokens(["wor</w>", "d</w>"])
    # The library takes no decoder away again, so a written tokenizer without one is read.
    backend = _with_decoder(backend, decoder)
    tokenizer = Tokenizer(backend, {})
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1), max_size=20))
    assert "".join(deltas(tokenizer, ids, sizes)) == backend.decode(ids)


@pytest.mark.parametrize("kind", throwaway.KINDS)
def test_a_long_stream_of_words_holds_no_more_than_a_short_one(kind):
    tokenizer = throwaway_of(kind)
    ids = tokenizer.encode(["the quick brown fox 안녕하세요 " * 200], False)[0]
    stream = tokenizer.open_decode_stream(True)
    held = []
    for id_ in ids:
        stream.push([id_])
        held.append(stream.held_count)
    # One round of the words may be held, where the vocabulary spells them in bytes.
    assert max(held) <= len(ids) // 200 + 1


def throwaway_of(kind: str, made: dict[str, Tokenizer] = {}) -> Tokenizer:  # noqa: B006
    """One tokenizer of a kind, trained once."""
    if kind not in made:
        made[kind] = Tokenizer(throwaway.KINDS[kind](), {})
    return made[kind]


def _with_decoder(backend: Backend, decoder: decoders.Decoder | None) -> Backend:
    written = json.loads(backend.to_str())
    written["decoder"] = None
    rebuilt = Backend.from_str(json.dumps(written))
    if decoder is not None:
        rebuilt.decoder = decoder
    return rebuilt
