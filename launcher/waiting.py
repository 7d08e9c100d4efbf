"""Waits until programs can serve, and says what they do meanwhile."""

import time
from collections.abc import Callable, Sequence

from launcher.checks import Health
from launcher.console import Stopwatch, report, say
from launcher.errors import LauncherError
from launcher.places import Places
from launcher.program import Program
from launcher.supervisor import Supervisor

_POLL_SECONDS = 0.4
_DEATHS = 3
_LOG_LINES = 20


class Wait:
    """One wait for some programs.

    Attributes:
        watch: Runs since the wait began.
    """

    def __init__(self, supervisor: Supervisor, places: Places, programs: Sequence[Program]) -> None:
        self.watch = Stopwatch()
        self._supervisor = supervisor
        self._places = places
        self._waited_for = list(programs)
        self._told: dict[str, tuple[str, int]] = {}
        self._starts: dict[str, set[int]] = {program.name: set() for program in programs}

    def run(self, limit_seconds: float, when_ready: Callable[[set[str]], None]) -> None:
        """Returns when all are ready.

        Args:
            limit_seconds: How long to wait at most.
            when_ready: Is told the names of those not ready yet, each time one gets ready.

        Raises:
            LauncherError: A program dies again and again, or the time is up.
        """
        while True:
            self._notice_deaths()
            ready = [program for program in self._waited_for if self._ask(program)]
            if ready:
                self._waited_for = [one for one in self._waited_for if one not in ready]
                when_ready({program.name for program in self._waited_for})
            if not self._waited_for:
                return
            if self.watch.seconds > limit_seconds:
                names = ", ".join(program.name for program in self._waited_for)
                raise LauncherError(
                    f"{names} not ready after {limit_seconds:.0f} s; everything is left running: "
                    "see `make status`, `make logs`"
                )
            time.sleep(_POLL_SECONDS)

    def _ask(self, program: Program) -> bool:
        health = program.check.probe()
        told = (health.detail, int((health.progress or 0) * 4))  # every quarter of the way
        if health.ready:
            report(program.name, f"ready  {self.watch.seconds:.1f} s")
        elif self._told.get(program.name) != told and told[0] != "starting":
            report(program.name, str(health))
        self._told[program.name] = told
        return health.ready

    def _notice_deaths(self) -> None:
        states = self._supervisor.states()
        for program in self._waited_for:
            state, starts = states[program.name], self._starts[program.name]
            if state.start_time and state.start_time not in starts:
                starts.add(state.start_time)
                report(program.name, "starting" if len(starts) == 1 else "died, starting again")
            if len(starts) > _DEATHS or state.state == "FATAL":
                self._give_up(program.name)

    def _give_up(self, name: str) -> None:
        log = self._places.log(name)
        say(f"\nThe last lines of {log}:")
        say("\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:]))
        raise LauncherError(
            f"{name} dies again and again. Everything is left as it is, and the supervisor goes "
            "on trying; `make down` stops it."
        )


def health_of(program: Program, running: bool) -> Health:
    """Health of one program, without asking where nothing runs."""
    return program.check.probe() if running else Health(ready=False, detail="-")
