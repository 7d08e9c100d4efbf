"""Gateways to test: in this process, or in one of their own that can be killed."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr

from damso.chat.v1 import chat_pb2 as pb
from damso.chat.v1.chat_pb2_grpc import ChatServiceStub
from damso.generation.v1 import generation_pb2
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from damso.type.v1 import sampling_pb2
from services.gateway.server import serving
from services.gateway.settings import Settings
from services.runtime.settings import ServerSettings

REDIS_NOWHERE = "redis://127.0.0.1:1/0"

ANSWER = "0 1 2 3 4 5 6 7 8 9"


def saying(text: str) -> pb.ChatSettings:
    """Settings by which the model can say one thing only."""
    choices = sampling_pb2.Choices(choices=[text])
    return pb.ChatSettings(sampling=sampling_pb2.SamplingParams(choices=choices))


def talking(tokens: int) -> pb.ChatSettings:
    """Settings by which the model goes on for so many tokens, about 20 a second."""
    return pb.ChatSettings(sampling=sampling_pb2.SamplingParams(max_tokens=tokens, ignore_eos=True))


ON_AND_ON = talking(1000)
A_WHILE = talking(40)


@dataclass(frozen=True)
class Gateway:
    """One that listens."""

    channel: grpc.aio.Channel
    port: int
    settings: Settings

    @property
    def chat(self) -> ChatServiceStub:
        return ChatServiceStub(self.channel)

    async def conversation(self, **fields) -> pb.Conversation:
        """A new one, in which the model says `ANSWER` unless `settings` say otherwise."""
        fields.setdefault("settings", saying(ANSWER))
        request = pb.CreateConversationRequest(**fields)
        return (await self.chat.CreateConversation(request, timeout=10)).conversation

    async def ask(self, conversation: pb.Conversation, content: str, **fields) -> pb.ChatMessage:
        """The answer to a message."""
        request = pb.SendMessageRequest(conversation_id=conversation.id, content=content, **fields)
        return (await events_of(self.chat.SendMessage(request, timeout=60)))[-1].finished.message

    async def messages(self, conversation: pb.Conversation, leaf: str = "") -> list[pb.ChatMessage]:
        """A branch, from its root."""
        request = pb.ListMessagesRequest(
            conversation_id=conversation.id, leaf_message_id=leaf, page_size=500
        )
        return [*reversed((await self.chat.ListMessages(request, timeout=10)).messages)]

    async def begin(
        self,
        conversation: pb.Conversation,
        settings: pb.ChatSettings = ON_AND_ON,
        timeout: float = 60,
        **options,
    ) -> "Begun":
        """Sends a message and waits until the answer's first words have come."""
        request = pb.SendMessageRequest(
            conversation_id=conversation.id,
            content="Tell me a long story.",
            settings=settings,
            options=pb.TurnOptions(**options),
        )
        call = self.chat.SendMessage(request, timeout=timeout)
        events = []
        async for response in call:
            events.append(response.event)
            if response.event.HasField("delta"):
                return Begun(call, events)
        raise AssertionError("the turn ended before its first words")

    def attach(self, message_id: str, offset: int = 0, **fields):
        """Follows a turn."""
        request = pb.AttachTurnRequest(message_id=message_id, offset=offset, **fields)
        return self.chat.AttachTurn(request, timeout=60)

    async def stored(self, message_id: str) -> pb.ChatMessage:
        """A message as it is kept in the end."""
        return (await events_of(self.attach(message_id)))[-1].finished.message

    async def until_idle(self) -> None:
        """Waits until nothing runs or waits in the engine, a few seconds at most."""
        stub = GenerationServiceStub(self.channel)
        async with asyncio.timeout(8):
            busy = 1
            while busy:
                load = await stub.GetLoad(generation_pb2.GetLoadRequest(), timeout=5)
                busy = load.running_count + load.waiting_count

    async def until_serving(self, serving: bool = True) -> None:
        """Waits until its health says so."""
        wanted = (
            health_pb2.HealthCheckResponse.SERVING
            if serving
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        stub = health_pb2_grpc.HealthStub(self.channel)
        request = health_pb2.HealthCheckRequest()
        async for response in stub.Watch(request, timeout=30, wait_for_ready=True):
            if response.status == wanted:
                return


@dataclass(frozen=True)
class Begun:
    """A turn whose first words have come."""

    call: grpc.aio.UnaryStreamCall
    events: list[pb.TurnEvent]

    @property
    def id(self) -> str:
        return self.events[0].started.message.id

    @property
    def question(self) -> pb.ChatMessage:
        return self.events[0].started.user_message

    @property
    def text(self) -> str:
        return text_of(self.events)


async def events_of(call) -> list[pb.TurnEvent]:
    return [response.event async for response in call]


def text_of(events: Sequence[pb.TurnEvent]) -> str:
    return "".join(event.delta.text for event in events)


def kinds(events: Sequence[pb.TurnEvent]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


def settings(
    database_url: str,
    tokenizer: str,
    generation: Sequence[str],
    redis_url: str = REDIS_NOWHERE,
    port: int = 0,
) -> Settings:
    return Settings(
        server=ServerSettings(port=port, drain_seconds=0),
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        tokenizer_address=tokenizer,
        generation_addresses=tuple(generation),
        turn_seconds=120,
    )


@asynccontextmanager
async def gateway_here(settings: Settings) -> AsyncIterator[Gateway]:
    """A gateway in this process."""
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def run() -> None:  # fixtures are set up and torn down by different tasks
        async with serving(settings) as port:
            ready.set_result(port)
            await leave.wait()

    task = asyncio.create_task(run())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ready.result()}") as channel:
        gateway = Gateway(channel, ready.result(), settings)
        yield gateway
    leave.set()
    await task


class GatewayProcess:
    """A gateway in a process of its own."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port

    async def kill(self) -> None:
        """Ends it as a crash would, at once."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


async def start_process(settings: Settings) -> GatewayProcess:
    environment = {
        **os.environ,
        "GATEWAY_SERVER__PORT": str(settings.server.port),
        "GATEWAY_SERVER__TELEMETRY_PORT": "0",
        "GATEWAY_SERVER__DRAIN_SECONDS": "0",
        "GATEWAY_DATABASE_URL": settings.database_url.get_secret_value(),
        "GATEWAY_REDIS_URL": settings.redis_url.get_secret_value() if settings.redis_url else "",
        "GATEWAY_TOKENIZER_ADDRESS": settings.tokenizer_address,
        "GATEWAY_GENERATION_ADDRESSES": json.dumps(settings.generation_addresses),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway.server", env=environment
    )
    return GatewayProcess(process, settings.server.port)
