"""Shows what programs have written."""

import os
import shutil
from pathlib import Path

from launcher.errors import LauncherError
from launcher.places import Places
from launcher.settings import LauncherSettings


def command(settings: LauncherSettings, program: str | None, follow: bool) -> list[str]:
    """The `tail` command that shows logs.

    Args:
        settings: Which instance.
        program: Whose log. Default: all.
        follow: Whether to go on with what they write from now on.

    Raises:
        LauncherError: There is no such log.
    """
    places = Places(settings.var)
    paths: list[Path] = sorted(places.logs.glob("*.log"))
    if program is not None:
        paths = [path for path in paths if path == places.log(program)]
    if not paths:
        raise LauncherError(f"no log of {program or 'any program'} in {places.logs}")
    tail = shutil.which("tail")
    if tail is None:
        raise LauncherError(f"`tail` is missing; the logs are in {places.logs}")
    lines = "20" if program is None else "200"
    # -F finds the new file after a rotation.
    return [tail, "-n", lines, *(["-F"] if follow else []), *map(str, paths)]


def show(settings: LauncherSettings, program: str | None, follow: bool) -> None:
    """Becomes the command of `command`."""
    words = command(settings, program, follow)
    os.execv(words[0], words)  # noqa: S606 - no shell is wanted
