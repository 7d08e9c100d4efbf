"""services/runtime/calls.py: what surrounds every call, whatever its handler does."""

import asyncio
import logging

import grpc
import grpc.aio
import pytest

from damso.tokenizer.v1 import tokenizer_pb2 as pb
from services.runtime import channels
from services.runtime.channels import REQUEST_ID_KEY
from services.runtime.status import error_info
from tests.runtime import probe
from tests.runtime.probe import SERVICE, Probe

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
ENCODE = pb.EncodeRequest(texts=["fox"])


async def request_id_of(call: grpc.aio.Call) -> str:
    return dict(await call.trailing_metadata())[REQUEST_ID_KEY]


async def test_a_callers_request_id_is_kept_and_returned(stub, service):
    call = stub.Encode(ENCODE, metadata=[(REQUEST_ID_KEY, "from-the-caller.1")])
    await call
    assert await request_id_of(call) == "from-the-caller.1"
    assert service.ended("Encode", "from-the-caller.1")["code"] == "OK"


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "<script>"])
async def test_a_call_without_a_usable_request_id_gets_one(stub, service, given):
    call = stub.Encode(ENCODE, metadata=[] if given is None else [(REQUEST_ID_KEY, given)])
    await call
    made = await request_id_of(call)
    assert len(made) == 32
    assert service.ended("Encode", made)["code"] == "OK"


async def test_a_failed_call_returns_its_request_id_too(stub, service):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Encode(pb.EncodeRequest(), metadata=[(REQUEST_ID_KEY, "failed-1")])
    assert dict(caught.value.trailing_metadata())[REQUEST_ID_KEY] == "failed-1"
    assert error_info(caught.value).metadata["request_id"] == "failed-1"
    line = service.ended("Encode", "failed-1")
    assert (line["code"], line["reason"]) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")


async def test_one_request_id_and_one_trace_follow_a_call_over_two_hops(channel, service):
    async with probe.serving(Probe(next_hop=channel)) as (_, front):
        call = front.Forward(
            b"/damso.tokenizer.v1.TokenizerService/Encode\n" + ENCODE.SerializeToString(),
            metadata=[(REQUEST_ID_KEY, "two-hops"), ("traceparent", TRACEPARENT)],
        )
        assert pb.EncodeResponse.FromString(await call).encodings[0].token_ids
        assert await request_id_of(call) == "two-hops"
    line = service.ended("Encode", "two-hops")
    assert line["trace_id"] == TRACE_ID


async def test_errors_of_the_second_hop_come_through_as_they_are(channel):
    async with probe.serving(Probe(next_hop=channel)) as (_, front):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await front.Forward(
                b"/damso.tokenizer.v1.TokenizerService/Decode\n"
                + pb.DecodeRequest(sequences=[{"token_ids": [-1]}]).SerializeToString()
            )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(caught.value).reason == "TOKEN_ID_OUT_OF_RANGE"
    assert error_info(caught.value).metadata["field"] == "sequences[0].token_ids[0]"


async def test_a_call_without_a_deadline_gets_the_default():
    async with probe.serving(Probe(), unary_deadline_seconds=0.1) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Wait(b"")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error_info(caught.value).reason == "DEADLINE_EXCEEDED"
    assert "0.1 s" in caught.value.details()


async def test_a_stream_without_a_deadline_gets_the_default_of_streams():
    asked = Probe()
    async with probe.serving(asked, stream_deadline_seconds=0.1) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stub.Count(b"10"):
                pass
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await asked.closed.wait()


async def test_a_stream_that_nobody_reads_ends_at_its_deadline_too():
    asked = Probe()
    async with probe.serving(asked, stream_deadline_seconds=0.1, drain_seconds=0.1) as (_, stub):
        call = stub.Count(str(1 << 20).encode())
        await call.read()
        async with asyncio.timeout(5):
            await asked.closed.wait()


