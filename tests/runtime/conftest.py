"""The tokenizer service as a process, shared by the tests that do not stop it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest

from damso.tokenizer.v1 import tokenizer_pb2_grpc
from services.runtime import channels
from tests.runtime import process
from tests.runtime.process import ServiceProcess


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a throwaway tokenizer."""
    return process.saved_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def service(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The service in a process of its own."""
    log = tmp_path_factory.mktemp("log") / "tokenizer.log"
    with process.started(model, log) as running:
        yield running


@pytest.fixture(scope="session")
async def channel(service: ServiceProcess) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to it."""
    async with channels.open_channel(service.address) as opened:
        yield opened


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> tokenizer_pb2_grpc.TokenizerServiceStub:
    """Its own methods."""
    return tokenizer_pb2_grpc.TokenizerServiceStub(channel)
