"""services/tokenizer/servicer.py over the wire: each method, and what it refuses."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from damso.tokenizer.v1 import tokenizer_pb2 as pb
from damso.type.v1 import message_pb2, tokens_pb2
from services.runtime.status import error_info
from tests.tokenizer import throwaway
from tests.tokenizer.calling import refused, serving
from tests.tokenizer.test_chat_template import TOOL, theirs
from tests.tokenizer.texts import HARD_TEXTS

ROLES = {
    "system": message_pb2.ROLE_SYSTEM,
    "user": message_pb2.ROLE_USER,
    "assistant": message_pb2.ROLE_ASSISTANT,
    "tool": message_pb2.ROLE_TOOL,
}


def messages(*turns: tuple[str, str]) -> list[message_pb2.Message]:
    return [message_pb2.Message(role=ROLES[role], content=content) for role, content in turns]


invalid = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("model", ["", *throwaway.KINDS, "with_bos"])
async def test_texts_come_back_as_the_librarys_ids(stub, loaded, model):
    backend = loaded[model or "byte_level"].backend
    for add in (None, True, False):
        request = pb.EncodeRequest(model=model, texts=HARD_TEXTS, add_special_tokens=add)
        response = await stub.Encode(request)
        expected = backend.encode_batch(HARD_TEXTS, add_special_tokens=add is not False)
        assert [list(e.token_ids) for e in response.encodings] == [e.ids for e in expected]
        assert not any(e.start_bytes or e.token_bytes for e in response.encodings)
        counted = await stub.CountTokens(
            pb.CountTokensRequest(model=model, texts=HARD_TEXTS, add_special_tokens=add)
        )
        assert list(counted.token_counts) == [len(e.ids) for e in expected]


async def test_spans_are_sent_when_asked_for(stub):
    response = await stub.Encode(pb.EncodeRequest(texts=["뷁", "fox"], include_spans=True))
    first = response.encodings[0]
    assert list(first.start_bytes) == [0, 1, 2]
    assert list(first.end_bytes) == [1, 2, 3]
    assert b"".join(first.token_bytes) == "뷁".encode()


@pytest.mark.parametrize("model", throwaway.KINDS)
async def test_ids_come_back_as_the_librarys_texts(stub, loaded, model):
    backend = loaded[model].backend
    ids = [e.ids for e in backend.encode_batch(HARD_TEXTS)]
    for skip in (None, True, False):
        request = pb.DecodeRequest(
            model=model,
            sequences=[tokens_pb2.TokenIds(token_ids=i) for i in ids],
            skip_special_tokens=skip,
        )
        response = await stub.Decode(request)
        expected = backend.decode_batch(ids, skip_special_tokens=skip is not False)
        assert list(response.texts) == expected


async def test_large_batches_and_texts_go_through(stub, loaded):
    texts = ["담소는 다정한 이야기. " * 1000, "the quick brown fox " * 3000] * 5
    response = await stub.Encode(pb.EncodeRequest(texts=texts))
    sequences = [tokens_pb2.TokenIds(token_ids=e.token_ids) for e in response.encodings[:2]]
    back = await stub.Decode(pb.DecodeRequest(sequences=sequences))
    assert list(back.texts) == texts[:2]


async def test_chats_are_rendered_as_transformers_renders_them(stub, loaded):
    turns = [
        ("system", "Be brief."),
        ("user", "안녕\0 <|im_end|>"),
        ("assistant", "네"),
        ("user", ""),
    ]
    response = await stub.RenderChat(pb.RenderChatRequest(messages=messages(*turns)))
    plain = [{"role": role, "content": content} for role, content in turns]
    expected = theirs(throwaway.TEMPLATE, plain, add_generation_prompt=True)
    assert response.prompt == expected
    backend = loaded["byte_level"].backend
    assert list(response.prompt_token_ids) == backend.encode(expected, add_special_tokens=False).ids
    assert not response.dropped_message_indexes


async def test_a_chat_can_be_left_open(stub):
    request = pb.RenderChatRequest(
        messages=messages(("user", "Count"), ("assistant", "One, ")), continue_final_message=True
    )
    assert (await stub.RenderChat(request)).prompt.endswith("assistant\nOne, ")
    request.add_generation_prompt = True
    await refused(stub.RenderChat(request), invalid, "INVALID_ARGUMENT", "continue_final_message")


async def test_whole_numbers_in_tools_and_options_stay_whole():
    found = throwaway.loaded(throwaway.byte_level(), "{{ tools | tojson }}{{ budget }}{{ share }}")
    request = pb.RenderChatRequest(
        messages=messages(("user", "x")),
        tools=[TOOL],
        template_options={"budget": 5, "share": 0.5},
    )
    async with serving(found) as stub:
        prompt = (await stub.RenderChat(request)).prompt
    assert '"maxLength": 5' in prompt
    assert prompt.endswith("]50.5")


async def test_the_oldest_rounds_are_dropped_to_fit(stub):
    turns = [("system", "s")] + [("user", f"question {n}") for n in range(30)]
    request = pb.RenderChatRequest(messages=messages(*turns))
    everything = len((await stub.RenderChat(request)).prompt_token_ids)
    request.max_prompt_tokens = everything // 2
    response = await stub.RenderChat(request)
    assert len(response.prompt_token_ids) <= everything // 2
    dropped = list(response.dropped_message_indexes)
    assert dropped == list(range(1, len(dropped) + 1))
    request.max_prompt_tokens = 5
    error = await refused(stub.RenderChat(request), invalid, "CONTEXT_LENGTH_EXCEEDED", "messages")
    figures = error_info(error).metadata
    assert figures["max_prompt_tokens"] == "5"
    assert figures["prompt_tokens"] in error.details()


async def test_messages_that_the_template_refuses_are_refused():
    found = throwaway.loaded(throwaway.byte_level(), "{{ raise_exception('No system role') }}")
    async with serving(found) as stub:
        request = pb.RenderChatRequest(messages=messages(("user", "a secret")))
        error = await refused(stub.RenderChat(request), invalid, "CHAT_TEMPLATE_REFUSED")
    assert error_info(error).metadata["template_message"] == "No system role"
    assert "secret" not in str(error)


async def test_a_template_that_does_not_end_holds_up_nobody_else():
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    found = throwaway.loaded(throwaway.byte_level(), endless)
    async with serving(found, max_render_seconds=4) as stub:
        request = pb.RenderChatRequest(messages=messages(("user", "a")))
        stuck = asyncio.ensure_future(
            refused(stub.RenderChat(request), invalid, "CHAT_TEMPLATE_REFUSED")
        )
        for _ in range(3):
            await stub.Encode(pb.EncodeRequest(texts=["the fox " * 500]))
        assert not stuck.done()
        await stuck


async def test_a_model_without_a_template_cannot_chat(stub):
    request = pb.RenderChatRequest(model="base_model", messages=messages(("user", "a")))
    await refused(
        stub.RenderChat(request), grpc.StatusCode.FAILED_PRECONDITION, "CHAT_TEMPLATE_MISSING"
    )


async def test_a_tokenizer_describes_itself(stub, loaded):
    answer = (await stub.GetTokenizer(pb.GetTokenizerRequest(model="with_bos"))).tokenizer
    assert answer.model == "with_bos"
    assert answer.vocabulary_size == loaded["with_bos"].backend.get_vocab_size()
    assert answer.chat_template == throwaway.TEMPLATE
    assert {t.token: t.purpose for t in answer.special_tokens} == {
        "<|endoftext|>": "unk",
        "<|im_start|>": "bos",
        "<|im_end|>": "eos",
    }
    assert len(answer.tokenizer_hash) == len(answer.chat_template_hash) == 64
    other = (await stub.GetTokenizer(pb.GetTokenizerRequest(model="base_model"))).tokenizer
    assert other.chat_template == other.chat_template_hash == ""
    assert other.tokenizer_hash != answer.tokenizer_hash


async def test_tokenizers_are_listed_page_by_page(stub, loaded):
    names, token = [], ""
    while True:
        page = await stub.ListTokenizers(pb.ListTokenizersRequest(page_size=2, page_token=token))
        assert len(page.tokenizers) <= 2
        assert not any(tokenizer.chat_template for tokenizer in page.tokenizers)
        names += [tokenizer.model for tokenizer in page.tokenizers]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(loaded)
    for size in (0, len(loaded)):
        everything = await stub.ListTokenizers(pb.ListTokenizersRequest(page_size=size))
        assert len(everything.tokenizers) == len(loaded)
        assert not everything.next_page_token


async def stream_of(*requests: pb.DecodeStreamRequest) -> AsyncIterator[pb.DecodeStreamRequest]:
    for request in requests:
        yield request


@pytest.mark.parametrize("model", throwaway.KINDS)
@pytest.mark.parametrize("size", [1, 3, 2000])
async def test_a_stream_gives_whole_characters_that_are_the_text(stub, loaded, model, size):
    backend = loaded[model].backend
    text = "".join(HARD_TEXTS) * 3
    ids = backend.encode(text).ids
    parts = [ids[start : start + size] for start in range(0, len(ids), size)]
    first, *rest = [pb.DecodeStreamRequest(token_ids=part) for part in parts]
    first.model = model
    deltas = [r.text async for r in stub.DecodeStream(stream_of(first, *rest))]
    assert all(deltas)
    assert "".join(deltas) == backend.decode(ids)


async def test_a_stream_gives_text_as_soon_as_it_is_whole(stub, loaded):
    ids = loaded["byte_level"].backend.encode("a뷁").ids
    call = stub.DecodeStream()
    await call.write(pb.DecodeStreamRequest(token_ids=ids[:1]))
    assert (await call.read()).text == "a"
    for id_ in ids[1:]:
        await call.write(pb.DecodeStreamRequest(token_ids=[id_]))
    assert (await call.read()).text == "뷁"
    await call.write(pb.DecodeStreamRequest(token_ids=ids[1:2]))
    await call.done_writing()
    assert (await call.read()).text == "\ufffd"
    assert await call.read() is grpc.aio.EOF


async def test_a_stream_without_ids_is_empty(stub):
    assert [r async for r in stub.DecodeStream(stream_of())] == []
    assert [r async for r in stub.DecodeStream(stream_of(pb.DecodeStreamRequest()))] == []


async def test_a_stream_refuses_ids_out_of_the_vocabulary(stub):
    call = stub.DecodeStream(stream_of(pb.DecodeStreamRequest(token_ids=[0, 1_000_000])))
    await refused(anext(aiter(call)), invalid, "TOKEN_ID_OUT_OF_RANGE", "token_ids[1]")


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Encode", pb.EncodeRequest(model="no such", texts=["a"])),
        ("Decode", pb.DecodeRequest(model="no such")),
        ("CountTokens", pb.CountTokensRequest(model="no such", texts=["a"])),
        ("RenderChat", pb.RenderChatRequest(model="no such")),
        ("GetTokenizer", pb.GetTokenizerRequest(model="no such")),
    ],
)
async def test_unknown_models_are_not_found(stub, method, request_):
    call = getattr(stub, method)(request_)
    error = await refused(call, grpc.StatusCode.NOT_FOUND, "TOKENIZER_NOT_FOUND")
    assert error_info(error).metadata["resource_name"] == "no such"
    call = stub.DecodeStream(stream_of(pb.DecodeStreamRequest(model="no such")))
    await refused(anext(aiter(call)), grpc.StatusCode.NOT_FOUND, "TOKENIZER_NOT_FOUND")
