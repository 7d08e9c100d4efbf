"""services/tokenizer/tokenizer.py, spans.py: ids, texts, and where tokens stand."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from tokenizers import AddedToken

from services.tokenizer.tokenizer import TokenIdOutOfRange, Tokenizer
from tests.tokenizer import throwaway
from tests.tokenizer.texts import HARD_TEXTS, texts

many = settings(max_examples=100)
BYTE_LEVEL = Tokenizer(throwaway.byte_level(), {})
SENTENCEPIECE = Tokenizer(throwaway.sentencepiece(), {})


def spans(tokenizer: Tokenizer, text: str, add_special_tokens: bool = False):
    (encoding,) = tokenizer.encode_with_spans([text], add_special_tokens)
    return encoding.spans


@many
@given(text=texts)
def test_ids_are_those_of_the_library_with_and_without_spans(tokenizer, backend, text):
    for add in (True, False):
        ids = backend.encode(text, add_special_tokens=add).ids
        assert tokenizer.encode([text, text], add) == [ids, ids]
        (encoding,) = tokenizer.encode_with_spans([text], add)
        assert encoding.token_ids == ids
        assert tokenizer.count([text], add) == [len(ids)]


@many
@given(text=texts)
def test_spans_lie_in_the_text_in_order(tokenizer, text):
    found = spans(tokenizer, text, add_special_tokens=True)
    assert len(found) == tokenizer.count([text], True)[0]
    size = len(text.encode())
    assert all(0 <= span.start_byte <= span.end_byte <= size for span in found)
    assert all(a.start_byte <= b.start_byte for a, b in pairwise(found))


@many
@given(text=texts)
def test_byte_level_spans_are_the_exact_bytes_of_each_token(text):
    written = text.encode()
    found = spans(BYTE_LEVEL, text)
    assert b"".join(span.token_bytes for span in found) == written
    assert all(written[s.start_byte : s.end_byte] == s.token_bytes for s in found)
    assert [s.start_byte for s in found] == [0, *[s.end_byte for s in found]][: len(found)]


@many
@given(text=texts)
def test_byte_tokens_have_their_own_byte_of_a_character(text):
    written = text.encode()
    for span in spans(SENTENCEPIECE, text):
        if len(span.token_bytes) == 1 and span.token_bytes[0] >= 0x80:
            assert written[span.start_byte : span.end_byte] == span.token_bytes


def test_spans_cut_through_a_character():
    found = spans(BYTE_LEVEL, "뷁")
    assert [(s.start_byte, s.end_byte, s.token_bytes) for s in found] == [
        (0, 1, b"\xeb"),
        (1, 2, b"\xb7"),
        (2, 3, b"\x81"),
    ]


def test_added_tokens_begin_and_end_where_they_were_put_in():
    tokenizer = Tokenizer(throwaway.byte_level(with_bos=True), {})
    first, *_, last = spans(tokenizer, "안녕 fox", add_special_tokens=True)
    assert (first.start_byte, first.end_byte, first.token_bytes) == (0, 0, b"<|im_start|>")
    assert (last.start_byte, last.end_byte, last.token_bytes) == (10, 10, b"<|im_end|>")


def test_special_tokens_written_in_the_text_have_their_own_bytes():
    found = spans(BYTE_LEVEL, "a<|im_end|>b")
    assert [(s.start_byte, s.end_byte, s.token_bytes) for s in found] == [
        (0, 1, b"a"),
        (1, 11, b"<|im_end|>"),
        (11, 12, b"b"),
    ]


def test_added_tokens_stand_for_their_own_text():
    backend = throwaway.byte_level()
    backend.add_tokens(["Ãx"])  # both characters also stand for bytes in byte-level tokens
    found = spans(Tokenizer(backend, {}), "a Ãx")
    assert (found[-1].start_byte, found[-1].end_byte) == (2, 5)
    assert found[-1].token_bytes == "Ãx".encode()


def test_where_the_text_is_normalised_spans_are_of_whole_characters():
    tokenizer = Tokenizer(throwaway.wordpiece(), {})
    text = "Café FOX"
    found = spans(tokenizer, text, add_special_tokens=True)
    covered = {text.encode()[s.start_byte : s.end_byte].decode() for s in found}
    assert {"FOX"} <= covered
    assert b"".join(s.token_bytes for s in found[1:-1]) == b"cafefox"
    assert all(unicodedata.is_normalized("NFC", piece) for piece in covered)


def test_an_added_token_that_takes_the_spaces_around_it_has_them_in_its_span():
    backend = throwaway.byte_level()
    backend.add_tokens([AddedToken("<mask>", lstrip=True)])
    found = spans(Tokenizer(backend, {}), "a  <mask>b")
    assert [(s.start_byte, s.end_byte, s.token_bytes) for s in found] == [
        (0, 1, b"a"),
        (1, 9, b"<mask>"),
        (9, 10, b"b"),
    ]


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_byte_level_decoding_brings_the_text_back(text):
    ids = BYTE_LEVEL.encode([text], False)
    assert BYTE_LEVEL.decode(ids, skip_special_tokens=False) == [text]


def test_special_tokens_can_be_left_out_of_a_decoding():
    ids = BYTE_LEVEL.encode(["<|im_start|>fox<|im_end|>"], False)
    assert BYTE_LEVEL.decode(ids, skip_special_tokens=True) == ["fox"]
    assert BYTE_LEVEL.decode(ids, skip_special_tokens=False) == ["<|im_start|>fox<|im_end|>"]


@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_ids_out_of_the_vocabulary_are_refused_by_their_place(tokenizer, wrong):
    with pytest.raises(TokenIdOutOfRange) as caught:
        tokenizer.decode([[0], [0, 0, wrong]], skip_special_tokens=True)
    assert caught.value.field == "sequences[1].token_ids[2]"
    assert caught.value.metadata["vocabulary_size"] == str(tokenizer.vocabulary_size)


def test_the_vocabulary_counts_added_tokens_and_gaps():
    backend = throwaway.byte_level()
    backend.add_tokens(["<extra>"])
    assert Tokenizer(backend, {}).vocabulary_size == backend.token_to_id("<extra>") + 1


def test_special_tokens_say_what_they_are_for():
    named = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    tokens = Tokenizer(throwaway.byte_level(), named).special_tokens
    assert [(t.token_id, t.token, t.purpose) for t in tokens] == [
        (0, "<|endoftext|>", ""),
        (1, "<|im_start|>", "bos"),
        (2, "<|im_end|>", "eos"),
    ]


def test_hashes_are_equal_for_equal_tokenizers_only():
    one, same = (Tokenizer(throwaway.sentencepiece(), {}) for _ in range(2))
    changed = throwaway.sentencepiece()
    changed.add_tokens(["fox trot"])
    assert one.hash == same.hash
    assert one.hash != Tokenizer(changed, {}).hash


def test_a_long_text_is_encoded_and_decoded():
    text = "담소는 다정한 이야기. " * 20_000
    ids = BYTE_LEVEL.encode([text], False)
    assert BYTE_LEVEL.decode(ids, True) == [text]
