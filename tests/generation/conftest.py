"""One engine for all tests of the service's door."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from damso.generation.v1 import generation_pb2 as pb
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from tests.generation.process import Running


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest) -> Running:
    """A ready service with the default model: the platform's.

    `DAMSO_TEST_GENERATION_ADDRESS` (`host:port`) names one that runs already, and
    `DAMSO_TEST_GENERATION_ADAPTER_ROOT` the directory that it loads adapters from.
    """
    if address := os.environ.get("DAMSO_TEST_GENERATION_ADDRESS"):
        running = Running(address, Path(os.environ.get("DAMSO_TEST_GENERATION_ADAPTER_ROOT", "")))
    else:
        platform = request.getfixturevalue("platform")
        running = Running(platform.generation_address, platform.adapter_root)
    running.wait_until_ready()
    return running


@pytest.fixture(scope="session")
async def channel(service: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(service.address) as opened:
        yield opened


@pytest.fixture(scope="session")
def generation(channel: grpc.aio.Channel) -> GenerationServiceStub:
    return GenerationServiceStub(channel)


Completed = Callable[..., Coroutine[Any, Any, list[pb.GenerateResponse]]]


@pytest.fixture(scope="session")
def complete(generation: GenerationServiceStub) -> Completed:
    """Runs one `Generate` to its end: `await complete("text" or ids, temperature=0, …)`."""

    async def run(prompt: str | list[int], **options: Any) -> list[pb.GenerateResponse]:
        fields = {
            name: options.pop(name)
            for name in ("model", "include_text", "stream_interval", "request_id", "cache_salt")
            if name in options
        }
        content = (
            pb.Content(text=prompt)
            if isinstance(prompt, str)
            else pb.Content(token_ids={"token_ids": prompt})
        )
        request = pb.GenerateRequest(prompt=content, sampling=options, **fields)
        return [response async for response in generation.Generate(request, timeout=120)]

    return run


@pytest.fixture
def idle(
    generation: GenerationServiceStub,
) -> Callable[[], Coroutine[Any, Any, pb.GetLoadResponse]]:
    """Asks `GetLoad` until nothing runs, waits or holds KV cache; gives the load."""

    async def wait() -> pb.GetLoadResponse:
        async with asyncio.timeout(20):
            while True:
                load = await generation.GetLoad(pb.GetLoadRequest())
                if not load.running_count and not load.waiting_count and not load.kv_cache_usage:
                    return load

    return wait
