"""How busy the engine is, and a signal at each of its steps, out of vLLM's stat loggers.

vLLM calls the interface unstable; this is all that we ask of it.
"""

import asyncio
from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from services.generation.engine import Load


class StepSignal(StatLoggerBase):  # type: ignore[misc]
    """Told by vLLM of each engine step, after its outputs have been handed out.

    Attributes:
        load: The load after the last step.
    """

    def __init__(self) -> None:
        # vLLM's loggers are built by vLLM, with its configuration; this one is handed to it.
        self.load = Load()
        self._listeners: set[asyncio.Event] = set()

    def listen(self) -> asyncio.Event:
        """An event that is set at each step until `forget`."""
        event = asyncio.Event()
        self._listeners.add(event)
        return event

    def forget(self, event: asyncio.Event) -> None:
        """Ends `listen`."""
        self._listeners.discard(event)

    def fire(self) -> None:
        """Sets all events."""
        for event in self._listeners:
            event.set()

    def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:
        """Called by vLLM after each step."""
        if scheduler_stats is not None:
            self.load = Load(
                scheduler_stats.num_running_reqs,
                scheduler_stats.num_waiting_reqs
                + getattr(scheduler_stats, "num_skipped_waiting_reqs", 0),
                scheduler_stats.kv_cache_usage,
            )
        self.fire()

    def log_engine_initialized(self) -> None:
        """vLLM's own loggers say that."""
