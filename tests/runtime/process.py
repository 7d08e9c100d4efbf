"""The tokenizer service as a process of its own, with a throwaway tokenizer."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.tokenizer import throwaway


@dataclass(frozen=True)
class ServiceProcess:
    """A service that runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.port + 1000}/metrics"

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged so far; every line is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def ended(self, method: str, request_id: str) -> dict[str, Any]:
        """The log line of an answered call."""
        (line,) = [
            line
            for line in self.lines()
            if line["message"] == "call answered"
            and line["method"].endswith(f"/{method}")
            and line["request_id"] == request_id
        ]
        return line

    def terminate(self) -> int:
        """Asks it to stop, and waits. Returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def started(
    model: Path, log: Path, port: int | None = None, **env: str
) -> Iterator[ServiceProcess]:
    """Runs the service until the block is left.

    Args:
        model: Directory of its tokenizer.
        log: File for its standard error.
        port: Its gRPC port. Default: a free one.
        env: Further environment.
    """
    port = port or free_port()
    environment = {
        **os.environ,
        "TOKENIZER_SERVER__PORT": str(port),
        "TOKENIZER_MODELS": json.dumps({"throwaway": str(model)}),
        **env,
    }
    command = [sys.executable, "-m", "services.tokenizer.server"]
    with log.open("ab") as stderr, subprocess.Popen(command, env=environment, stderr=stderr) as run:
        try:
            _wait_until_serving(port)
            yield ServiceProcess(run, port, log)
        finally:
            run.kill()


def saved_model(directory: Path) -> Path:
    """A throwaway tokenizer's directory."""
    return throwaway.save(throwaway.loaded(throwaway.byte_level()), directory)


def free_port() -> int:
    """A port that is free, as is the one for its telemetry."""
    for port in range(21_100, 21_900):
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 1000))
            except OSError:
                continue
            return port
    raise OSError("no free port")


def _wait_until_serving(port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        answer = health.Check(request, wait_for_ready=True, timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
