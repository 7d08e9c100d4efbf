"""The platform that tests run against: everything that `make up` starts, once per run."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MODEL_NAME = "SmolLM2-135M-Instruct"
_PORT_OFFSETS = range(7000, 8000, 100)

# Tests share two cores with a model: how long an example takes says nothing. Fixtures are of the
# session, whatever pytest's plugin for coroutines makes of them.
hypothesis.settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.load_profile("unhurried")


@dataclass(frozen=True)
class Platform:
    """An instance of Damso that runs.

    Attributes:
        var: Its state directory.
        port_offset: What its ports have on top of the usual ones.
    """

    var: Path
    port_offset: int

    @property
    def gateway_address(self) -> str:
        return self._address(50050)

    @property
    def tokenizer_address(self) -> str:
        return self._address(50051)

    @property
    def generation_address(self) -> str:
        return self._address(50052)

    @property
    def frontend_url(self) -> str:
        return f"http://{self._address(8501)}"

    @property
    def adapter_root(self) -> Path:
        """Where generation loads adapters from."""
        return self.var / "storage" / "adapters"

    def metrics_url(self, address: str) -> str:
        """Where the service at a gRPC address serves its Prometheus series."""
        port = int(address.rpartition(":")[2])
        return f"http://127.0.0.1:{port + 1000}/metrics"

    def log_events(self, program: str) -> list[dict[str, object]]:
        """What a program has logged so far, its JSON lines parsed."""
        lines = (self.var / "log" / f"{program}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _address(self, port: int) -> str:
        return f"127.0.0.1:{port + self.port_offset}"


def launcher(command: str, platform: Platform) -> None:
    """Runs `up` or `down` for an instance, as `make` does."""
    environment = {
        **os.environ,
        "DAMSO_VAR": str(platform.var),
        "DAMSO_PORT_OFFSET": str(platform.port_offset),
        "DAMSO_MODEL": str(REPOSITORY / "var" / "models" / MODEL_NAME),
    }
    subprocess.run(
        [sys.executable, "-m", "launcher", command], cwd=REPOSITORY, env=environment, check=True
    )


def _free_port_offset() -> int:
    """One whose ports nobody has, not even a test run that was killed."""
    for offset in _PORT_OFFSETS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 50050 + offset)):
                return offset
    raise RuntimeError("every port for a test's platform is taken; is one left over?")


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The whole platform with the default model; there is one engine for all tests.

    `DAMSO_TEST_VAR` and `DAMSO_TEST_PORT_OFFSET` name an instance that runs already, for
    developers who do not want to wait for the engine each time.
    """
    if running := os.environ.get("DAMSO_TEST_VAR"):
        yield Platform(Path(running), int(os.environ.get("DAMSO_TEST_PORT_OFFSET", "0")))
        return
    started = Platform(tmp_path_factory.mktemp("platform"), _free_port_offset())
    try:
        launcher("up", started)
        yield started
    finally:
        launcher("down", started)
