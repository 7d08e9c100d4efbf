"""Runs a program to its end, perhaps as another user."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.errors import LauncherError


def run(
    command: Sequence[str | Path],
    *,
    user: str = "",
    standard_input: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs a command quietly.

    Args:
        command: Program and arguments; no shell reads them.
        user: System user to run as. Default: who runs the launcher.
        standard_input: What the command reads.
        environment: Variables on top of the launcher's own.

    Returns:
        Its output, standard error included.

    Raises:
        LauncherError: It failed; the message ends with its last lines.
    """
    ended = subprocess.run(  # noqa: S603 - the commands are the launcher's own
        [str(word) for word in command],
        user=user or None,
        group=user or None,
        extra_groups=[] if user else None,
        cwd="/" if user else None,  # that user may be unable to enter this directory
        env={**os.environ, **(environment or {})},
        input=standard_input,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode:
        last_lines = "\n".join(ended.stdout.splitlines()[-20:])
        raise LauncherError(f"{Path(command[0]).name} failed:\n{last_lines}")
    return ended.stdout
