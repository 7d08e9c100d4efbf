"""How far a start is: its phases, and how long each took last time."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Phase(Enum):
    """What a start is doing; in this order."""

    IMPORTING = "importing"
    STARTING_ENGINE = "starting_engine"
    WARMING_UP = "warming_up"


# On two cores with a small model; only until the first start has been timed.
_FIRST_GUESS_SECONDS = {Phase.IMPORTING: 20.0, Phase.STARTING_ENGINE: 15.0, Phase.WARMING_UP: 2.0}


@dataclass(frozen=True, slots=True)
class Progress:
    """A start's progress at one moment."""

    phase: Phase
    share: float
    """Of the whole start, in [0, 1)."""
    remaining_seconds: float | None
    """None: no start has been timed yet."""


class Loading:
    """Times a start by its phases and remembers them for the next one.

    Args:
        record: File of past durations. It may be absent or damaged.
        clock: Seconds on a monotonic clock.
    """

    def __init__(self, record: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._record = record
        self._clock = clock
        self._expected = _read(record)
        self._took: dict[Phase, float] = {}
        self._phase = Phase.IMPORTING
        self._began = clock()

    def enter(self, phase: Phase) -> None:
        """Ends the current phase and begins another."""
        now = self._clock()
        self._took[self._phase] = now - self._began
        self._phase, self._began = phase, now

    def finish(self) -> float:
        """Ends the last phase and keeps all durations; returns their sum in seconds."""
        self.enter(self._phase)
        durations = {phase.value: round(seconds, 3) for phase, seconds in self._took.items()}
        partial = self._record.with_suffix(".partial")
        partial.write_text(json.dumps(durations))
        partial.replace(self._record)
        return sum(self._took.values())

    def progress(self) -> Progress:
        """Where the start is now, judged by how long its phases took last time."""
        expected = self._expected or _FIRST_GUESS_SECONDS
        elapsed = self._clock() - self._began
        here = expected[self._phase]
        # A phase that takes longer than last time creeps towards its end without reaching it.
        known = 0.9 * here
        inside = elapsed if elapsed < known else here - (here - known) * known / elapsed
        done = sum(expected[phase] for phase in self._took if phase is not self._phase) + inside
        total = sum(expected.values())
        return Progress(
            self._phase, done / total, total - done if self._expected is not None else None
        )


def _read(record: Path) -> dict[Phase, float] | None:
    try:
        kept = json.loads(record.read_text())
        durations = {phase: float(kept[phase.value]) for phase in Phase}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return durations if all(0 < seconds < 3600 for seconds in durations.values()) else None
