"""What the door costs: bare `AsyncLLM` in this process against `Generate` and `GenerateBatch`.

    python -m bench.generation [--model DIR] [--at-once 1 16 64] [--rounds 5] [--json FILE]

The same prompts, greedy, the same number of tokens. The three take turns within each round, and
the ratios are of the same round, so that a busy machine harms all alike. The service runs in its
own process with its own engine, configured as the bare one; whichever is not asked is idle.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import psutil

from damso.generation.v1 import generation_pb2 as pb
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from services.generation import vllm_environment
from services.generation.settings import EngineSettings

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_MODEL = REPOSITORY / "var" / "models" / "SmolLM2-135M-Instruct"


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


Arm = Callable[[list[list[int]], int, Take], Awaitable[None]]


def bare(llm) -> Arm:
    """vLLM alone, in this process."""
    from vllm.inputs.engine import tokens_input
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    async def one(number: int, prompt: list[int], tokens: int, take: Take) -> None:
        params = SamplingParams(
            temperature=0,
            max_tokens=tokens,
            ignore_eos=True,
            output_kind=RequestOutputKind.DELTA,
        )
        watch = Watch(take)
        async for output in llm.generate(tokens_input(prompt), params, f"bare-{number}"):
            watch.came(len(output.outputs[0].token_ids))

    async def run(prompts: list[list[int]], tokens: int, take: Take) -> None:
        await asyncio.gather(*(one(n, p, tokens, take) for n, p in enumerate(prompts)))

    return run


def request(prompt: list[int], tokens: int, request_id: str = "") -> pb.GenerateRequest:
    """What both gRPC arms ask for."""
    return pb.GenerateRequest(
        request_id=request_id,
        prompt=pb.Content(token_ids={"token_ids": prompt}),
        sampling={"temperature": 0, "max_tokens": tokens, "ignore_eos": True},
    )


def generate(stub: GenerationServiceStub) -> Arm:
    """A stream for each completion."""

    async def one(prompt: list[int], tokens: int, take: Take) -> None:
        watch = Watch(take)
        async for response in stub.Generate(request(prompt, tokens), timeout=600):
            watch.came(sum(len(delta.token_ids) for delta in response.deltas))

    async def run(prompts: list[list[int]], tokens: int, take: Take) -> None:
        await asyncio.gather(*(one(prompt, tokens, take) for prompt in prompts))

    return run


def generate_batch(stub: GenerationServiceStub) -> Arm:
    """One stream for all."""

    async def run(prompts: list[list[int]], tokens: int, take: Take) -> None:
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


def prompts_of(round_: int, at_once: int) -> list[list[int]]:
    """Different prompts of 20 to 160 tokens; the same for each arm but for the first token."""
    return [
        [1, 1000 + round_ * 97 + number, *range(300, 320 + (number * 37) % 140)]
        for number in range(at_once)
    ]


async def measure(arms: dict[str, Arm], front: dict[str, psutil.Process], options) -> list[dict]:
    """The rows of the table: each arm in each round, in turn."""
    rows = []
    for at_once in options.at_once:
        takes: dict[str, list[Take]] = {name: [] for name in arms}
        for round_ in range(-1, options.rounds):  # the first warms up
            order = list(arms)[round_ % len(arms) :] + list(arms)[: round_ % len(arms)]
            for name in order:
                take = Take()
                before = sum(front[name].cpu_times()[:2])
                began = time.perf_counter()
                await arms[name](prompts_of(round_, at_once), options.tokens, take)
                take.seconds = time.perf_counter() - began
                take.front_cpu_seconds = sum(front[name].cpu_times()[:2]) - before
                if round_ >= 0:
                    takes[name].append(take)
        rows += [row(name, at_once, takes[name], takes["bare"]) for name in arms]
    return rows


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
def service(model: str):
    """The service in its own process; gives its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as state:
        variables = {
            "GENERATION_SERVER__PORT": str(port),
            "GENERATION_SERVER__TELEMETRY_PORT": "0",
            "GENERATION_MODEL": model,
            "GENERATION_STATE_DIR": state,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "services.generation.server"],
            cwd=REPOSITORY,
            env=os.environ | variables,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield f"127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


async def main(options: argparse.Namespace) -> list[dict]:
    """Starts both engines, measures, and prints the table; gives its rows."""
    vllm_environment.prepare(options.model, None)
    settings = EngineSettings()
    with service(options.model) as (address, process):
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        from services.generation import vllm_arguments
        from services.generation.linear_layers import linear_layers

        layers = {name.rsplit(".", 1)[-1] for name in linear_layers(options.model)}
        arguments = vllm_arguments.engine_args(options.model, "bare", layers, settings)
        config = arguments.create_engine_config(UsageContext.OPENAI_API_SERVER)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = settings.start_method
        llm = AsyncLLM.from_vllm_config(config, usage_context=UsageContext.OPENAI_API_SERVER)
        async with grpc.aio.insecure_channel(address) as channel:
            stub = GenerationServiceStub(channel)
            while True:
                listed = await stub.ListModels(pb.ListModelsRequest(), wait_for_ready=True)
                if listed.models[0].state == pb.Model.STATE_READY:
                    break
                await asyncio.sleep(0.5)
            arms = {
                "bare": bare(llm),
                "Generate": generate(stub),
                "GenerateBatch": generate_batch(stub),
            }
            front = dict.fromkeys(arms, process) | {"bare": psutil.Process()}
            rows = await measure(arms, front, options)
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
