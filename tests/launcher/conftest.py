"""Instances of the local platform, each with its own directory and ports."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.down import down
from launcher.settings import LauncherSettings

MakeInstance = Callable[..., LauncherSettings]


@pytest.fixture
def make_instance(tmp_path: Path) -> Iterator[MakeInstance]:
    """Gives settings of instances that are taken down at the end."""
    made: list[LauncherSettings] = []

    def make(var: Path | None = None, **settings: object) -> LauncherSettings:
        settings.setdefault("port_offset", free_port_offset())
        instance = LauncherSettings(var=var or tmp_path / f"instance-{len(made)}", **settings)
        made.append(instance)
        return instance

    yield make
    for instance in made:
        down(instance)


def free_port_offset() -> int:
    """An offset at which Valkey's port, the one these tests listen on, is free."""
    with socket.socket() as probe:
        for offset in range(9_000, 14_000):
            try:
                probe.bind(("127.0.0.1", 6379 + offset))
            except OSError:
                continue
            return offset
    raise AssertionError("no free port")
