"""Builds the tokenizer service and runs it: `python -m services.tokenizer.server`."""

import logging
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from damso.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc
from services.runtime import server
from services.runtime.server import RunningServer
from services.tokenizer import loading
from services.tokenizer.limits import Limits
from services.tokenizer.loading import LoadedTokenizer
from services.tokenizer.registry import Registry
from services.tokenizer.servicer import TokenizerServicer
from services.tokenizer.settings import Settings
from services.tokenizer.workers import Workers

SERVICE = tokenizer_pb2.DESCRIPTOR.services_by_name["TokenizerService"].full_name

logger = logging.getLogger(__name__)


@asynccontextmanager
async def serving(
    settings: Settings, loaded: Mapping[str, LoadedTokenizer]
) -> AsyncIterator[RunningServer]:
    """Serves until the block is left, then drains.

    Args:
        settings: Where, and how much.
        loaded: The tokenizers, by served model name.
    """
    limits = Limits(settings.max_text_bytes, settings.max_token_ids)
    with Workers.started(settings.threads, settings.max_waiting_calls) as workers:
        servicer = TokenizerServicer(Registry(loaded), limits, workers, settings.max_render_seconds)
        register = partial(tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server, servicer)
        async with server.running(
            settings.server,
            {SERVICE: register},
            # A decode stream lasts as long as the completion that it follows.
            connections=[f"/{SERVICE}/DecodeStream"],
        ) as running:
            yield running


def load(models: Mapping[str, str]) -> dict[str, LoadedTokenizer]:
    """Loads the tokenizer of each served model.

    Args:
        models: Served name → directory or hub id.

    Raises:
        TokenizerNotLoadable: One of them cannot be loaded.
    """
    loaded = {}
    for name, source in models.items():
        started = time.perf_counter()
        loaded[name] = loading.load(source)
        seconds = round(time.perf_counter() - started, 3)
        logger.info("tokenizer loaded", extra={"model": name, "duration_seconds": seconds})
    return loaded


async def main() -> None:
    """Serves the models of `TOKENIZER_MODELS` until a signal comes."""
    settings = Settings()
    # The library reads it when it first divides a batch.
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if settings.parallel_batches else "false"
    async with serving(settings, load(settings.models)):
        await server.until_signalled()


if __name__ == "__main__":
    server.run("tokenizer", main)
