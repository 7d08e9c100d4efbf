import asyncio

import grpc
import pytest
from damso.chat.v1 import chat_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from services.runtime.errors import Unavailable
from services.runtime.status import error_info
from tests.gateway.gateways import events_of, kinds, text_of

STOPPED, COMPLETE = pb.ChatMessage.STATE_STOPPED, pb.ChatMessage.STATE_COMPLETE


async def begun(gateway, words, *, let_out=0, detached_seconds=0.0, timeout=60.0):
    """A turn of which some words have come: its call and the events so far."""
    conversation = await gateway.conversation()
    request = pb.SendMessageRequest(
        conversation_id=conversation.id,
        content="Count!",
        options=pb.TurnOptions(detached_time=Duration(seconds=int(detached_seconds))),
    )
    call = gateway.chat.SendMessage(request, timeout=timeout)
    await words.let_out(let_out)
    events = []
    async for response in call:
        events.append(response.event)
        if text_of(events).count(" ") == let_out and len(events) >= 2:
            return call, events
    raise AssertionError("the turn ended early")


def attach(gateway, message_id, offset=0, timeout=30.0, **fields):
    request = pb.AttachTurnRequest(message_id=message_id, offset=offset, **fields)
    return gateway.chat.AttachTurn(request, timeout=timeout)


async def stored(gateway, message_id):
    events = await events_of(attach(gateway, message_id))
    return events[-1].finished.message


async def test_attaching_from_every_offset_gives_the_same_text(gateway, words):
    call, before = await begun(gateway, words, let_out=4)
    turn = before[0].started.message.id
    calls = [attach(gateway, turn, offset) for offset in range(14)]
    first = await asyncio.gather(*(anext(aiter(each)) for each in calls[:6]))
    await words.let_out()
    whole = before + await events_of(call)
    assert text_of(whole) == "0 1 2 3 4 5 6 7 8 9 "
    assert [event.offset for event in whole] == list(range(len(whole)))
    for offset, each in enumerate(calls):
        rest = ([first[offset].event] if offset < 6 else []) + await events_of(each)
        assert text_of(rest) == "".join(event.delta.text for event in whole[offset:])
        assert rest[-1] == whole[-1] if offset < len(whole) else rest == []
        offsets = [event.offset for event in rest]
        assert offsets == sorted(set(offsets))
        assert not offsets or offsets[0] >= offset


async def test_a_turn_that_is_over_gives_its_beginning_and_its_end(gateway, words):
    call, before = await begun(gateway, words, let_out=3)
    await words.let_out()
    finished = (await events_of(call))[-1].finished.message
    events = await events_of(attach(gateway, finished.id))
    assert kinds(events) == ["started", "finished"]
    assert events[0].started.user_message == before[0].started.user_message
    assert events[0].started.message.content == ""
    assert events[1].finished.message == finished
    later = await events_of(attach(gateway, finished.id, offset=7))
    assert [event.offset for event in later] == [7]


async def test_stopping_keeps_what_has_come_and_frees_the_engine(gateway, words):
    call, before = await begun(gateway, words, let_out=3)
    turn = before[0].started.message.id
    response = await gateway.chat.StopTurn(pb.StopTurnRequest(message_id=turn), timeout=5)
    await words.until_running(0)
    assert (response.message.content, response.message.state) == ("0 1 2 ", STOPPED)
    assert (await events_of(call))[-1].finished.message == response.message
    assert await stored(gateway, turn) == response.message
    # Again it does nothing.
    again = await gateway.chat.StopTurn(pb.StopTurnRequest(message_id=turn), timeout=5)
    assert again.message == response.message


async def test_a_turn_is_stopped_before_its_first_word(gateway, words):
    call, before = await begun(gateway, words)
    turn = before[0].started.message.id
    stop = gateway.chat.StopTurn(pb.StopTurnRequest(message_id=turn), timeout=5)
    assert (await stop).message.state == STOPPED
    await words.until_running(0)


async def test_cancelling_the_call_stops_the_turn(gateway, words):
    call, before = await begun(gateway, words, let_out=2)
    call.cancel()
    await words.until_running(0)
    message = await stored(gateway, before[0].started.message.id)
    assert (message.content, message.state) == ("0 1 ", STOPPED)


async def test_a_detached_turn_goes_on_and_can_be_taken_up_again(gateway, words):
    call, before = await begun(gateway, words, let_out=2, detached_seconds=30)
    turn = before[0].started.message.id
    call.cancel()
    await words.let_out(2)
    attached = attach(gateway, turn, offset=before[-1].offset + 1)
    await words.let_out()
    rest = await events_of(attached)
    assert text_of(rest) == "2 3 4 5 6 7 8 9 "
    assert rest[-1].finished.message.state == COMPLETE


async def test_a_detached_turn_that_nobody_takes_up_stops(gateway, words):
    call, before = await begun(gateway, words, let_out=2, detached_seconds=1)
    call.cancel()
    await words.until_running(0)
    assert (await stored(gateway, before[0].started.message.id)).state == STOPPED


