"""services/tokenizer/workers.py: work leaves the event loop, and only so much of it waits."""

import asyncio
import threading

import pytest

from services.tokenizer.workers import TokenizerBusy, Workers


async def test_work_is_done_in_a_thread_and_its_result_or_error_comes_back():
    with Workers.started(threads=1, max_waiting=1) as workers:
        assert await workers.run(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 // 0)


async def test_work_beyond_what_may_wait_is_refused_until_there_is_room():
    go_on = threading.Event()
    with Workers.started(threads=1, max_waiting=1) as workers:
        taken = [asyncio.ensure_future(workers.run(go_on.wait)) for _ in range(2)]
        await asyncio.sleep(0)  # both have begun
        with pytest.raises(TokenizerBusy):
            await workers.run(int)
        go_on.set()
        await asyncio.wait(taken)
        assert await workers.run(int) == 0


async def test_a_caller_that_stops_waiting_frees_its_place():
    go_on = threading.Event()
    with Workers.started(threads=1, max_waiting=1) as workers:
        running = asyncio.ensure_future(workers.run(go_on.wait))
        waiting = asyncio.ensure_future(workers.run(int))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        successor = asyncio.ensure_future(workers.run(int))
        await asyncio.sleep(0)
        go_on.set()
        assert await running
        assert await successor == 0
