"""A turn that the page follows: its events frame by frame, and a moment's rest where none come.

A page script can be interrupted (by Stop, or by any click) only when it touches Streamlit. Reading
the stream directly would leave it deaf until the next token, so a thread reads ahead.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator

from frontend.conversation import TurnEvent

_READ_AHEAD = 512
"""Events kept for the page; beyond them the stream is held back."""


class Turn:
    """The events of one turn.

    Args:
        events: The stream; raises what ends it early.
        cancel: Ends the stream's call. The turn itself goes on for its detached time.
    """

    def __init__(self, events: Iterator[TurnEvent], cancel: Callable[[], object]) -> None:
        self._events = events
        self._cancel = cancel
        self._closed = threading.Event()
        self._queue: queue.Queue[TurnEvent | Exception | None] = queue.Queue(_READ_AHEAD)
        threading.Thread(target=self._read, name="turn-reader", daemon=True).start()

    def frames(self, tick_seconds: float, frame_seconds: float) -> Iterator[list[TurnEvent]]:
        """Yields what came since the last frame until the stream ends.

        Args:
            tick_seconds: An empty frame is yielded after so long without an event.
            frame_seconds: Events that come closer together than this share a frame.

        Raises:
            Exception: What the stream raised, after what came before it.
        """
        drawn = 0.0
        while True:
            frame: list[TurnEvent] = []
            try:
                item = self._queue.get(timeout=tick_seconds)
            except queue.Empty:
                yield frame
                continue
            due = drawn + frame_seconds
            while item is not None and not isinstance(item, Exception):
                frame.append(item)
                try:
                    item = self._queue.get(timeout=max(0.0, due - time.monotonic()))
                except queue.Empty:
                    break
            else:
                if frame:
                    yield frame
                if item is not None:
                    raise item
                return
            yield frame
            drawn = time.monotonic()

    def close(self) -> None:
        """Leaves the stream."""
        self._closed.set()
        self._cancel()

    def _read(self) -> None:
        try:
            for event in self._events:
                self._put(event)
        except Exception as error:
            self._put(error)
        else:
            self._put(None)

    def _put(self, item: TurnEvent | Exception | None) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
        return None
