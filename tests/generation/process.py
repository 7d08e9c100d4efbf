"""A generation service in a process of its own, for tests."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from damso.generation.v1 import generation_pb2 as pb
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL_NAME = "SmolLM2-135M-Instruct"
MODEL_DIRECTORY = REPOSITORY / "var" / "models" / MODEL_NAME
_START_SECONDS = 180


@dataclass(frozen=True)
class Running:
    """A service that runs.

    Attributes:
        address: `host:port`.
        adapter_root: Where it loads adapters from.
        process: None: somebody else's.
        log: What the process has written.
    """

    address: str
    adapter_root: Path
    process: "subprocess.Popen[bytes] | None" = None
    log: Path | None = None

    def series(self) -> str:
        """Its `/metrics`."""
        host, port = self.address.rsplit(":", 1)
        with urllib.request.urlopen(f"http://{host}:{int(port) + 1000}/metrics") as answer:
            return answer.read().decode()

    def models(self) -> list[pb.Model]:
        with grpc.insecure_channel(self.address) as channel:
            stub = GenerationServiceStub(channel)
            response = stub.ListModels(pb.ListModelsRequest(), timeout=30, wait_for_ready=True)
            return list(response.models)

    def wait_until(self, state: "pb.Model.State.ValueType") -> None:
        """Asks until the base model is in a state; fails when the process ends before."""
        until = time.monotonic() + _START_SECONDS
        while self.models()[0].state != state:
            assert self.process is None or self.process.poll() is None, self.written()
            assert time.monotonic() < until, self.written()
            select_nothing(0.1)

    def written(self) -> str:
        """The log so far."""
        return self.log.read_text() if self.log else ""


def select_nothing(seconds: float) -> None:
    """Waits between two looks at another process."""
    signal.sigtimedwait([], seconds)


def free_port() -> int:
    """A port that nobody listens on, nor on the one of its telemetry."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1000))
            except (OSError, OverflowError):
                continue
            return port


@contextmanager
def launched(state_dir: Path, **environment: str) -> Iterator[Running]:
    """Starts `python -m services.generation.server`; ends it with the block."""
    port = free_port()
    state_dir.mkdir(parents=True, exist_ok=True)
    log = state_dir / "log"
    variables = {
        "GENERATION_SERVER__PORT": str(port),
        "GENERATION_MODEL": str(MODEL_DIRECTORY),
        "GENERATION_MODEL_NAME": MODEL_NAME,
        "GENERATION_STATE_DIR": str(state_dir),
        "GENERATION_ADAPTER_ROOT": str(state_dir / "root"),
    }
    (state_dir / "root").mkdir(exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.generation.server"],
            cwd=REPOSITORY,
            env=os.environ | variables | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Running(f"127.0.0.1:{port}", state_dir / "root", process, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
