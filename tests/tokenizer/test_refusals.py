"""What the tokenizer service refuses, over the wire: each by its field."""

import grpc
import pytest
from google.rpc import error_details_pb2
from tokenizers import decoders

from damso.tokenizer.v1 import tokenizer_pb2 as pb
from damso.type.v1 import tokens_pb2
from services.tokenizer.tokenizer import Tokenizer
from tests.tokenizer import throwaway
from tests.tokenizer.calling import details_of, refused, serving

TOO_MANY = ["a"] * 4097


@pytest.mark.parametrize(
    ("method", "request_", "reason", "field"),
    [
        ("Encode", pb.EncodeRequest(), "INVALID_ARGUMENT", "texts"),
        ("Encode", pb.EncodeRequest(texts=TOO_MANY), "INVALID_ARGUMENT", "texts"),
        ("Encode", pb.EncodeRequest(texts=["가" * 340_000]), "TEXT_TOO_LARGE", "texts"),
        ("CountTokens", pb.CountTokensRequest(), "INVALID_ARGUMENT", "texts"),
        ("CountTokens", pb.CountTokensRequest(texts=["x" * 10**7]), "TEXT_TOO_LARGE", "texts"),
        ("Decode", pb.DecodeRequest(), "INVALID_ARGUMENT", "sequences"),
        (
            "Decode",
            pb.DecodeRequest(sequences=[tokens_pb2.TokenIds(token_ids=[1] * 100_001)]),
            "TOO_MANY_TOKEN_IDS",
            "sequences",
        ),
        (
            "Decode",
            pb.DecodeRequest(sequences=[{}, tokens_pb2.TokenIds(token_ids=[0, -1])]),
            "TOKEN_ID_OUT_OF_RANGE",
            "sequences[1].token_ids[1]",
        ),
        ("RenderChat", pb.RenderChatRequest(), "INVALID_ARGUMENT", "messages"),
        (
            "RenderChat",
            pb.RenderChatRequest(messages=[{"role": 2}] * 10_001),
            "INVALID_ARGUMENT",
            "messages",
        ),
        (
            "RenderChat",
            pb.RenderChatRequest(messages=[{"role": 2, "content": "x" * 10**6}, {"content": "x"}]),
            "TEXT_TOO_LARGE",
            "messages",
        ),
        (
            "RenderChat",
            pb.RenderChatRequest(messages=[{"role": 2}, {"content": "x"}]),
            "INVALID_ARGUMENT",
            "messages[1].role",
        ),
        (
            "RenderChat",
            pb.RenderChatRequest(messages=[{"role": 2}], max_prompt_tokens=-1),
            "INVALID_ARGUMENT",
            "max_prompt_tokens",
        ),
        (
            "RenderChat",
            pb.RenderChatRequest(messages=[{"role": 2}], template_options={"tools": []}),
            "TEMPLATE_OPTION_RESERVED",
            "template_options.tools",
        ),
        (
            "RenderChat",
            pb.RenderChatRequest(messages=[{"role": 2}], tools=[{"x": "y" * 10**6}]),
            "TEXT_TOO_LARGE",
            "tools",
        ),
        (
            "RenderChat",
            pb.RenderChatRequest(messages=[{"role": 2}], template_options={"x": "y" * 10**6}),
            "TEXT_TOO_LARGE",
            "template_options",
        ),
        (
            "ListTokenizers",
            pb.ListTokenizersRequest(page_size=101),
            "INVALID_ARGUMENT",
            "page_size",
        ),
        (
            "ListTokenizers",
            pb.ListTokenizersRequest(page_token="x"),
            "PAGE_TOKEN_INVALID",
            "page_token",
        ),
    ],
)
async def test_values_out_of_range_are_refused_by_field(stub, method, request_, reason, field):
    error = await refused(
        getattr(stub, method)(request_), grpc.StatusCode.INVALID_ARGUMENT, reason, field
    )
    details = list(details_of(error, error_details_pb2.BadRequest()))
    assert details[0].field_violations[0].field == field
    # Nothing else is disturbed.
    assert (await stub.CountTokens(pb.CountTokensRequest(texts=["fox"]))).token_counts[0] > 0


async def test_spans_are_for_texts_of_a_mebibyte_at_most():
    async with serving(throwaway.loaded(throwaway.byte_level())) as stub:
        texts = ["x" * (1 << 19), "y" * ((1 << 19) + 1)]
        await stub.Encode(pb.EncodeRequest(texts=texts))
        call = stub.Encode(pb.EncodeRequest(texts=texts, include_spans=True))
        await refused(call, grpc.StatusCode.INVALID_ARGUMENT, "TEXT_TOO_LARGE", "texts")


async def test_a_panic_of_the_library_is_an_internal_error_and_nothing_more():
    backend = throwaway.byte_level()
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 0, 1)])
    with pytest.raises(BaseException, match="out of bounds") as caught:
        Tokenizer(backend, {}).decode([[]], True)
    assert not isinstance(caught.value, Exception)
    async with serving(throwaway.loaded(backend)) as stub:
        request = pb.DecodeRequest(sequences=[{}])
        error = await refused(stub.Decode(request), grpc.StatusCode.INTERNAL, "INTERNAL")
        assert error.details() == "internal error"
        await stub.Encode(pb.EncodeRequest(texts=["fox"]))
