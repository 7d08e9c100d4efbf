"""`GenerateBatch` and `Abort` through the service's door."""

import asyncio
from collections import defaultdict

import grpc.aio
import pytest

from damso.generation.v1 import generation_pb2 as pb
from damso.type.v1 import completion_pb2
from services.runtime.status import error_info
from tests.generation.replies import FRANCE, text, token_ids

ABORT = completion_pb2.FINISH_REASON_ABORT


def start(request_id, prompt=FRANCE, **sampling):
    request = pb.GenerateRequest(
        request_id=request_id,
        prompt=pb.Content(text=prompt),
        sampling={"temperature": 0, "max_tokens": 8, "ignore_eos": True} | sampling,
    )
    return pb.GenerateBatchRequest(start=request)


async def collect(call):
    """What each request got, its failure last, and how many messages it took."""
    got, messages = defaultdict(list), 0
    async for message in call:
        messages += 1
        assert len({item.request_id for item in message.items}) == len(message.items) > 0
        for item in message.items:
            got[item.request_id].append(item.failure if item.HasField("failure") else item.response)
    return got, messages


async def test_many_completions_share_a_message_per_step(generation, complete):
    commands = [start(f"r{number}", f"{number} {FRANCE}") for number in range(16)]
    got, messages = await collect(generation.GenerateBatch(iter(commands), timeout=120))
    assert len(got) == 16
    for number in range(16):
        responses = got[f"r{number}"]
        assert len(token_ids(responses)) == 8
        assert responses[-1].finished.usage.completion_tokens == 8
    # One message per token and request would be 128.
    assert messages < 40
    single = await complete(f"3 {FRANCE}", temperature=0, max_tokens=8, ignore_eos=True)
    assert text(got["r3"]) == text(single)


async def test_a_request_that_fails_is_reported_and_the_others_go_on(generation):
    commands = [
        start("good"),
        start("hot", temperature=9),
        start("broken", regex="(["),
        start("long", "word " * 4000),
        pb.GenerateBatchRequest(start=pb.GenerateRequest(request_id="empty")),
        pb.GenerateBatchRequest(
            start=pb.GenerateRequest(request_id="lost", model="nobody", prompt=pb.Content(text="a"))
        ),
    ]
    got, _ = await collect(generation.GenerateBatch(iter(commands), timeout=60))
    assert len(token_ids(got["good"])) == 8
    reasons = {name: got[name][-1].reason for name in got if name != "good"}
    assert reasons == {
        "hot": "INVALID_ARGUMENT",
        "broken": "STRUCTURE_INVALID",
        "long": "CONTEXT_LENGTH_EXCEEDED",
        "empty": "INVALID_ARGUMENT",
        "lost": "MODEL_NOT_FOUND",
    }
    assert got["hot"][-1].metadata["field"] == "sampling.temperature"


async def test_a_request_is_aborted_by_its_id_on_the_stream(generation):
    call = generation.GenerateBatch(timeout=60)
    await call.write(start("short"))
    await call.write(start("endless", max_tokens=2000))
    await call.write(pb.GenerateBatchRequest(abort_request_id="nobody"))
    await call.read()
    await call.write(pb.GenerateBatchRequest(abort_request_id="endless"))
    await call.done_writing()
    got = defaultdict(list)
    while (message := await call.read()) is not grpc.aio.EOF:
        for item in message.items:
            got[item.request_id].append(item.response)
    assert got["short"][-1].HasField("finished")
    assert got["endless"][-1].deltas[0].finish_reason == ABORT
    assert got["endless"][-1].finished.usage.completion_tokens < 1000


@pytest.mark.parametrize(
    ("commands", "field"),
    [
        ([start("same", max_tokens=200), start("same")], "start.request_id"),
        ([start("")], "start.request_id"),
        ([pb.GenerateBatchRequest()], "start"),
    ],
)
async def test_a_command_that_breaks_the_rules_ends_the_stream(generation, commands, field):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(generation.GenerateBatch(iter(commands), timeout=60))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(caught.value).metadata["field"] == field


async def test_an_unknown_model_in_the_first_message_ends_the_stream(generation):
    command = start("lost")
    command.model = "nobody"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(generation.GenerateBatch(iter([command]), timeout=60))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(caught.value).reason == "MODEL_NOT_FOUND"


async def test_a_stream_without_requests_ends_at_once(generation):
    got, messages = await collect(generation.GenerateBatch(iter(()), timeout=5))
    assert (dict(got), messages) == ({}, 0)


async def test_abort_ends_a_stream_with_its_reason_and_names_what_ran(generation):
    request = pb.GenerateRequest(
        request_id="to-abort",
        prompt=pb.Content(text=FRANCE),
        sampling={"temperature": 0, "ignore_eos": True},
    )
    call = generation.Generate(request, timeout=60)
    responses = aiter(call)
    await anext(responses)
    aborted = await generation.Abort(pb.AbortRequest(request_ids=["to-abort", "not-there"]))
    assert list(aborted.aborted_request_ids) == ["to-abort"]
    rest = [response async for response in responses]
    assert rest[-1].deltas[0].finish_reason == ABORT
    assert rest[-1].HasField("finished")


@pytest.mark.parametrize("ids", [[], ["x"] * 1025])
async def test_abort_takes_1_to_1024_ids(generation, ids):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generation.Abort(pb.AbortRequest(request_ids=ids))
    assert error_info(caught.value).metadata["field"] == "request_ids"


async def test_a_batch_takes_more_while_it_runs(generation):
    sent = asyncio.Event()

    async def commands():
        yield start("first", max_tokens=12)
        await sent.wait()
        yield start("second")

    got = defaultdict(list)
    async for message in generation.GenerateBatch(commands(), timeout=60):
        sent.set()
        for item in message.items:
            got[item.request_id].append(item.response)
    assert len(token_ids(got["first"])) == 12
    assert len(token_ids(got["second"])) == 8
