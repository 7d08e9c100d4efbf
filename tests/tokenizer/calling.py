"""Calling a tokenizer service: one of its own for a test, and calls that have to fail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2

from damso.tokenizer.v1 import tokenizer_pb2_grpc
from services.runtime import channels
from services.runtime.status import error_info
from services.tokenizer import server
from services.tokenizer.loading import LoadedTokenizer
from services.tokenizer.settings import Settings


@asynccontextmanager
async def serving(
    found: LoadedTokenizer, **settings: float
) -> AsyncIterator[tokenizer_pb2_grpc.TokenizerServiceStub]:
    """A stub of a server of its own for one tokenizer."""
    bound = Settings(server={"port": 0}, models={"m": "m"}, **settings)
    async with (
        server.serving(bound, {"m": found}) as running,
        channels.open_channel(f"127.0.0.1:{running.port}") as channel,
    ):
        yield tokenizer_pb2_grpc.TokenizerServiceStub(channel)


async def refused(
    call, code: grpc.StatusCode, reason: str, field: str = ""
) -> grpc.aio.AioRpcError:
    """Awaits a call that has to fail like this."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = error_info(caught.value)
    assert (caught.value.code(), info.reason) == (code, reason)
    if field:
        assert info.metadata["field"] == field
        assert field in caught.value.details()
    return caught.value


def details_of(error: grpc.aio.AioRpcError, kind):
    """The details of one kind that a failed call has."""
    (packed,) = [v for k, v in error.trailing_metadata() if k == "grpc-status-details-bin"]
    for detail in status_pb2.Status.FromString(packed).details:
        if detail.Unpack(kind):
            yield kind
