"""Who goes away, who never reads and who comes too many at once."""

import asyncio
import random

import grpc.aio
import pytest

from damso.generation.v1 import generation_pb2 as pb
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from services.runtime.status import error_info
from tests.generation.replies import FRANCE, text


def endless(number=0, **sampling):
    return pb.GenerateRequest(
        prompt=pb.Content(text=f"{number} {FRANCE}"),
        sampling={"temperature": 0, "ignore_eos": True} | sampling,
    )


async def drain(call):
    return [response async for response in call]


async def test_after_200_cancels_at_random_times_nothing_runs_or_waits(generation, idle):
    times = random.Random(5)

    async def one(number):
        call = generation.Generate(endless(number), timeout=120)
        try:
            async with asyncio.timeout(times.uniform(0, 1.5)):
                await drain(call)
        except TimeoutError:
            call.cancel()

    async with asyncio.TaskGroup() as tasks:
        for number in range(200):
            tasks.create_task(one(number))
    load = await idle()
    assert load.kv_cache_usage == 0


async def test_a_cancel_frees_the_engine_within_two_steps(generation, idle):
    await idle()
    watched = generation.Generate(endless(1), timeout=60)
    steps = aiter(watched)
    await anext(steps)
    cancelled = generation.Generate(endless(2), timeout=60)
    await anext(aiter(cancelled))
    await anext(steps)
    assert (await generation.GetLoad(pb.GetLoadRequest())).running_count == 2
    cancelled.cancel()
    for _ in range(3):  # the step under way, and two more
        await anext(steps)
    assert (await generation.GetLoad(pb.GetLoadRequest())).running_count == 1
    watched.cancel()
    await idle()


async def test_a_passed_deadline_frees_the_engine(generation, idle):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drain(generation.Generate(endless(), timeout=0.5))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await idle()


async def test_a_cancelled_batch_frees_the_engine(generation, idle):
    commands = []
    for number in range(8):
        request = endless(number)
        request.request_id = f"batched-{number}"
        commands.append(pb.GenerateBatchRequest(start=request))
    call = generation.GenerateBatch(iter(commands), timeout=60)
    await anext(aiter(call))
    call.cancel()
    await idle()


async def test_a_client_that_is_gone_frees_the_engine(service, idle):
    channel = grpc.aio.insecure_channel(service.address)
    call = GenerationServiceStub(channel).Generate(endless(), timeout=60)
    await anext(aiter(call))
    await channel.close()
    await idle()


async def test_a_client_that_never_reads_disturbs_nobody(service, complete, idle):
    options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(service.address, options=options) as channel:
        stub = GenerationServiceStub(channel)
        calls = [
            stub.Generate(endless(number, logprobs=400, max_tokens=320), timeout=120)
            for number in range(2)
        ]
        for call in calls:
            await call.read()
        for _ in range(5):
            reply = await complete(FRANCE, temperature=0, max_tokens=8)
            assert text(reply) == "The capital of France is Paris."
        for call in calls:
            call.cancel()
    await idle()


async def test_a_full_queue_is_refused_at_once_and_says_when_to_come_back(generation, idle):
    load = await idle()
    most = load.max_running_count + load.max_waiting_count
    calls = [
        asyncio.create_task(drain(generation.Generate(endless(number), timeout=120)))
        for number in range(most + 20)
    ]
    refusals = []
    async with asyncio.timeout(60):
        while len(refusals) < 20:
            done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            refusals += [task.exception() for task in done]
            calls = [task for task in calls if task not in done]
    for error in refusals:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error_info(error).reason == "QUEUE_FULL"
        assert error_info(error).metadata["max_waiting_count"] == str(load.max_waiting_count)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await idle()


async def test_admission_counts_every_completion_of_a_request(generation, idle):
    load = await idle()
    most = load.max_running_count + load.max_waiting_count
    calls = [
        asyncio.create_task(
            drain(generation.Generate(endless(number, n=64, temperature=1), timeout=120))
        )
        for number in range(most // 64 + 1)
    ]
    async with asyncio.timeout(60):
        done, running = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert [error_info(task.exception()).reason for task in done] == ["QUEUE_FULL"]
    for call in running:
        call.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await idle()
