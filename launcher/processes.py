"""Processes that belong to one instance, found by the environment they inherited.

Also those whose supervisor was killed, and children that outlived their parent.
"""

import contextlib
import os
import time
from pathlib import Path

import psutil

INSTANCE_VARIABLE = "DAMSO_INSTANCE"
PROGRAM_VARIABLE = "DAMSO_PROGRAM"

_KILLED_WITHIN_SECONDS = 10
_POLL_SECONDS = 0.1


def of_instance(var: Path, program: str | None = None) -> list[psutil.Process]:
    """Processes started by this instance's supervisor, it included; never the caller.

    Args:
        var: The instance's directory.
        program: Only those of this program.
    """
    found = {}
    for process in psutil.process_iter():
        if _belongs(process, var, program):
            # PostgreSQL's children write over their environment.
            for member in (process, *_children(process)):
                found[member.pid] = member
    return [process for pid, process in found.items() if pid != os.getpid()]


def name(pid: int) -> str:
    """Name of a process; empty where there is none."""
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return ""


def end(processes: list[psutil.Process], patience_seconds: float) -> None:
    """Ends processes: politely, and after a while by force.

    Args:
        processes: Which.
        patience_seconds: How long they may take; 0 forces at once.
    """
    alive = processes
    if patience_seconds:
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        alive = _wait(alive, patience_seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _wait(alive, _KILLED_WITHIN_SECONDS)


def _belongs(process: psutil.Process, var: Path, program: str | None) -> bool:
    try:
        environment = process.environ()
    except (psutil.Error, OSError):  # it has ended, or is another user's
        return False
    if environment.get(INSTANCE_VARIABLE) != str(var):
        return False
    return program is None or environment.get(PROGRAM_VARIABLE) == program


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [child for child in process.children(recursive=True) if _lives(child)]
    except psutil.Error:
        return []


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Waits until all have ended; returns those that have not."""
    deadline = time.monotonic() + seconds
    while (alive := [one for one in processes if _lives(one)]) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return alive


def _lives(process: psutil.Process) -> bool:
    """Whether it runs. One that nobody reaps, as in a container without an init, does not."""
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
