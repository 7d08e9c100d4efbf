"""frontend/turns.py: the events of a turn, frame by frame."""

import queue
import threading

import pytest

from frontend.conversation import TextDelta
from frontend.turns import Turn


class Stream:
    """A stream that the test feeds, and that ends when it is cancelled."""

    def __init__(self):
        self._items = queue.Queue()
        self.cancelled = threading.Event()

    def feed(self, *items):
        for item in items:
            self._items.put(item)

    def cancel(self):
        self.cancelled.set()
        self._items.put(None)

    def __iter__(self):
        while (item := self._items.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item


@pytest.fixture
def stream():
    return Stream()


def texts(frames):
    return "".join(event.text for frame in frames for event in frame)


def test_every_event_comes_once_and_in_order(stream):
    stream.feed(*(TextDelta(str(number % 10)) for number in range(2000)), None)
    frames = list(Turn(iter(stream), stream.cancel).frames(1.0, 0.001))
    assert texts(frames) == "".join(str(number % 10) for number in range(2000))


def test_events_that_come_together_share_a_frame(stream):
    stream.feed(TextDelta("a"))
    frames = Turn(iter(stream), stream.cancel).frames(1.0, 60.0)
    stream.feed(*[TextDelta("b")] * 50, None)
    assert len(list(frames)) <= 2


def test_a_silent_stream_gives_empty_frames(stream):
    frames = Turn(iter(stream), stream.cancel).frames(0.01, 0.01)
    assert next(frames) == []
    assert next(frames) == []
    stream.feed(TextDelta("a"), None)
    assert texts(frames) == "a"


def test_a_failure_comes_after_what_came_before_it(stream):
    stream.feed(TextDelta("a"), ValueError("broken"))
    seen = []
    with pytest.raises(ValueError, match="broken"):
        for frame in Turn(iter(stream), stream.cancel).frames(1.0, 0.01):
            seen += frame
    assert seen == [TextDelta("a")]


def test_closing_cancels_the_call_even_where_nobody_reads_on(stream):
    stream.feed(*[TextDelta("a")] * 5000)
    turn = Turn(iter(stream), stream.cancel)
    turn.close()
    assert stream.cancelled.is_set()
    assert not any(
        thread.name == "turn-reader" and thread.join(2) for thread in threading.enumerate()
    )
    assert not any(thread.name == "turn-reader" for thread in threading.enumerate())