async def test_a_callers_deadline_holds_instead_of_the_default():
    asked = Probe()
    before = probe.handled("Wait", grpc.StatusCode.DEADLINE_EXCEEDED)
    async with probe.serving(asked, unary_deadline_seconds=0.01) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Wait(b"", timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await asked.closed.wait()
    assert probe.handled("Wait", grpc.StatusCode.DEADLINE_EXCEEDED) == before + 1


async def test_what_remains_of_a_deadline_is_what_the_next_hop_gets():
    asked = Probe()
    async with (
        probe.serving(asked) as (second, _),
        channels.open_channel(f"127.0.0.1:{second.port}") as next_hop,
        probe.serving(Probe(next_hop), unary_deadline_seconds=2) as (_, front),
    ):
        # The first hop gives the second 5 s, or what its own caller has left.
        for given, most in ((None, 2), (1, 1), (60, 5)):
            left = float(await front.Forward(f"/{SERVICE}/TimeLeft\n".encode(), timeout=given))
            assert 0 < left <= most * 1.1  # gRPC rounds up what it sends
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await front.Forward(f"/{SERVICE}/Wait\n".encode(), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(2):
            await asked.closed.wait()


@pytest.mark.parametrize("size", [10, 1 << 20])
async def test_a_caller_that_goes_away_closes_the_generator_within_the_call(size):
    asked = Probe()
    before = probe.handled("Count", grpc.StatusCode.CANCELLED)
    async with probe.serving(asked) as (_, stub):
        call = stub.Count(str(size).encode())
        await call.read()  # and no more: flow control soon holds the handler in a write
        call.cancel()
        async with asyncio.timeout(5):
            await asked.closed.wait()
    assert asked.closed_in_call
    assert probe.handled("Count", grpc.StatusCode.CANCELLED) == before + 1


@pytest.mark.parametrize("size", [10, 1 << 20])
async def test_a_write_in_a_task_group_whose_caller_has_gone_is_no_fault(caplog, size):
    asked = Probe()
    before = probe.handled("CountInTasks", grpc.StatusCode.CANCELLED)
    async with probe.serving(asked) as (_, stub):
        call = stub.CountInTasks(str(size).encode())
        await call.read()
        call.cancel()
        async with asyncio.timeout(5):
            await asked.closed.wait()
    assert probe.handled("CountInTasks", grpc.StatusCode.CANCELLED) == before + 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_error_in_a_task_group_comes_as_itself():
    async with probe.serving(Probe()) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.FailInTasks(b"")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(caught.value).metadata["resource_name"] == "x"


async def test_a_handler_that_fails_while_its_caller_goes_away_harms_nothing(caplog):
    asked = Probe()
    async with probe.serving(asked) as (_, stub):
        call = stub.FailWhenCancelled(b"")
        assert await call.read() == b"first"
        call.cancel()
        async with asyncio.timeout(5):
            await asked.closed.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Fail(b"still answered")
    assert not [record for record in caplog.records if record.name.startswith(("grpc", "asyncio"))]


async def test_an_error_in_mid_stream_comes_after_what_was_sent():
    async with probe.serving(Probe()) as (_, stub):
        call = stub.FailLate(b"first")
        assert await call.read() == b"first"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(caught.value).metadata["resource_name"] == "x"


async def test_a_fault_tells_the_caller_nothing_and_the_log_where_it_was(caplog):
    caplog.set_level(logging.INFO)
    async with probe.serving(Probe()) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Fail(b"a secret")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "internal error"
    assert "secret" not in str(caught.value.trailing_metadata())
    (record,) = [record for record in caplog.records if record.message == "call failed"]
    assert record.error_type == "ValueError"
    assert any("probe.py" in place for place in record.stack)
    assert "a secret" not in str([vars(record) for record in caplog.records])


async def test_a_timeout_of_the_handlers_own_is_a_fault_and_not_the_callers_deadline():
    async with probe.serving(Probe()) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.TimeOutItself(b"")
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_unknown_methods_and_services_are_unimplemented(channel):
    for method in ("/damso.tokenizer.v1.TokenizerService/NoSuch", "/no.such.Service/Method"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(method)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_calls_beyond_the_limit_are_refused_at_once():
    async with probe.serving(Probe(), max_concurrent_calls=2) as (_, stub):
        running = [stub.Count(b"1") for _ in range(2)]
        for call in running:
            await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Fail(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in running:
            call.cancel()


async def test_a_message_above_the_limit_is_refused_by_grpc_and_the_server_goes_on():
    async with probe.serving(Probe(), max_request_bytes=1000) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Fail(b"x" * 1001, timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Fail(b"x" * 900, timeout=5)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