async def test_attaching_may_change_how_long_a_turn_goes_on_alone(gateway, words):
    call, before = await begun(gateway, words, let_out=1, detached_seconds=30)
    turn = before[0].started.message.id
    attached = attach(gateway, turn, detached_time=Duration(seconds=0))
    await anext(aiter(attached))
    call.cancel()
    attached.cancel()
    await words.until_running(0)
    assert (await stored(gateway, turn)).state == STOPPED


async def test_a_passed_deadline_stops_even_a_turn_that_could_go_on_alone(gateway, words):
    call, before = await begun(gateway, words, let_out=2, detached_seconds=60, timeout=1.5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events_of(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await words.until_running(0)
    assert (await stored(gateway, before[0].started.message.id)).state == STOPPED


async def test_a_detached_time_out_of_range_is_refused(gateway):
    conversation = await gateway.conversation()
    request = pb.SendMessageRequest(
        conversation_id=conversation.id,
        content="x",
        options=pb.TurnOptions(detached_time=Duration(seconds=601)),
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events_of(gateway.chat.SendMessage(request, timeout=5))
    assert error_info(caught.value).metadata["field"] == "options.detached_time"


async def test_a_failure_in_mid_stream_keeps_what_came_and_the_reason(gateway, words):
    call, before = await begun(gateway, words, let_out=3)
    turn = before[0].started.message.id
    words.failure = Unavailable("the engine died", retry_after_seconds=7)
    await words.let_out()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events_of(call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert caught.value.details() == "the engine died"
    # Who comes later is told the same.
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await events_of(attach(gateway, turn))
    assert late.value.details() == "the engine died"
    conversation = before[0].started.message.conversation_id
    request = pb.ListMessagesRequest(conversation_id=conversation)
    message = (await gateway.chat.ListMessages(request)).messages[0]
    assert (message.content, message.state) == ("0 1 2 ", pb.ChatMessage.STATE_FAILED)
    assert message.failure.retry_delay.seconds == 7


async def test_a_reader_that_never_reads_slows_nobody(gateway, words):
    call, before = await begun(gateway, words, let_out=1)
    turn = before[0].started.message.id
    lazy = [attach(gateway, turn) for _ in range(20)]
    await words.let_out()
    assert (await events_of(call))[-1].finished.message.state == COMPLETE
    for each in lazy:
        each.cancel()


async def test_several_branches_are_answered_at_once(gateway, words):
    call, before = await begun(gateway, words, let_out=1)
    started = before[0].started
    edit = pb.EditMessageRequest(message_id=started.user_message.id, content="Again!")
    other = gateway.chat.EditMessage(edit, timeout=30)
    await words.until_running(2)
    request = pb.GetConversationRequest(conversation_id=started.message.conversation_id)
    conversation = (await gateway.chat.GetConversation(request)).conversation
    assert len(conversation.running_message_ids) == 2
    await words.let_out()
    for each in (call, other):
        assert (await events_of(each))[-1].finished.message.state == COMPLETE
    assert not (await gateway.chat.GetConversation(request)).conversation.running_message_ids


async def test_another_gateway_follows_a_turn_word_by_word(gateway, second, words):
    call, before = await begun(gateway, words, let_out=3)
    turn = before[0].started.message.id
    attached = attach(second, turn)
    seen = []
    async for response in attached:
        seen.append(response.event)
        if text_of(seen) == "0 1 2 ":
            break
    await words.let_out()
    whole = before + await events_of(call)
    seen += await events_of(attached)
    assert kinds(seen[:2]) == ["started", "rendered"]
    assert text_of(seen) == text_of(whole)
    assert seen[-1].finished.message == whole[-1].finished.message
    # From an offset on it is the same.
    assert [event.offset for event in seen] == [event.offset for event in whole]


async def test_another_gateway_stops_a_turn(gateway, second, words):
    call, before = await begun(gateway, words, let_out=3)
    request = pb.StopTurnRequest(message_id=before[0].started.message.id)
    message = (await second.chat.StopTurn(request, timeout=10)).message
    assert (message.content, message.state) == ("0 1 2 ", STOPPED)
    await words.until_running(0)
    assert (await events_of(call))[-1].finished.message == message


async def test_a_turn_followed_through_another_gateway_is_not_alone(gateway, second, words):
    call, before = await begun(gateway, words, let_out=1, detached_seconds=1)
    turn = before[0].started.message.id
    attached = attach(second, turn)
    await anext(aiter(attached))
    call.cancel()
    # Longer than the turn goes on alone: the follower's word keeps it.
    seen = asyncio.create_task(events_of(attached))
    done, _ = await asyncio.wait({seen}, timeout=3)
    assert not done
    await words.let_out()
    assert (await seen)[-1].finished.message.state == COMPLETE


async def test_deleting_through_another_gateway_stops_the_turns(gateway, second, words):
    call, before = await begun(gateway, words, let_out=1)
    request = pb.DeleteConversationRequest(
        conversation_id=before[0].started.message.conversation_id
    )
    await second.chat.DeleteConversation(request, timeout=5)
    await words.until_running(0)
