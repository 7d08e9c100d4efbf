"""services/runtime/malformed.py: requests that are no message are refused by what is wrong."""

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from damso.tokenizer.v1 import tokenizer_pb2 as pb
from services.runtime.malformed import Malformed, TextNotUtf8, guarded
from services.runtime.status import error_info

SERVICE = "/damso.tokenizer.v1.TokenizerService"


def broken(message, find: str) -> bytes:
    """The message with a text in it made invalid, of the same length."""
    return message.SerializeToString().replace(find.encode(), b"\xff" * len(find))


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        (pb.EncodeRequest, broken(pb.EncodeRequest(model="mmm"), "mmm"), "model"),
        (pb.EncodeRequest, broken(pb.EncodeRequest(texts=["a", "bbb"]), "bbb"), "texts[1]"),
        (
            pb.RenderChatRequest,
            broken(
                pb.RenderChatRequest(messages=[{"content": "a"}, {"content": "bbb"}]),
                "bbb",
            ),
            "messages[1].content",
        ),
        (
            pb.RenderChatRequest,
            broken(pb.RenderChatRequest(template_options={"k": "vvv"}), "vvv"),
            "template_options.fields[0].value.string_value",
        ),
    ],
)
def test_a_text_that_is_not_utf8_is_named(kind, data, field):
    error = guarded(kind.FromString)(data)
    assert isinstance(error, TextNotUtf8)
    assert error.field == field


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data):
    parsed = guarded(pb.RenderChatRequest.FromString)(data)
    assert isinstance(parsed, pb.RenderChatRequest | Malformed | TextNotUtf8)


def test_messages_nested_too_deep_are_refused_and_not_searched_for_ever():
    data = b""
    for _ in range(2000):  # Value { list_value { values { … } } }
        for tag in (0x0A, 0x32):
            data = bytes([tag]) + _varint(len(data)) + data
    entry = b"\x12" + _varint(len(data)) + data
    struct = b"\x0a" + _varint(len(entry)) + entry
    request = b"\x3a" + _varint(len(struct)) + struct
    assert isinstance(guarded(pb.RenderChatRequest.FromString)(request), Malformed)


async def test_over_the_wire_the_field_is_named_and_the_service_goes_on(channel, stub):
    raw = channel.unary_unary(f"{SERVICE}/Encode")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(broken(pb.EncodeRequest(texts=["a secret"]), "a secret"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(caught.value).reason == "TEXT_NOT_UTF8"
    assert error_info(caught.value).metadata["field"] == "texts[0]"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(b"\xff\xff\xff")
    assert error_info(caught.value).reason == "REQUEST_MALFORMED"
    await stub.Encode(pb.EncodeRequest(texts=["fox"]))


async def test_a_broken_message_ends_its_stream(channel):
    call = channel.stream_stream(f"{SERVICE}/DecodeStream")()
    await call.write(pb.DecodeStreamRequest(token_ids=[68]).SerializeToString())
    assert await call.read()
    await call.write(b"\xff")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert error_info(caught.value).reason == "REQUEST_MALFORMED"


def _varint(number: int) -> bytes:
    groups = []
    while True:
        number, group = number >> 7, number & 0x7F
        groups.append(group | (0x80 if number else 0))
        if not number:
            return bytes(groups)
