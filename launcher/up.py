"""Starts the platform, or what of it is asked for."""

from collections.abc import Sequence

from launcher import default_model, instance, models, plan, ports, postgres, processes, valkey
from launcher import supervisor_config as configuration
from launcher.console import report, say
from launcher.errors import LauncherError
from launcher.models import Model
from launcher.places import Places
from launcher.plan import Plan
from launcher.program import Program, Stage
from launcher.settings import LauncherSettings
from launcher.supervisor import Supervisor
from launcher.waiting import Wait

_ORPHANS_PATIENCE_SECONDS = 25


def up(settings: LauncherSettings, names: Sequence[str] = ()) -> None:
    """Starts programs and waits until they can serve. What runs already is left alone.

    Args:
        settings: Which instance, and how it should be.
        names: Programs to start. Default: all.

    Raises:
        LauncherError: Something is in the way; the message says what to do.
    """
    places = Places(settings.var)
    supervisor = Supervisor(places)
    with instance.locked(places):
        whole = plan.make(settings, valkey.ensure_password(places))
        chosen = _choose(whole, names)
        started = _start(settings, places, supervisor, whole, chosen)
    if not started and all(program.check.probe().ready for program in chosen):
        say("Damso is already up.")
        _say_addresses(whole, chosen)
        return
    wait = Wait(supervisor, places, chosen)
    wait.run(settings.ready_seconds, _PageNotice(whole, chosen))
    say(f"\nready in {wait.watch.seconds:.0f} s")
    _say_addresses(whole, chosen)


class _PageNotice:
    """Says once that the pages can be opened, while something else still starts."""

    def __init__(self, whole: Plan, chosen: Sequence[Program]) -> None:
        self._page = whole.page
        self._needed = {one.name for one in chosen if one.stage >= Stage.GATEWAY}
        self._open = "frontend" in self._needed

    def __call__(self, awaited: set[str]) -> None:
        if self._open and awaited and not self._needed & awaited:
            self._open = False
            loading = " and ".join(sorted(awaited))
            say(f"\npage open at {self._page} ; {loading} still loading\n")


def _choose(whole: Plan, names: Sequence[str]) -> list[Program]:
    known = [program.name for program in whole.programs]
    if unknown := [name for name in names if name not in known]:
        raise LauncherError(f"no program {', '.join(unknown)}: there are {', '.join(known)}")
    return [program for program in whole.programs if not names or program.name in names]


def _start(
    settings: LauncherSettings,
    places: Places,
    supervisor: Supervisor,
    whole: Plan,
    chosen: Sequence[Program],
) -> list[str]:
    """Starts what does not run yet; returns its names."""
    wanted = {program.name for program in chosen}
    configuration.write(places, whole.programs)
    instance.save(places, settings)
    if supervisor.answers():
        before = _running(supervisor)
        for name in before.intersection(supervisor.reload()):
            report(name, "stopped: its settings have changed")
        wanted |= before  # what ran runs again, asked for or not
        running = _running(supervisor)
    else:
        _end_orphans(places)
        running = set()
    missing = [one for one in whole.programs if one.name in wanted - running]
    ports.require_free(missing)
    _prepare(places, whole.models, missing)
    if not supervisor.answers():
        supervisor.start()
    for program in missing:
        supervisor.start_program(program.name)
    return [program.name for program in missing]


def _running(supervisor: Supervisor) -> set[str]:
    return {name for name, state in supervisor.states().items() if state.wanted}


def _end_orphans(places: Places) -> None:
    """Ends what a supervisor that was killed has left: nobody would restart it."""
    if orphans := processes.of_instance(places.var):
        say(f"stopping {len(orphans)} processes whose supervisor was killed")
        processes.end(orphans, _ORPHANS_PATIENCE_SECONDS)


def _prepare(places: Places, served: Sequence[Model], programs: Sequence[Program]) -> None:
    default, sources = places.models / models.DEFAULT_NAME, [model.source for model in served]
    for program in programs:
        if program.name == "postgres":
            postgres.prepare(places)
        if program.name == "valkey":
            valkey.prepare(places, valkey.ensure_password(places))
        if program.stage is Stage.SERVICES and str(default) in sources:
            default_model.prepare(default)


def _say_addresses(whole: Plan, chosen: Sequence[Program]) -> None:
    names = {program.name for program in chosen}
    if "frontend" in names:
        report("page", whole.page)
    if "gateway" in names:
        report("gRPC", whole.gateway)
    if "generation" in names:
        report("models", ", ".join(model.name for model in whole.models))
