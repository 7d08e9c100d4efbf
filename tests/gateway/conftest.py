"""Gateways over real PostgreSQL, Valkey and tokenizer.

Most tests answer by the counting generation service (`counting.py`), whose words a test lets out one
by one; `test_engine.py` answers by vLLM.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator

import grpc.aio
import pytest
from damso.tokenizer.v1 import tokenizer_pb2
from damso.tokenizer.v1.tokenizer_pb2_grpc import TokenizerServiceStub

from tests.conftest import MODEL_NAME, REPOSITORY
from tests.gateway.counting import MODEL, CountingServicer, counting
from tests.gateway.gateways import Gateway, gateway_here, settings
from tests.gateway.stores import Postgres, Valkey, free_port


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("stores") / "postgres")
    yield server
    server.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.kill()


@pytest.fixture(scope="session")
async def tokenizer_address() -> AsyncIterator[str]:
    """The real tokenizer service, in a process of its own."""
    directory = str(REPOSITORY / "var" / "models" / MODEL_NAME)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.tokenizer.server",
        env={
            **os.environ,
            "TOKENIZER_SERVER__PORT": str(port),
            "TOKENIZER_SERVER__TELEMETRY_PORT": "0",
            "TOKENIZER_MODELS": json.dumps({MODEL_NAME: directory, MODEL: directory}),
        },
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = tokenizer_pb2.ListTokenizersRequest()
        await TokenizerServiceStub(channel).ListTokenizers(
            request, timeout=60, wait_for_ready=True
        )
    yield f"127.0.0.1:{port}"
    process.terminate()
    await process.wait()


@pytest.fixture
async def counter() -> AsyncIterator[tuple[CountingServicer, str]]:
    """A counting generation service and its address."""
    async with counting() as running:
        yield running


@pytest.fixture
async def gateway(
    postgres: Postgres,
    valkey: Valkey,
    tokenizer_address: str,
    counter: tuple[CountingServicer, str],
) -> AsyncIterator[Gateway]:
    """A gateway with an empty database, whose model counts."""
    chosen = settings(postgres.new_database(), tokenizer_address, [counter[1]], valkey.url)
    async with gateway_here(chosen) as running:
        await running.until_serving()
        yield running


@pytest.fixture
def words(counter: tuple[CountingServicer, str]) -> CountingServicer:
    """The counting generation service itself."""
    return counter[0]


@pytest.fixture
async def second(gateway: Gateway) -> AsyncIterator[Gateway]:
    """Another gateway on the same database and Valkey."""
    async with gateway_here(gateway.settings) as running:
        await running.until_serving()
        yield running


@pytest.fixture(scope="session")
def generation_address(request: pytest.FixtureRequest) -> str:
    """The real generation service: one that runs already, or the platform's."""
    if address := os.environ.get("DAMSO_TEST_GENERATION_ADDRESS"):
        return address
    platform = request.getfixturevalue("platform")
    return str(platform.generation_address)
