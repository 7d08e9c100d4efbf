import asyncio

import grpc
import pytest
from damso.chat.v1 import chat_pb2 as chat
from damso.generation.v1 import generation_pb2 as generation
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from damso.tokenizer.v1 import tokenizer_pb2 as tokenizer
from damso.tokenizer.v1.tokenizer_pb2_grpc import TokenizerServiceStub
from damso.type.v1 import tokens_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from services.runtime.errors import ResourceExhausted
from services.runtime.status import STATUS_KEY, error_info
from tests.gateway.counting import MODEL, counting
from tests.gateway.gateways import gateway_here, settings
from tests.gateway.stores import free_port

PROMPT = generation.Content(token_ids=tokens_pb2.TokenIds(token_ids=[1]))


@pytest.fixture
def tokenizers(gateway):
    return TokenizerServiceStub(gateway.channel)


@pytest.fixture
def generations(gateway):
    return GenerationServiceStub(gateway.channel)


@pytest.fixture
async def both(postgres, tokenizer_address, counter):
    """A gateway over two generation services, and the second of them."""
    async with counting("other") as (other, address):
        addresses = [counter[1], address]
        chosen = settings(postgres.new_database(), tokenizer_address, addresses)
        async with gateway_here(chosen) as gateway:
            await gateway.until_serving()
            yield gateway, other


async def test_a_unary_call_reaches_the_tokenizer(tokenizers):
    encoded = await tokenizers.Encode(tokenizer.EncodeRequest(texts=["안녕"]), timeout=5)
    request = tokenizer.DecodeRequest(
        sequences=[tokens_pb2.TokenIds(token_ids=encoded.encodings[0].token_ids)]
    )
    assert list((await tokenizers.Decode(request, timeout=5)).texts) == ["안녕"]


async def test_an_error_comes_through_with_its_code_message_and_details(tokenizers):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tokenizers.Encode(tokenizer.EncodeRequest(model="nobody", texts=["x"]), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(caught.value).reason == "TOKENIZER_NOT_FOUND"
    trailing = dict(caught.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailing[STATUS_KEY])
    kinds = [detail.TypeName() for detail in status.details]
    assert kinds == ["google.rpc.ErrorInfo", "google.rpc.ResourceInfo"]


async def test_when_to_come_back_comes_through(generations, words):
    words.failure = ResourceExhausted("the queue is full", retry_after_seconds=3)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(generations.Generate(generation.GenerateRequest(prompt=PROMPT))))
    status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())[STATUS_KEY])
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.seconds == 3


async def test_a_stream_comes_through_and_cancelling_it_reaches_the_engine(generations, words):
    call = generations.Generate(generation.GenerateRequest(prompt=PROMPT), timeout=30)
    await words.let_out(2)
    assert [(await call.read()).deltas[0].text for _ in range(2)] == ["0 ", "1 "]
    assert words.running == 1
    call.cancel()
    await words.until_running(0)


