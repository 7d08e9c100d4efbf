"""services/runtime/channels.py, deadlines.py: calls to other services."""

import asyncio

import grpc
import grpc.aio
import pytest

from damso.tokenizer.v1 import tokenizer_pb2 as pb
from damso.tokenizer.v1 import tokenizer_pb2_grpc
from services.runtime import channels, deadlines, logs
from services.runtime.errors import Unavailable
from services.runtime.status import from_rpc_error
from tests.runtime import process

SERVICE = "damso.tokenizer.v1.TokenizerService"
ENCODE = pb.EncodeRequest(texts=["fox"])


async def test_an_idempotent_call_survives_a_restart_of_the_service(model, tmp_path):
    port = process.free_port()
    async with channels.open_channel(f"127.0.0.1:{port}", [(SERVICE, "Encode")]) as channel:
        stub = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
        with process.started(model, tmp_path / "log", port):
            before = await stub.Encode(ENCODE)
        # It is gone, killed, and the call begins before the next one listens.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CountTokens(pb.CountTokensRequest(texts=["fox"]), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        during = asyncio.ensure_future(stub.Encode(ENCODE, timeout=20))
        restart = process.started(model, tmp_path / "log", port)
        await asyncio.to_thread(restart.__enter__)
        try:
            assert (await during) == before
        finally:
            restart.__exit__(None, None, None)


async def test_a_service_that_is_not_there_is_said_to_be_unreachable():
    async with channels.open_channel(f"127.0.0.1:{process.free_port()}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await tokenizer_pb2_grpc.TokenizerServiceStub(channel).Encode(ENCODE, timeout=5)
    error = from_rpc_error(caught.value)
    assert isinstance(error, Unavailable)
    assert "cannot be reached" in error.message


async def test_outside_a_call_a_call_has_its_own_limit_and_no_id():
    assert channels.outgoing(5)["timeout"] == 5
    assert channels.outgoing(None)["timeout"] is None
    assert channels.REQUEST_ID_KEY not in dict(channels.outgoing(5)["metadata"])


async def test_within_a_call_a_call_has_its_id_and_the_smaller_limit():
    async def call() -> None:
        logs.request_id.set("a-call")
        deadlines.begin(3)
        assert dict(channels.outgoing(5)["metadata"])[channels.REQUEST_ID_KEY] == "a-call"
        for options in (channels.outgoing(5), channels.outgoing(None)):
            assert 2.5 < options["timeout"] <= 3
        assert channels.outgoing(1)["timeout"] == 1
        deadlines.begin(-1)
        assert channels.outgoing(5)["timeout"] == 0
        deadlines.begin(None)
        assert channels.outgoing(None)["timeout"] is None

    await asyncio.create_task(call())
