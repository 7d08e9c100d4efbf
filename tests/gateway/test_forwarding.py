import asyncio

import grpc
import pytest
from google.rpc import status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from damso.chat.v1 import chat_pb2 as chat
from damso.generation.v1 import generation_pb2 as generation
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from damso.tokenizer.v1 import tokenizer_pb2 as tokenizer
from damso.tokenizer.v1.tokenizer_pb2_grpc import TokenizerServiceStub
from damso.type.v1 import sampling_pb2, tokens_pb2
from services.runtime.status import STATUS_KEY, error_info
from tests.conftest import MODEL_NAME
from tests.gateway.gateways import gateway_here, settings
from tests.gateway.stores import free_port

PROMPT = generation.Content(text="Once upon a time")
ON_AND_ON = sampling_pb2.SamplingParams(max_tokens=1000, ignore_eos=True)
BRIEF = sampling_pb2.SamplingParams(max_tokens=2, ignore_eos=True)


@pytest.fixture
def tokenizers(gateway):
    return TokenizerServiceStub(gateway.channel)


@pytest.fixture
def generations(gateway):
    return GenerationServiceStub(gateway.channel)


@pytest.fixture
async def over(postgres, tokenizer_address):
    """Gateways over chosen generation services."""
    leave = asyncio.Event()
    tasks = []

    async def over(*addresses):
        ready = asyncio.get_running_loop().create_future()

        async def run():
            chosen = settings(postgres.new_database(), tokenizer_address, addresses)
            async with gateway_here(chosen) as gateway:
                await gateway.until_serving()
                ready.set_result(gateway)
                await leave.wait()

        tasks.append(asyncio.create_task(run()))
        return await ready

    yield over
    leave.set()
    await asyncio.wait(tasks)


async def test_a_unary_call_reaches_the_tokenizer(tokenizers):
    encoded = await tokenizers.Encode(tokenizer.EncodeRequest(texts=["안녕"]), timeout=5)
    request = tokenizer.DecodeRequest(
        sequences=[tokens_pb2.TokenIds(token_ids=encoded.encodings[0].token_ids)]
    )
    assert list((await tokenizers.Decode(request, timeout=5)).texts) == ["안녕"]


async def test_an_error_comes_through_with_its_code_message_and_details(tokenizers):
    request = tokenizer.EncodeRequest(model="nobody", texts=["x"])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tokenizers.Encode(request, timeout=5, metadata=(("x-request-id", "mine"),))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    info = error_info(caught.value)
    assert info.reason == "TOKENIZER_NOT_FOUND"
    assert info.metadata["request_id"] == "mine"  # as the tokenizer knows it
    trailing = dict(caught.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailing[STATUS_KEY])
    kinds = [detail.TypeName() for detail in status.details]
    assert kinds == ["google.rpc.ErrorInfo", "google.rpc.ResourceInfo"]


async def test_a_stream_comes_through_and_cancelling_it_frees_the_engine(gateway, generations):
    request = generation.GenerateRequest(prompt=PROMPT, sampling=ON_AND_ON)
    call = generations.Generate(request, timeout=30)
    text = ""
    while len(text) < 10:
        text += (await call.read()).deltas[0].text
    call.cancel()
    await gateway.until_idle()


async def test_a_deadline_frees_the_engine(gateway, generations):
    request = generation.GenerateRequest(prompt=PROMPT, sampling=ON_AND_ON)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [_ async for _ in generations.Generate(request, timeout=1)]
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await gateway.until_idle()


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


async def test_a_batch_stream_comes_through(generations):
    call = generations.GenerateBatch(timeout=30)
    start = generation.GenerateRequest(request_id="r", prompt=PROMPT, sampling=BRIEF)
    await call.write(generation.GenerateBatchRequest(model=MODEL_NAME, start=start))
    await call.done_writing()
    items = [item async for response in call for item in response.items]
    assert {item.request_id for item in items} == {"r"}
    assert items[-1].response.HasField("finished")


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


async def test_a_backend_that_is_away_is_unavailable(over):
    gateway = await over(f"127.0.0.1:{free_port()}")
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
    assert await gateway.messages(conversation) == []


async def test_a_model_is_reached_at_the_backend_that_serves_it(over, generation_address):
    """The first backend is away; the second serves the model."""
    gateway = await over(f"127.0.0.1:{free_port()}", generation_address)
    stub = GenerationServiceStub(gateway.channel)
    request = generation.GenerateRequest(model=MODEL_NAME, prompt=PROMPT, sampling=BRIEF)
    responses = [response async for response in stub.Generate(request, timeout=30)]
    assert responses[-1].HasField("finished")
    named = generation.GetModelRequest(model=MODEL_NAME)
    assert (await stub.GetModel(named, timeout=5)).model.name == MODEL_NAME
    batch = stub.GenerateBatch(timeout=30)
    start = generation.GenerateRequest(request_id="r", prompt=PROMPT, sampling=BRIEF)
    await batch.write(generation.GenerateBatchRequest(model=MODEL_NAME, start=start))
    assert (await batch.read()).items
    batch.cancel()
    own = chat.ChatSettings(model=MODEL_NAME, sampling=BRIEF)
    answer = await gateway.ask(await gateway.conversation(), "x", settings=own)
    assert answer.model == MODEL_NAME
    # The default model is the first backend's, and nobody else's.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetModel(generation.GetModelRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_models_of_all_backends_are_listed_and_those_that_are_away_left_out(
    over, gateway, generation_address
):
    """Another gateway is a generation service too, by forwarding."""
    away, second = f"127.0.0.1:{free_port()}", f"127.0.0.1:{gateway.port}"
    request = generation.ListModelsRequest()
    stub = GenerationServiceStub((await over(generation_address, second)).channel)
    names = [model.name for model in (await stub.ListModels(request, timeout=5)).models]
    assert names.count(MODEL_NAME) == 2
    stub = GenerationServiceStub((await over(generation_address, away)).channel)
    names = [model.name for model in (await stub.ListModels(request, timeout=5)).models]
    assert names.count(MODEL_NAME) == 1


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
    numbers = [count.token_counts[0] for count in counts]
    assert numbers == sorted(set(numbers))