async def test_a_deadline_reaches_the_engine(generations, words):
    call = generations.Generate(generation.GenerateRequest(prompt=PROMPT), timeout=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await words.until_running(0)


async def test_a_stream_both_ways_comes_through(tokenizers):
    encoded = await tokenizers.Encode(tokenizer.EncodeRequest(texts=["가나다 🙂"]), timeout=5)
    call = tokenizers.DecodeStream(timeout=10)
    for token_id in encoded.encodings[0].token_ids:
        await call.write(tokenizer.DecodeStreamRequest(token_ids=[token_id]))
    await call.done_writing()
    assert "".join([response.text async for response in call]) == "가나다 🙂"


async def test_a_stream_both_ways_may_be_closed_at_once(tokenizers):
    call = tokenizers.DecodeStream(timeout=10)
    await call.done_writing()
    assert [response async for response in call] == []


async def test_request_id_and_trace_reach_the_engine(generations, words):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await words.let_out()
    call = generations.Generate(
        generation.GenerateRequest(prompt=PROMPT),
        metadata=(("x-request-id", "mine"), ("traceparent", trace)),
    )
    [_ async for _ in call]
    assert words.metadata[-1]["x-request-id"] == "mine"
    assert words.metadata[-1]["traceparent"].split("-")[1] == trace.split("-")[1]


async def test_a_message_that_is_none_is_refused_by_the_backend(gateway):
    encode = gateway.channel.unary_unary("/damso.tokenizer.v1.TokenizerService/Encode")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await encode(b"\xff\xff\xff", timeout=5)
    assert error_info(caught.value).reason == "REQUEST_MALFORMED"


async def test_only_known_methods_are_forwarded(gateway):
    call = gateway.channel.unary_unary("/damso.tokenizer.v1.TokenizerService/Nothing")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_backend_that_is_away_is_unavailable(postgres, tokenizer_address):
    nowhere = f"127.0.0.1:{free_port()}"
    chosen = settings(postgres.new_database(), tokenizer_address, [nowhere])
    async with gateway_here(chosen) as gateway:
        await gateway.until_serving()
        stub = GenerationServiceStub(gateway.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListModels(generation.ListModelsRequest(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert error_info(caught.value).reason == "BACKEND_UNAVAILABLE"
        conversation = await gateway.conversation()
        request = chat.SendMessageRequest(conversation_id=conversation.id, content="x")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.chat.SendMessage(request, timeout=10).read()
        assert error_info(caught.value).reason == "GENERATION_UNAVAILABLE"


async def test_each_model_is_reached_at_its_own_backend(both, words):
    gateway, other = both
    stub = GenerationServiceStub(gateway.channel)
    await words.let_out()
    await other.let_out()
    for name, servicer in (("other", other), (MODEL, words), ("", words)):
        before = len(servicer.requests)
        request = generation.GenerateRequest(model=name, prompt=PROMPT)
        [_ async for _ in stub.Generate(request, timeout=10)]
        assert len(servicer.requests) == before + 1
        model = (await stub.GetModel(generation.GetModelRequest(model=name), timeout=5)).model
        assert model.name == servicer.name
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetModel(generation.GetModelRequest(model="nobody"), timeout=5)
    assert error_info(caught.value).reason == "MODEL_NOT_FOUND"


async def test_a_batch_stream_goes_where_its_first_message_says(both):
    gateway, _ = both
    call = GenerationServiceStub(gateway.channel).GenerateBatch(timeout=10)
    await call.write(
        generation.GenerateBatchRequest(
            model="other", start=generation.GenerateRequest(request_id="r", prompt=PROMPT)
        )
    )
    assert (await call.read()).items[0].request_id == "other:r"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_models_of_all_backends_are_listed_and_those_that_are_away_left_out(both, words):
    gateway, _ = both
    stub = GenerationServiceStub(gateway.channel)
    models = (await stub.ListModels(generation.ListModelsRequest(), timeout=5)).models
    assert [model.name for model in models] == [MODEL, "other"]


async def test_a_chat_may_choose_a_model_of_another_backend(both, words):
    gateway, other = both
    await other.let_out()
    conversation = await gateway.conversation()
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # its tokenizer is not known
        await gateway.ask(conversation, "x", settings=chat.ChatSettings(model="other"))
    assert error_info(caught.value).reason == "TOKENIZER_NOT_FOUND"


async def test_a_loading_model_says_how_far_it_is(gateway, words):
    words.state = generation.Model.STATE_LOADING
    conversation = await gateway.conversation()
    request = chat.SendMessageRequest(conversation_id=conversation.id, content="x")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.chat.SendMessage(request, timeout=10).read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    info = error_info(caught.value)
    assert info.reason == "MODEL_LOADING"
    assert (info.metadata["phase"], info.metadata["progress"]) == ("importing", "0.25")
    # When it is ready the gateway knows at once, or nearly so.
    words.state = generation.Model.STATE_READY
    await words.let_out()
    answer = None
    while answer is None:
        try:
            answer = await gateway.ask(conversation, "x")
        except grpc.aio.AioRpcError as error:
            assert error_info(error).reason == "MODEL_LOADING"
    assert answer.content


async def test_reflection_lists_the_forwarded_services(gateway):
    def services() -> set[str]:
        with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
            return set(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert {
        "damso.chat.v1.ChatService",
        "damso.tokenizer.v1.TokenizerService",
        "damso.generation.v1.GenerationService",
    } <= await asyncio.to_thread(services)


async def test_many_calls_at_once_come_through(tokenizers):
    requests = [tokenizer.CountTokensRequest(texts=["x " * n]) for n in range(1, 100)]
    counts = await asyncio.gather(*(tokenizers.CountTokens(r, timeout=20) for r in requests))
    assert [count.token_counts[0] for count in counts] == sorted(
        count.token_counts[0] for count in counts
    )
