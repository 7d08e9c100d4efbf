"""A generation service in a process of its own, for tests."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

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

    def wait_until_ready(self) -> None:
        """Watches the service's health until it can serve."""
        request = health_pb2.HealthCheckRequest()
        with grpc.insecure_channel(self.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                request, timeout=_START_SECONDS, wait_for_ready=True
            )
            try:
                for response in watch:
                    if response.status == health_pb2.HealthCheckResponse.SERVING:
                        return
            except grpc.RpcError as error:
                raise AssertionError(self.written()) from error

    def children(self) -> list[psutil.Process]:
        """The processes that it has started."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def goes_on_for(self, seconds: float) -> None:
        """Fails when the process ends meanwhile."""
        assert self.process is not None
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
            raise AssertionError(self.written())

    def written(self) -> str:
        """The log so far."""
        return self.log.read_text() if self.log else ""


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
