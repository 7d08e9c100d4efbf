"""What a person reads: one line per part and event."""

import time

NAME_WIDTH = 14


def say(text: str) -> None:
    """Prints a line at once, also where the output is a pipe."""
    print(text, flush=True)


def report(name: str, text: str) -> None:
    """Prints what happened to one part."""
    say(f"{name:<{NAME_WIDTH}}{text}")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._start
