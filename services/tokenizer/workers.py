"""A few threads for the work that would hold up the event loop, and a bound on what waits."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Self, TypeVar

from services.runtime.errors import ResourceExhausted

Result = TypeVar("Result")


class TokenizerBusy(ResourceExhausted):
    """All threads work and enough calls wait already."""

    reason = "TOKENIZER_BUSY"


class Workers:
    """Runs functions in threads. The tokenizers library releases the interpreter's lock.

    Args:
        threads: How many run at once.
        max_waiting: How many more may wait.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tokenizer")
        self._places = threading.BoundedSemaphore(threads + max_waiting)

    @classmethod
    @contextmanager
    def started(cls, threads: int, max_waiting: int) -> Iterator[Self]:
        """Ends the threads when the block is left; what waits is dropped."""
        this = cls(threads, max_waiting)
        try:
            yield this
        finally:
            this._pool.shutdown(wait=False, cancel_futures=True)

    async def run(self, function: Callable[[], Result]) -> Result:
        """Calls `function` in a thread. A call that goes away while it waits frees its place.

        Raises:
            TokenizerBusy: Too many wait.
        """
        if not self._places.acquire(blocking=False):
            raise TokenizerBusy("the tokenizer has too much to do; try again")
        future = self._pool.submit(function)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)
