"""Talks to this instance's supervisord."""

import sys
import xmlrpc.client
from dataclasses import dataclass
from typing import Any

from supervisor.xmlrpc import Faults, SupervisorTransport

from launcher import commands, supervisor_config
from launcher.places import Places
from launcher.processes import INSTANCE_VARIABLE

_ENDED = ("STOPPED", "EXITED", "FATAL")
# What changes between two calls is no error: it has stopped, started or gone by itself.
_MEANWHILE = (Faults.NOT_RUNNING, Faults.ALREADY_STARTED, Faults.BAD_NAME)


@dataclass(frozen=True)
class ProcessState:
    """What supervisord knows of one program."""

    name: str
    """The program's."""

    state: str
    """Supervisord's word: RUNNING, STARTING, BACKOFF, STOPPED, …"""

    pid: int
    """0: none."""

    start_time: int
    """Unix seconds of the last start. 0: never started."""

    uptime_seconds: int
    """How long it has run; 0 where it does not."""

    @property
    def wanted(self) -> bool:
        """Whether it was asked to run, though it may be between two tries."""
        return self.start_time > 0 and self.state not in ("STOPPED", "STOPPING", "FATAL")


class Supervisor:
    """One supervisord, which may or may not be running.

    Methods other than `answers` and `start` raise OSError where it is not.
    """

    def __init__(self, places: Places) -> None:
        self._places = places

    @property
    def _calls(self) -> Any:
        # A connection each: the transport cannot use one again that has failed.
        socket = f"unix://{supervisor_config.socket(self._places)}"
        transport = SupervisorTransport(None, None, socket)
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor

    def answers(self) -> bool:
        """Whether it runs."""
        try:
            self._calls.getPID()
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def start(self) -> None:
        """Starts it in the background; it starts no program by itself."""
        configuration = supervisor_config.path(self._places)
        commands.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", configuration],
            environment={INSTANCE_VARIABLE: str(self._places.var)},
        )

    def reload(self) -> list[str]:
        """Reads its configuration again and stops what has changed.

        Returns:
            The programs that were changed or removed.
        """
        [[added, changed, removed]] = self._calls.reloadConfig()
        for name in (*changed, *removed):
            self._calls.stopProcessGroup(name)
            self._calls.removeProcessGroup(name)
        for name in (*added, *changed):
            self._calls.addProcessGroup(name)
        return [*changed, *removed]

    def states(self) -> dict[str, ProcessState]:
        """All programs, started or not."""
        return {info["name"]: _state(info) for info in self._calls.getAllProcessInfo()}

    def start_program(self, name: str) -> None:
        """Starts a program, without waiting for it."""
        self._tell("startProcess", name)

    def stop_program(self, name: str) -> None:
        """Tells a program to end, without waiting for it."""
        self._tell("stopProcess", name)

    def stages(self) -> list[list[str]]:
        """Names of programs that run, those to be stopped first at the front."""
        running = {name for name, state in self.states().items() if state.state not in _ENDED}
        by_stage: dict[int, list[str]] = {}
        for info in self._calls.getAllConfigInfo():
            if info["name"] in running:
                by_stage.setdefault(info["process_prio"], []).append(info["name"])
        return [by_stage[stage] for stage in sorted(by_stage, reverse=True)]

    def shut_down(self) -> None:
        """Tells it to end, and with it every program."""
        self._calls.shutdown()

    def _tell(self, method: str, name: str) -> None:
        try:
            getattr(self._calls, method)(name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in _MEANWHILE:
                raise


def _state(info: dict[str, Any]) -> ProcessState:
    running = info["statename"] in ("RUNNING", "STARTING")
    return ProcessState(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"],
        start_time=info["start"],
        uptime_seconds=info["now"] - info["start"] if running else 0,
    )
