"""Builds the gateway and runs it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from damso.chat.v1 import chat_pb2
from damso.chat.v1.chat_pb2_grpc import add_ChatServiceServicer_to_server
from services.gateway import wire
from services.gateway.answering import Answering
from services.gateway.chat import Chat
from services.gateway.clients import (
    GENERATION,
    TOKENIZER,
    GenerationClient,
    TokenizerClient,
    open_generation_channel,
    open_tokenizer_channel,
)
from services.gateway.export import Exports
from services.gateway.feedback import FeedbackStore
from services.gateway.following import Following
from services.gateway.forwarding import Forwarder, connections
from services.gateway.imports import Imports
from services.gateway.live_copy import copying
from services.gateway.models import Models
from services.gateway.ownership import Notices, Ownership, new_owner
from services.gateway.saving import checkpoint
from services.gateway.search import Search
from services.gateway.servicer import ChatServicer
from services.gateway.settings import Settings
from services.gateway.store import Store
from services.gateway.turn_store import TurnStore
from services.gateway.turns import Turns
from services.runtime import database, server

CHAT = chat_pb2.DESCRIPTOR.services_by_name["ChatService"].full_name
MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA = "gateway"


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[int]:
    """Serves until the block is left, then drains. Yields the bound port.

    It listens from the start, and is SERVING as long as the database answers.
    """
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with AsyncExitStack() as stack:
        data = await stack.enter_async_context(
            database.opened(settings.database_url.get_secret_value(), settings.database_connections)
        )
        to_tokenizer = await stack.enter_async_context(
            open_tokenizer_channel(settings.tokenizer_address)
        )
        to_generation = {
            address: await stack.enter_async_context(open_generation_channel(address))
            for address in settings.generation_addresses
        }
        generation = {
            address: GenerationClient(channel) for address, channel in to_generation.items()
        }
        models = Models({address: client.list_models for address, client in generation.items()})
        owner = new_owner()
        store, turn_store, notices = Store(data), TurnStore(data, owner), Notices(data)
        # What outlives the turns, so that they are saved, followed and owned to their end.
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks: list[asyncio.Task[None]] = []
        stack.callback(lambda: [task.cancel() for task in tasks])
        turns = await stack.enter_async_context(Turns())
        copy = await stack.enter_async_context(copying(redis_url, turns.all))
        answering = Answering(
            turn_store,
            turns,
            models,
            TokenizerClient(to_tokenizer),
            generation,
            default_sampling=settings.chat_sampling,
            turn_seconds=settings.turn_seconds,
            describe=wire.describe,
        )
        chat = ChatServicer(
            store,
            Chat(store, turn_store, answering),
            Following(store, turns, copy, notices),
            Search(data),
            FeedbackStore(data),
            Exports(data),
            Imports(data, wire.normal_sampling),
        )

        async def address_of(model: str) -> str:
            return (await models.find(model)).address

        running = await stack.enter_async_context(
            server.running(
                settings.server,
                {
                    CHAT: partial(add_ChatServiceServicer_to_server, chat),
                    TOKENIZER.full_name: Forwarder(TOKENIZER, {"": to_tokenizer}).register,
                    GENERATION.full_name: Forwarder(GENERATION, to_generation, address_of).register,
                },
                connections=connections(TOKENIZER, GENERATION),
                serving=False,
            )
        )
        ownership = Ownership(
            data,
            owner,
            prepare=partial(data.migrate, MIGRATIONS, SCHEMA),
            sweep=lambda: turn_store.interrupt_abandoned([turn.message_id for turn in turns.all()]),
            on_stop=turns.stop,
            on_keep=turns.keep,
            on_change=running.set_serving,
        )
        background = (ownership.hold(), checkpoint(turn_store, turns.all), models.refresh())
        tasks.extend(group.create_task(work) for work in background)
        try:
            yield running.port
        finally:
            turns.cut_off()


async def main() -> None:
    """Serves until it is told to stop."""
    async with serving(Settings()):
        await server.until_signalled()


if __name__ == "__main__":
    server.run("gateway", main)
