"""What a batch costs through the tokenizer service, against the library in process.

    python -m bench.tokenizer [--model DIRECTORY] [--rounds 200]

Both encode the same 64 texts of 200 to 800 characters, in turns, so that what else the machine
does meets both alike. The service runs in a process of its own and is called over loopback; its
CPU time and this process's are added. `library` is what a caller in process would do:
`encode_batch` and every text's ids.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import grpc.aio
from tokenizers import Tokenizer

from damso.tokenizer.v1 import tokenizer_pb2 as pb
from damso.tokenizer.v1 import tokenizer_pb2_grpc

REPOSITORY = Path(__file__).parents[1]
PORT = 21050


def main() -> None:
    """Starts the service, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(REPOSITORY / "var/models/SmolLM2-135M-Instruct"))
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    service = subprocess.Popen(
        [sys.executable, "-m", "services.tokenizer.server"],
        env={
            **os.environ,
            "TOKENIZER_SERVER__PORT": str(PORT),
            "TOKENIZER_MODELS": json.dumps({"model": arguments.model}),
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        asyncio.run(measure(arguments.model, arguments.rounds, service.pid))
    finally:
        service.terminate()
        service.wait()


async def measure(model: str, rounds: int, service_pid: int) -> None:
    """Rounds of both sides in random order."""
    library = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{PORT}") as channel:
        stub = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
        for name, texts in corpora().items():
            request = pb.EncodeRequest(texts=texts)
            seconds: dict[str, list[float]] = {"library": [], "service": []}
            cpu: dict[str, list[float]] = {"library": [], "service": []}
            for round_ in range(-10, rounds):  # the first ten only warm up
                for side in random.sample(["library", "service"], 2):
                    spent, started = cpu_seconds(service_pid), time.perf_counter()
                    if side == "library":
                        ids = [encoding.ids for encoding in library.encode_batch(texts)]
                    else:
                        response = await stub.Encode(request, wait_for_ready=True, timeout=30)
                    elapsed = time.perf_counter() - started
                    if round_ >= 0:
                        seconds[side].append(elapsed)
                        cpu[side].append(cpu_seconds(service_pid) - spent)
            assert [list(encoding.token_ids) for encoding in response.encodings] == ids
            report(name, texts, sum(map(len, ids)), seconds, cpu)


def corpora() -> dict[str, list[str]]:
    """64 texts of 200 to 800 characters each, of English prose and of Korean."""
    chosen = random.Random(0)
    english = (REPOSITORY / "README.md").read_text() + __doc__ * 20
    korean = "담소는 다정한 이야기라는 뜻이다. 사람들이 브라우저에서 모델과 이야기를 나눈다. " * 40

    def cut(source: str) -> str:
        length = chosen.randint(200, 800)
        start = chosen.randrange(len(source) - length)
        return source[start : start + length]

    return {
        "English": [cut(english) for _ in range(64)],
        "Korean": [cut(korean) for _ in range(64)],
    }


def cpu_seconds(service_pid: int) -> float:
    """CPU time of this process and the service so far."""
    fields = Path(f"/proc/{service_pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def report(
    name: str,
    texts: list[str],
    tokens: int,
    seconds: dict[str, list[float]],
    cpu: dict[str, list[float]],
) -> None:
    """Prints a table of both sides."""
    ratios = sorted(
        service / library
        for library, service in zip(seconds["library"], seconds["service"], strict=True)
    )
    low, high = (ratios[int(len(ratios) * share)] for share in (0.25, 0.75))
    print(f"{name}: {len(texts)} texts, {sum(map(len, texts))} characters, {tokens} tokens")
    print("| side | median ms | CPU ms |\n| --- | --- | --- |")
    for side in ("library", "service"):
        # Ticks are 10 ms, so single readings mean nothing: the mean of all does.
        wall, spent = statistics.median(seconds[side]), statistics.mean(cpu[side])
        print(f"| {side} | {wall * 1e3:.2f} | {spent * 1e3:.2f} |")
    middle = statistics.median(ratios)
    print(f"service / library, paired: {middle:.2f} (quartiles {low:.2f} to {high:.2f})\n")


if __name__ == "__main__":
    main()
