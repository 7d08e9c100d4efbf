"""Stops the platform, and makes sure that nothing of it is left."""

import time

from launcher import instance, processes
from launcher.console import Stopwatch, report, say
from launcher.errors import LauncherError
from launcher.places import Places
from launcher.settings import LauncherSettings
from launcher.supervisor import Supervisor

_POLL_SECONDS = 0.2
# Longer than the supervisor's own patience, after which it kills.
_STAGE_SECONDS = 35
_LEFTOVERS_SECONDS = 25


def down(settings: LauncherSettings) -> None:
    """Stops pages, gateway, services and databases, in this order, and waits for each.

    Raises:
        LauncherError: A process could not be ended.
    """
    places = Places(settings.var)
    watch = Stopwatch()
    with instance.locked(places):
        supervisor = Supervisor(places)
        if supervisor.answers():
            for names in supervisor.stages():
                _stop(supervisor, names)
            supervisor.shut_down()
            _wait_until_gone(places)
        leftovers = processes.of_instance(places.var)
        if leftovers:
            report("leftovers", f"stopping {len(leftovers)} processes without a supervisor")
            processes.end(leftovers, _LEFTOVERS_SECONDS)
        if alive := processes.of_instance(places.var):
            pids = ", ".join(str(process.pid) for process in alive)
            raise LauncherError(f"processes {pids} could not be ended")
        places.remove_sockets()
    say(f"Damso is down ({watch.seconds:.1f} s)")


def _stop(supervisor: Supervisor, names: list[str]) -> None:
    watch = Stopwatch()
    for name in names:
        supervisor.stop_program(name)
    waited_for = set(names)
    while waited_for and watch.seconds < _STAGE_SECONDS:
        states = supervisor.states()
        for name in sorted(waited_for):
            if states[name].pid == 0:
                report(name, f"stopped  {watch.seconds:.1f} s")
                waited_for.remove(name)
        time.sleep(_POLL_SECONDS)


def _wait_until_gone(places: Places) -> None:
    watch = Stopwatch()
    while processes.of_instance(places.var) and watch.seconds < _STAGE_SECONDS:
        time.sleep(_POLL_SECONDS)
