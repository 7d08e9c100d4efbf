"""Gateways over real PostgreSQL, Valkey, tokenizer and vLLM."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import grpc
import pytest

from damso.tokenizer.v1 import tokenizer_pb2
from damso.tokenizer.v1.tokenizer_pb2_grpc import TokenizerServiceStub
from services.gateway.settings import Settings
from tests.conftest import MODEL_NAME, REPOSITORY
from tests.gateway.gateways import (
    Gateway,
    GatewayProcess,
    gateway_here,
    settings,
    start_process,
)
from tests.gateway.stores import Postgres, Valkey, free_port


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def tokenizer_address() -> Iterator[str]:
    """The real tokenizer service, in a process of its own."""
    directory = str(REPOSITORY / "var" / "models" / MODEL_NAME)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.tokenizer.server"],
        env={
            **os.environ,
            "TOKENIZER_SERVER__PORT": str(port),
            "TOKENIZER_SERVER__TELEMETRY_PORT": "0",
            "TOKENIZER_SERVER__DRAIN_SECONDS": "0",
            "TOKENIZER_MODELS": json.dumps({MODEL_NAME: directory}),
        },
    )
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = tokenizer_pb2.ListTokenizersRequest()
        TokenizerServiceStub(channel).ListTokenizers(request, timeout=60, wait_for_ready=True)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=30)


@pytest.fixture(scope="session")
def generation_address(request: pytest.FixtureRequest) -> str:
    """The real generation service: one that runs already, or the platform's."""
    if address := os.environ.get("DAMSO_TEST_GENERATION_ADDRESS"):
        return address
    platform = request.getfixturevalue("platform")
    return str(platform.generation_address)


@pytest.fixture
async def gateway(
    postgres: Postgres, valkey: Valkey, tokenizer_address: str, generation_address: str
) -> AsyncIterator[Gateway]:
    """A gateway with an empty database."""
    chosen = settings(postgres.new_database(), tokenizer_address, [generation_address], valkey.url)
    async with gateway_here(chosen) as running:
        await running.until_serving()
        yield running


@pytest.fixture
async def launch() -> AsyncIterator[Callable[[Settings], Awaitable[GatewayProcess]]]:
    """Starts gateways in processes of their own, none of which outlives its test."""
    launched: list[GatewayProcess] = []

    async def launch(chosen: Settings) -> GatewayProcess:
        launched.append(await start_process(chosen))
        return launched[-1]

    yield launch
    for process in launched:
        await process.kill()


@pytest.fixture
async def second(gateway: Gateway) -> AsyncIterator[Gateway]:
    """Another gateway on the same database and Valkey."""
    async with gateway_here(gateway.settings) as running:
        await running.until_serving()
        yield running
