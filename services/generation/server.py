"""Runs the generation service: listens at once, loads the engine behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from damso.generation.v1 import generation_pb2, generation_pb2_grpc
from services.generation import vllm_environment
from services.generation.host import EngineHost
from services.generation.servicer import GenerationServicer
from services.generation.settings import Settings
from services.runtime import server

SERVICE = generation_pb2.DESCRIPTOR.services_by_name["GenerationService"].full_name
_GRACE_SECONDS = 1.0
"""How long callers may still read why they fail, once the engine is dead."""


@asynccontextmanager
async def serving(settings: Settings, host: EngineHost) -> AsyncIterator[server.RunningServer]:
    """Serves until the block is left, then drains."""
    register = partial(
        generation_pb2_grpc.add_GenerationServiceServicer_to_server, GenerationServicer(host)
    )
    async with server.running(
        settings.server,
        {SERVICE: register},
        connections=[f"/{SERVICE}/GenerateBatch"],
        serving=False,
    ) as running:
        yield running


async def main() -> None:
    """Serves until a signal; ends the process with an error when the engine has died."""
    settings = Settings()
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    vllm_environment.prepare(settings.model, settings.engine.cpu_threads)
    host = EngineHost(
        settings.model,
        settings.served_name,
        settings.engine,
        state_dir=settings.state_dir,
        adapter_root=settings.adapter_root or settings.state_dir / "adapter_root",
    )
    engine: asyncio.Task[None] | None = None
    try:
        async with serving(settings, host) as running:
            engine = asyncio.create_task(host.run(running.set_serving))
            signalled = asyncio.create_task(server.until_signalled())
            await asyncio.wait({engine, signalled}, return_when=asyncio.FIRST_COMPLETED)
            if engine.done():
                await asyncio.sleep(_GRACE_SECONDS)
                raise SystemExit(1)
    finally:
        if engine is not None:  # watched to the end of the drain: batches wake when it dies
            engine.cancel()
        host.stop()


if __name__ == "__main__":
    server.run("generation", main)
