"""What the door costs: bare `AsyncLLM` in this process against Damso's ways to the same engine.

    python -m bench.serving [--model DIR] [--at-once 1 16 64] [--rounds 5] [--json FILE]

The arms are the bare engine, `Generate` (a stream each), `GenerateBatch` (one stream for all) and
the whole chat path, `SendMessage` through the gateway with its saving. All get the same prompts,
greedy, and make the same number of tokens. They take turns within each round, and the ratios are
of the same round, so that a busy machine harms all alike. The platform runs in its own processes
with its own engine, configured as the bare one; whichever is not asked is idle.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import psutil

from damso.chat.v1 import chat_pb2
from damso.chat.v1.chat_pb2_grpc import ChatServiceStub
from damso.generation.v1 import generation_pb2 as pb
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from damso.tokenizer.v1 import tokenizer_pb2
from damso.tokenizer.v1.tokenizer_pb2_grpc import TokenizerServiceStub
from services.generation import vllm_environment
from services.generation.settings import EngineSettings

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_MODEL = REPOSITORY / "var" / "models" / "SmolLM2-135M-Instruct"
PORT_OFFSET = 9000
SERVICES = {"tokenizer": 50051, "generation": 50052, "gateway": 50050}


@dataclass
class Take:
    """One arm's part of one round; times in seconds."""

    tokens: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    front_cpu_seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of all requests together."""
        return self.tokens / self.seconds


class Watch:
    """Notes when one request's tokens come.

    Args:
        take: Gathers the times.
    """

    def __init__(self, take: Take) -> None:
        self._take = take
        self._last = self._began = time.perf_counter()
        self._waiting = True

    def came(self, tokens: int) -> None:
        """Some tokens have come."""
        now = time.perf_counter()
        if self._waiting:
            self._take.first.append(now - self._began)
            self._waiting = False
        else:
            self._take.gaps.append(now - self._last)
        self._last = now
        self._take.tokens += tokens


@dataclass(frozen=True)
class Prompt:
    """A question, and what the chat template makes of it."""

    text: str
    token_ids: list[int]
    conversation_id: str
    """Where `SendMessage` asks it."""


Arm = Callable[[list[Prompt], int, Take], Awaitable[None]]


def bare(llm) -> Arm:
    """vLLM alone, in this process."""
    from vllm.inputs.engine import tokens_input
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    async def one(number: int, prompt: Prompt, tokens: int, take: Take) -> None:
        params = SamplingParams(
            temperature=0,
            max_tokens=tokens,
            ignore_eos=True,
            output_kind=RequestOutputKind.DELTA,
        )
        watch = Watch(take)
        async for output in llm.generate(tokens_input(prompt.token_ids), params, f"bare-{number}"):
            watch.came(len(output.outputs[0].token_ids))

    async def run(prompts: list[Prompt], tokens: int, take: Take) -> None:
        await asyncio.gather(*(one(n, p, tokens, take) for n, p in enumerate(prompts)))

    return run


def request(prompt: Prompt, tokens: int, request_id: str = "") -> pb.GenerateRequest:
    """What both gRPC arms ask for."""
    return pb.GenerateRequest(
        request_id=request_id,
        prompt=pb.Content(token_ids={"token_ids": prompt.token_ids}),
        sampling={"temperature": 0, "max_tokens": tokens, "ignore_eos": True},
    )


def generate(stub: GenerationServiceStub) -> Arm:
    """A stream for each completion."""

    async def one(prompt: Prompt, tokens: int, take: Take) -> None:
        watch = Watch(take)
        async for response in stub.Generate(request(prompt, tokens), timeout=600):
            watch.came(sum(len(delta.token_ids) for delta in response.deltas))

    async def run(prompts: list[Prompt], tokens: int, take: Take) -> None:
        await asyncio.gather(*(one(prompt, tokens, take) for prompt in prompts))

    return run


def generate_batch(stub: GenerationServiceStub) -> Arm:
    """One stream for all."""

    async def run(prompts: list[Prompt], tokens: int, take: Take) -> None:
        starts = [
            pb.GenerateBatchRequest(start=request(prompt, tokens, str(number)))
            for number, prompt in enumerate(prompts)
        ]
        watches = {str(number): Watch(take) for number in range(len(prompts))}
        async for message in stub.GenerateBatch(iter(starts), timeout=600):
            for item in message.items:
                deltas = item.response.deltas
                watches[item.request_id].came(sum(len(delta.token_ids) for delta in deltas))

    return run


def send_message(stub: ChatServiceStub) -> Arm:
    """The whole chat path: render, generate, save."""

    async def one(prompt: Prompt, tokens: int, take: Take) -> None:
        watch = Watch(take)
        call = stub.SendMessage(
            chat_pb2.SendMessageRequest(
                conversation_id=prompt.conversation_id, content=prompt.text
            ),
            timeout=600,
        )
        async for response in call:
            event = response.event
            if event.HasField("delta"):
                watch.came(0)  # a delta says characters; the end says tokens
            elif event.HasField("finished"):
                take.tokens += event.finished.message.usage.completion_tokens

    async def run(prompts: list[Prompt], tokens: int, take: Take) -> None:
        await asyncio.gather(*(one(prompt, tokens, take) for prompt in prompts))

    return run


class Prompts:
    """Makes prompts of 30 to 130 tokens, no two alike."""

    def __init__(self, chat: ChatServiceStub, tokenizer: TokenizerServiceStub) -> None:
        self._chat = chat
        self._tokenizer = tokenizer
        self._count = 0

    async def make(self, number: int, tokens: int) -> list[Prompt]:
        """So many prompts, each with a conversation whose answers have so many tokens."""
        return [await self._one(index, tokens) for index in range(number)]

    async def _one(self, index: int, tokens: int) -> Prompt:
        self._count += 1
        text = f"Question {self._count}: " + "tell me about the sea. " * (1 + index * 7 % 16)
        rendered = await self._tokenizer.RenderChat(
            tokenizer_pb2.RenderChatRequest(messages=[{"role": "ROLE_USER", "content": text}])
        )
        sampling = {"temperature": 0, "top_p": 1, "repetition_penalty": 1, "ignore_eos": True}
        created = await self._chat.CreateConversation(
            chat_pb2.CreateConversationRequest(
                settings={"sampling": {**sampling, "max_tokens": tokens}}
            )
        )
        return Prompt(text, list(rendered.prompt_token_ids), created.conversation.id)


async def measure(
    arms: dict[str, Arm],
    prompts: Prompts,
    front: dict[str, list[psutil.Process]],
    options: argparse.Namespace,
) -> list[dict]:
    """The rows of the table: each arm in each round, in turn."""
    rows = []
    for at_once in options.at_once:
        takes: dict[str, list[Take]] = {name: [] for name in arms}
        for round_ in range(-1, options.rounds):  # the first warms up
            order = list(arms)[round_ % len(arms) :] + list(arms)[: round_ % len(arms)]
            for name in order:
                # Made anew for each arm: none finds another's prefix in the cache.
                asked = await prompts.make(at_once, options.tokens)
                take = Take()
                before = cpu_seconds(front[name])
                began = time.perf_counter()
                await arms[name](asked, options.tokens, take)
                take.seconds = time.perf_counter() - began
                take.front_cpu_seconds = cpu_seconds(front[name]) - before
                if round_ >= 0:
                    takes[name].append(take)
        rows += [row(name, at_once, takes[name], takes["bare"]) for name in arms]
    return rows


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """CPU time so far of the processes before the engine, their children left out."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def row(name: str, at_once: int, takes: list[Take], bare_takes: list[Take]) -> dict:
    """One arm's figures."""
    first = sorted(value for take in takes for value in take.first)
    gaps = sorted(value for take in takes for value in take.gaps)
    ratios = [
        take.tokens_per_second / other.tokens_per_second
        for take, other in zip(takes, bare_takes, strict=True)
    ]
    return {
        "arm": name,
        "at_once": at_once,
        "tokens_per_second": statistics.median(take.tokens_per_second for take in takes),
        "ratio_to_bare": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "first_token_p50_ms": 1000 * first[len(first) // 2],
        "first_token_p99_ms": 1000 * first[int(len(first) * 0.99)],
        "inter_token_p99_ms": 1000 * gaps[int(len(gaps) * 0.99)],
        "front_cpu_seconds_per_1000_tokens": 1000
        * sum(take.front_cpu_seconds for take in takes)
        / sum(take.tokens for take in takes),
    }


def show(rows: list[dict]) -> None:
    """Prints the table as Markdown."""
    print("| at once | arm | tokens/s | to bare | first p50 ms | p99 | inter p99 ms | CPU s/1k |")
    print("|---|---|---|---|---|---|---|---|")
    for each in rows:
        low, high = each["ratio_range"]
        print(
            f"| {each['at_once']} | {each['arm']} | {each['tokens_per_second']:.1f} "
            f"| {each['ratio_to_bare']:.3f} ({low:.2f}–{high:.2f}) "
            f"| {each['first_token_p50_ms']:.0f} | {each['first_token_p99_ms']:.0f} "
            f"| {each['inter_token_p99_ms']:.0f} "
            f"| {each['front_cpu_seconds_per_1000_tokens']:.3f} |"
        )


@contextmanager
def platform(model: str) -> Iterator[dict[str, psutil.Process]]:
    """Damso without its pages, on ports of its own; gives its processes by name."""
    with tempfile.TemporaryDirectory() as var:
        environment = {
            **os.environ,
            "DAMSO_VAR": var,
            "DAMSO_PORT_OFFSET": str(PORT_OFFSET),
            "DAMSO_MODEL": model,
        }

        def launcher(*command: str) -> None:
            subprocess.run(
                [sys.executable, "-m", "launcher", *command],
                cwd=REPOSITORY,
                env=environment,
                check=True,
            )

        try:
            launcher("up", "postgres", "valkey", *SERVICES)
            yield {name: listening_on(port + PORT_OFFSET) for name, port in SERVICES.items()}
        finally:
            launcher("down")


def listening_on(port: int) -> psutil.Process:
    """The process that serves a port."""
    holders = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    # A forked engine holds its server's socket too; its server is the older one.
    return min(map(psutil.Process, holders), key=lambda process: process.create_time())


def start_bare(model: str):
    """vLLM in this process, configured as the service configures it."""
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    from services.generation import vllm_arguments
    from services.generation.linear_layers import linear_layers

    settings = EngineSettings()
    layers = {name.rsplit(".", 1)[-1] for name in linear_layers(model)}
    arguments = vllm_arguments.engine_args(model, "bare", layers, settings)
    config = arguments.create_engine_config(UsageContext.OPENAI_API_SERVER)
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = settings.start_method
    return AsyncLLM.from_vllm_config(config, usage_context=UsageContext.OPENAI_API_SERVER)


async def main(options: argparse.Namespace) -> list[dict]:
    """Starts both engines, measures, and prints the table; gives its rows."""
    vllm_environment.prepare(options.model, None)
    llm = start_bare(options.model)  # before anything that a fork would harm
    try:
        with platform(options.model) as processes:
            address = f"127.0.0.1:{SERVICES['gateway'] + PORT_OFFSET}"
            direct = f"127.0.0.1:{SERVICES['generation'] + PORT_OFFSET}"
            async with (
                grpc.aio.insecure_channel(address) as gateway,
                grpc.aio.insecure_channel(direct) as generation,
            ):
                arms = {
                    "bare": bare(llm),
                    "Generate": generate(GenerationServiceStub(generation)),
                    "GenerateBatch": generate_batch(GenerationServiceStub(generation)),
                    "SendMessage": send_message(ChatServiceStub(gateway)),
                }
                front = {
                    "bare": [psutil.Process()],
                    "Generate": [processes["generation"]],
                    "GenerateBatch": [processes["generation"]],
                    "SendMessage": list(processes.values()),
                }
                prompts = Prompts(ChatServiceStub(gateway), TokenizerServiceStub(gateway))
                rows = await measure(arms, prompts, front, options)
    finally:
        llm.shutdown()
    show(rows)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(DEFAULT_MODEL))
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--tokens", type=int, default=64, help="completion tokens of each request")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the figures")
    arguments = parser.parse_args()
    measured = asyncio.run(main(arguments))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(measured, indent=1))
