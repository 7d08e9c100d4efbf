"""Starts the pages' web server for tests that have none."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def serving(gateway_address: str, log: Path, **environment: str) -> Iterator[str]:
    """The URL of a web server of its own, until the block is left."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(REPOSITORY / "frontend" / "server.py")),
        *("--server.address", "127.0.0.1", "--server.port", str(port)),
        *("--server.headless", "true"),
    ]
    environment = {**os.environ, "FRONTEND_GATEWAY_ADDRESS": gateway_address, **environment}
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output
        ) as process,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_healthy(url, process)
            yield url
        finally:
            process.terminate()


def _wait_until_healthy(url: str, process: "subprocess.Popen[bytes]") -> None:
    # httpx retries refused connections itself, with its own growing pauses.
    with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=30) as client:
        response = client.get(f"{url}/_stcore/health")
    if response.status_code != 200 or process.poll() is not None:
        raise RuntimeError("the pages' web server did not start")
