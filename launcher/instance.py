"""One instance across commands: its lock, and the settings it was started with."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher import plan, valkey
from launcher.errors import LauncherError
from launcher.places import Places, write_private
from launcher.plan import Plan
from launcher.settings import LauncherSettings


@contextmanager
def locked(places: Places) -> Iterator[None]:
    """Keeps other launchers from starting or stopping the same instance meanwhile.

    Raises:
        LauncherError: Another one is at it.
    """
    places.make()
    with (places.run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LauncherError("another `up` or `down` of this instance is at work") from None
        yield


def save(places: Places, settings: LauncherSettings) -> None:
    """Remembers what the instance runs with; the file is private."""
    write_private(_path(places), settings.model_dump_json())


def running_plan(places: Places) -> Plan:
    """What was started last, whatever the environment says now.

    Raises:
        LauncherError: Nothing ever was.
    """
    try:
        text = _path(places).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LauncherError("Damso is not up: run `make up`") from None
    return plan.make(LauncherSettings.model_validate_json(text), valkey.ensure_password(places))


def _path(places: Places) -> Path:
    return places.run / "settings.json"
