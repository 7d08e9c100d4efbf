import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from services.gateway.conversations import Message, Role, State
from services.gateway.events import Delta, Finished, Rendered
from services.gateway.turns import Turn, TurnLimits
from services.runtime.errors import ServiceError

NOW = datetime.now(UTC)


def a_turn(**limits) -> Turn:
    return Turn(uuid4(), TurnLimits(**limits))


async def read(turn, offset=0):
    return [event async for event in turn.events(offset)]


async def test_a_lagging_reader_gets_the_missed_deltas_as_one():
    turn = a_turn()
    turn.append(Rendered(1, 2, (), ""))
    for letter in "abcde":
        turn.append(Delta(letter))
    turn.close()
    events = await read(turn)
    assert [(event.offset, event.event) for event in events] == [
        (0, Rendered(1, 2, (), "")),
        (5, Delta("abcde")),
    ]
    assert [event.event for event in await read(turn, 3)] == [Delta("cde")]
    assert await read(turn, 6) == []


async def test_a_reader_that_keeps_up_gets_every_delta_alone():
    turn = a_turn()
    async with aclosing(turn.events(0)) as events:
        for offset, letter in enumerate("xyz"):
            turn.append(Delta(letter))
            event = await anext(events)
            assert (event.offset, event.event) == (offset, Delta(letter))


async def test_a_reader_beyond_the_end_is_told_how_it_ended():
    turn = a_turn()
    answer = Message(turn.message_id, uuid4(), None, Role.ASSISTANT, "a", State.COMPLETE, NOW)
    turn.append(Delta("a"))
    reading = asyncio.create_task(read(turn, 7))
    await asyncio.sleep(0)
    turn.append(Finished(answer))
    turn.close()
    assert [event.event for event in await reading] == [Finished(answer)]
    assert [event.event for event in await read(turn)] == [Delta("a"), Finished(answer)]


async def test_a_follower_elsewhere_keeps_the_turn_when_the_last_reader_here_leaves():
    turn = a_turn()
    with pytest.raises(TimeoutError):
        async with turn.until_stopped():
            async with turn.attached(lambda: False):
                turn.keep(0.05)
            async with asyncio.timeout(0.01) as alone:
                await asyncio.Event().wait()
    assert alone.expired()


async def test_an_error_comes_after_the_last_event():
    turn = a_turn()
    turn.append(Delta("a"))
    turn.close(ServiceError("broken"))
    with pytest.raises(ServiceError, match="broken"):
        await read(turn)


async def test_a_turn_stopped_before_it_began_stops_at_once():
    turn = a_turn()
    turn.stop()
    with pytest.raises(TimeoutError):
        async with turn.until_stopped():
            await asyncio.Event().wait()


async def test_stopping_cuts_short_what_runs_and_nothing_after_it():
    turn = a_turn()
    with pytest.raises(TimeoutError):
        async with turn.until_stopped():
            turn.stop()
            await asyncio.Event().wait()
    turn.stop()
    await asyncio.sleep(0)


async def test_the_turns_own_time_cuts_it_short():
    turn = a_turn(total_seconds=0.01)
    with pytest.raises(TimeoutError):
        async with turn.until_stopped():
            await asyncio.Event().wait()


async def test_a_reader_that_leaves_is_forgotten():
    turn = a_turn()
    task = asyncio.create_task(read(turn))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    turn.append(Delta("a"))
    assert not turn._waiting
