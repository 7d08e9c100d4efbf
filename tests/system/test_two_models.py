"""Two base models side by side, each by its own process, and what the supervisor restarts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from damso.chat.v1 import chat_pb2 as pb
from damso.chat.v1.chat_pb2_grpc import ChatServiceStub
from damso.generation.v1 import generation_pb2
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from launcher.places import Places
from launcher.supervisor import Supervisor
from tests.conftest import MODEL_NAME, REPOSITORY, Platform

PROGRAMS = ("postgres", "valkey", "tokenizer", "generation", "generation-2", "gateway")
OTHER = "Other-Model"


@dataclass(frozen=True)
class Pair:
    """A platform with two models and without pages."""

    platform: Platform
    environment: dict[str, str]

    def launcher(self, *command: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "launcher", *command],
            cwd=REPOSITORY,
            env=self.environment,
            check=True,
        )

    def kill(self, program: str) -> None:
        """As the kernel does when memory is short."""
        pid = Supervisor(Places(self.platform.var)).states()[program].pid
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("pair")
    model = REPOSITORY / "var" / "models" / MODEL_NAME
    other: Path = directory / OTHER
    other.symlink_to(model)  # the same weights under another name are another model to serve
    started = Pair(
        Platform(directory / "var", port_offset=8300),
        {
            **os.environ,
            "DAMSO_VAR": str(directory / "var"),
            "DAMSO_PORT_OFFSET": "8300",
            "DAMSO_MODEL": f"{model},{other}",
        },
    )
    try:
        started.launcher("up", *PROGRAMS)
        yield started
    finally:
        started.launcher("down")


@pytest.fixture
def channel(pair: Pair) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(pair.platform.gateway_address) as opened:
        yield opened


def ask(channel: grpc.Channel, conversation_id: str) -> pb.ChatMessage:
    request = pb.SendMessageRequest(conversation_id=conversation_id, content="Say hello.")
    *_, last = ChatServiceStub(channel).SendMessage(request, timeout=120, wait_for_ready=True)
    return last.event.finished.message


def new_conversation(channel: grpc.Channel, model: str) -> str:
    request = pb.CreateConversationRequest(
        settings=pb.ChatSettings(model=model, sampling={"max_tokens": 4})
    )
    return ChatServiceStub(channel).CreateConversation(request, timeout=20).conversation.id


@pytest.mark.slow
def test_each_model_answers_under_its_name(channel):
    listed = GenerationServiceStub(channel).ListModels(generation_pb2.ListModelsRequest())
    assert [model.name for model in listed.models] == [MODEL_NAME, OTHER]
    for name in (MODEL_NAME, OTHER):
        assert ask(channel, new_conversation(channel, name)).model == name


@pytest.mark.slow
def test_what_is_killed_comes_back_and_nothing_is_lost(pair, channel):
    conversation = new_conversation(channel, OTHER)
    before = ask(channel, conversation)
    for program in ("gateway", "tokenizer", "generation-2"):
        pair.kill(program)
    pair.launcher("up", *PROGRAMS)  # waits until all are ready again
    request = pb.ListMessagesRequest(conversation_id=conversation)
    kept = ChatServiceStub(channel).ListMessages(request, timeout=20, wait_for_ready=True)
    assert kept.messages[0].content == before.content
    assert ask(channel, conversation).state == pb.ChatMessage.STATE_COMPLETE
