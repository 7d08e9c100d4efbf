"""How the platform is."""

from dataclasses import dataclass

from launcher import instance
from launcher.console import NAME_WIDTH, say
from launcher.errors import LauncherError
from launcher.places import Places
from launcher.settings import LauncherSettings
from launcher.supervisor import ProcessState, Supervisor
from launcher.waiting import health_of


@dataclass(frozen=True)
class Status:
    """How one program is."""

    name: str
    """The program's."""

    state: str
    """`running`, `off` where it was never started, else supervisord's word, such as `backoff`."""

    pid: int
    """0: none."""

    uptime_seconds: int
    """How long it has run."""

    health: str
    """`ready`, or what it does instead."""

    @property
    def fine(self) -> bool:
        """Whether it is as it should be."""
        return self.state == "off" or self.health == "ready"


def status(settings: LauncherSettings) -> list[Status]:
    """Asks the supervisor and every program that it runs.

    Raises:
        LauncherError: The platform is not up.
    """
    places = Places(settings.var)
    supervisor = Supervisor(places)
    if not supervisor.answers():
        raise LauncherError("Damso is not up: run `make up`")
    states = supervisor.states()
    table = []
    for program in instance.running_plan(places).programs:
        state = states[program.name]
        table.append(
            Status(
                name=program.name,
                state=_word(state),
                pid=state.pid,
                uptime_seconds=state.uptime_seconds,
                health=str(health_of(program, running=state.pid > 0)),
            )
        )
    return table


def show(table: list[Status]) -> None:
    """Prints the table."""
    say(f"{'PROGRAM':<{NAME_WIDTH}}{'STATE':<10}{'PID':>8}  {'UPTIME':>9}  HEALTH")
    for row in table:
        uptime = _clock(row.uptime_seconds) if row.pid else "-"
        pid = str(row.pid) if row.pid else "-"
        say(f"{row.name:<{NAME_WIDTH}}{row.state:<10}{pid:>8}  {uptime:>9}  {row.health}")


def _word(state: ProcessState) -> str:
    if not state.start_time:
        return "off"
    return "running" if state.pid else state.state.lower()


def _clock(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
