"""One message, from the page to the engine and back, and what each hop recorded of it."""

import urllib.request

import grpc.aio
import pytest

from damso.chat.v1 import chat_pb2 as pb
from damso.chat.v1.chat_pb2_grpc import ChatServiceStub
from damso.type.v1 import message_pb2
from tests.conftest import Platform

QUESTION = "What is the capital of France?"


def counted(platform: Platform, address: str, method: str) -> float:
    """How often a service has answered a method with OK, by its own telemetry."""
    with urllib.request.urlopen(platform.metrics_url(address)) as response:
        lines = response.read().decode().splitlines()
    label = f'method="{method}"'
    found = [
        line
        for line in lines
        if line.startswith('damso_rpc_handled_total{code="OK"') and label in line
    ]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


@pytest.fixture
async def chat(platform):
    async with grpc.aio.insecure_channel(platform.gateway_address) as channel:
        yield ChatServiceStub(channel)


async def test_one_message_is_recorded_by_every_hop(page, platform, chat):
    hops = {
        "gateway": (platform.gateway_address, "SendMessage"),
        "tokenizer": (platform.tokenizer_address, "RenderChat"),
        "generation": (platform.generation_address, "Generate"),
    }
    before = {name: counted(platform, *hop) for name, hop in hops.items()}

    await page.open()
    await page.ask(QUESTION)
    answer = await page.answers.first.inner_text()

    # The gateway kept question and answer, and the page shows what it kept.
    request = pb.ListMessagesRequest(conversation_id=page.conversation_id)
    kept_answer, kept_question = (await chat.ListMessages(request, timeout=10)).messages
    assert kept_question.content == QUESTION
    assert kept_question.role == message_pb2.ROLE_USER
    assert kept_answer.state == pb.ChatMessage.STATE_COMPLETE
    assert kept_answer.content.split()[0] in answer
    assert kept_answer.usage.completion_tokens > 0

    # Every hop counted one call, and logged it under one request id and one trace.
    assert {name: counted(platform, *hop) for name, hop in hops.items()} == {
        name: count + 1 for name, count in before.items()
    }
    calls = {}
    for name, (_, method) in hops.items():
        [*_, calls[name]] = [
            event
            for event in platform.log_events(name)
            if str(event.get("method", "")).endswith(f"/{method}")
        ]
    assert len({call["request_id"] for call in calls.values()}) == 1
    assert len({call["trace_id"] for call in calls.values()}) == 1
    assert {call["code"] for call in calls.values()} == {"OK"}
    request_id = calls["gateway"]["request_id"]
    sent = [e for e in platform.log_events("frontend") if e.get("request_id") == request_id]
    assert sent, "the page did not log the call that it made"

    # Nobody wrote down what was said.
    for name in (*hops, "frontend"):
        assert QUESTION not in (platform.var / "log" / f"{name}.log").read_text()


def test_vllm_and_damso_series_are_served_side_by_side(platform):
    with urllib.request.urlopen(platform.metrics_url(platform.generation_address)) as response:
        text = response.read().decode()
    for series in (
        "vllm:num_requests_running",
        "vllm:kv_cache_usage_perc",
        "damso_generation_time_to_first_token_seconds",
        "damso_generation_tokens_total",
        "damso_rpc_duration_seconds",
    ):
        assert series in text
