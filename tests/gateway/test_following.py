import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from damso.chat.v1 import chat_pb2 as pb
from services.runtime.status import error_info
from tests.gateway.gateways import (
    A_WHILE,
    ON_AND_ON,
    Gateway,
    events_of,
    gateway_here,
    kinds,
    settings,
    text_of,
)
from tests.gateway.stores import free_port

STOPPED, COMPLETE = pb.ChatMessage.STATE_STOPPED, pb.ChatMessage.STATE_COMPLETE


def seconds(count: int) -> Duration:
    return Duration(seconds=count)


async def test_attaching_from_every_offset_gives_the_same_text(gateway):
    turn = await gateway.begin(await gateway.conversation(), A_WHILE)
    early = [gateway.attach(turn.id, offset) for offset in range(20)]
    whole = turn.events + await events_of(turn.call)
    assert kinds(whole[:2]) == ["started", "rendered"]
    ends = {event.offset: text_of(whole[: place + 1]) for place, event in enumerate(whole)}
    text = whole[-1].finished.message.content
    assert text_of(whole) == text
    for offset, call in enumerate(early):
        rest = await events_of(call)
        offsets = [event.offset for event in rest]
        assert offsets == sorted(set(offsets))
        assert offsets[0] >= offset
        assert rest[-1] == whole[-1]
        assert text.endswith(text_of(rest))
        if offset - 1 in ends:
            assert ends[offset - 1] + text_of(rest) == text


async def test_a_turn_that_is_over_gives_its_beginning_and_its_end(gateway):
    turn = await gateway.begin(await gateway.conversation(), A_WHILE)
    finished = (await events_of(turn.call))[-1].finished.message
    events = await events_of(gateway.attach(turn.id))
    assert kinds(events) == ["started", "finished"]
    assert events[0].started.user_message == turn.question
    assert events[0].started.message.content == ""
    assert events[1].finished.message == finished
    later = await events_of(gateway.attach(turn.id, offset=7))
    assert [event.offset for event in later] == [7]


async def test_stopping_keeps_what_has_come_and_frees_the_engine(gateway):
    turn = await gateway.begin(await gateway.conversation())
    response = await gateway.chat.StopTurn(pb.StopTurnRequest(message_id=turn.id), timeout=5)
    await gateway.until_idle()
    assert response.message.state == STOPPED
    rest = await events_of(turn.call)
    assert rest[-1].finished.message == response.message
    assert response.message.content == turn.text + text_of(rest)
    assert await gateway.stored(turn.id) == response.message
    # Again it does nothing.
    again = await gateway.chat.StopTurn(pb.StopTurnRequest(message_id=turn.id), timeout=5)
    assert again.message == response.message


async def test_a_turn_is_stopped_before_its_first_word(gateway):
    conversation = await gateway.conversation(settings=ON_AND_ON)
    request = pb.SendMessageRequest(conversation_id=conversation.id, content="x")
    call = gateway.chat.SendMessage(request, timeout=30)
    async for response in call:
        turn = response.event.started.message.id
        break
    stopped = await gateway.chat.StopTurn(pb.StopTurnRequest(message_id=turn), timeout=5)
    assert stopped.message.state == STOPPED
    await gateway.until_idle()
    assert (await events_of(call))[-1].finished.message == stopped.message


async def test_cancelling_the_call_stops_the_turn(gateway):
    turn = await gateway.begin(await gateway.conversation())
    turn.call.cancel()
    await gateway.until_idle()
    message = await gateway.stored(turn.id)
    assert message.state == STOPPED
    assert message.content.startswith(turn.text)


async def test_a_detached_turn_goes_on_and_can_be_taken_up_again(gateway):
    turn = await gateway.begin(await gateway.conversation(), A_WHILE, detached_time=seconds(30))
    turn.call.cancel()
    rest = await events_of(gateway.attach(turn.id, turn.events[-1].offset + 1))
    message = rest[-1].finished.message
    assert message.state == COMPLETE
    assert turn.text + text_of(rest) == message.content


async def test_a_detached_turn_that_nobody_takes_up_stops(gateway):
    turn = await gateway.begin(await gateway.conversation(), detached_time=seconds(1))
    turn.call.cancel()
    await gateway.until_idle()
    assert (await gateway.stored(turn.id)).state == STOPPED


async def test_attaching_may_change_how_long_a_turn_goes_on_alone(gateway):
    turn = await gateway.begin(await gateway.conversation(), detached_time=seconds(60))
    attached = gateway.attach(turn.id, detached_time=seconds(0))
    async for _ in attached:
        break
    turn.call.cancel()
    attached.cancel()
    await gateway.until_idle()
    assert (await gateway.stored(turn.id)).state == STOPPED


async def test_a_passed_deadline_stops_even_a_turn_that_could_go_on_alone(gateway):
    conversation = await gateway.conversation()
    turn = await gateway.begin(conversation, timeout=3, detached_time=seconds(60))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events_of(turn.call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await gateway.until_idle()
    assert (await gateway.stored(turn.id)).state == STOPPED


async def test_a_detached_time_out_of_range_is_refused(gateway):
    conversation = await gateway.conversation()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.begin(conversation, detached_time=seconds(601))
    assert error_info(caught.value).metadata["field"] == "options.detached_time"


async def test_a_failure_in_mid_stream_keeps_what_came_and_the_reason(
    gateway, tokenizer_address, launch
):
    """The engine is reached through another gateway, which is killed."""
    own = gateway.settings
    url = own.database_url.get_secret_value()
    chosen = settings(url, tokenizer_address, own.generation_addresses, port=free_port())
    between = await launch(chosen)
    address = f"127.0.0.1:{between.port}"
    async with grpc.aio.insecure_channel(address) as channel:
        await Gateway(channel, between.port, chosen).until_serving()
    chosen = settings(url, tokenizer_address, [address])
    async with gateway_here(chosen) as front:
        await front.until_serving()
        conversation = await front.conversation()
        turn = await front.begin(conversation)
        await between.kill()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await events_of(turn.call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert error_info(caught.value).reason == "GENERATION_UNAVAILABLE"
        # Who comes later is told the same.
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await events_of(front.attach(turn.id))
        assert late.value.code() is caught.value.code()
        assert late.value.details() == caught.value.details()
        message = (await front.messages(conversation))[-1]
        assert message.state == pb.ChatMessage.STATE_FAILED
        assert message.content.startswith(turn.text)
        assert message.failure.reason == "GENERATION_UNAVAILABLE"
        assert message.failure.HasField("retry_delay")


async def test_readers_that_never_read_slow_nobody(gateway):
    turn = await gateway.begin(await gateway.conversation(), A_WHILE)
    lazy = [gateway.attach(turn.id) for _ in range(50)]
    assert (await events_of(turn.call))[-1].finished.message.state == COMPLETE
    for each in lazy:
        each.cancel()


async def test_several_branches_are_answered_at_once(gateway):
    turn = await gateway.begin(await gateway.conversation(), A_WHILE)
    edit = pb.EditMessageRequest(
        message_id=turn.question.id, content="Another, please!", settings=A_WHILE
    )
    other = gateway.chat.EditMessage(edit, timeout=30)
    async for _ in other:
        break
    request = pb.GetConversationRequest(conversation_id=turn.question.conversation_id)
    conversation = (await gateway.chat.GetConversation(request)).conversation
    assert len(conversation.running_message_ids) == 2
    for call in (turn.call, other):
        assert (await events_of(call))[-1].finished.message.state == COMPLETE
    assert not (await gateway.chat.GetConversation(request)).conversation.running_message_ids


async def test_another_gateway_follows_a_turn_word_by_word(gateway, second):
    turn = await gateway.begin(await gateway.conversation(), A_WHILE)
    attached = second.attach(turn.id)
    whole = turn.events + await events_of(turn.call)
    seen = await events_of(attached)
    assert kinds(seen[:2]) == ["started", "rendered"]
    assert text_of(seen) == text_of(whole)
    assert len(seen) > 10
    assert seen[-1] == whole[-1]
    offsets = [event.offset for event in seen]
    assert offsets == sorted(set(offsets))


async def test_another_gateway_stops_a_turn(gateway, second):
    turn = await gateway.begin(await gateway.conversation())
    message = (await second.chat.StopTurn(pb.StopTurnRequest(message_id=turn.id))).message
    assert message.state == STOPPED
    assert message.content.startswith(turn.text)
    assert (await events_of(turn.call))[-1].finished.message == message
    await gateway.until_idle()


async def test_a_turn_followed_through_another_gateway_is_not_alone(gateway, second):
    turn = await gateway.begin(await gateway.conversation(), detached_time=seconds(1))
    attached = second.attach(turn.id)
    async for _ in attached:
        break
    turn.call.cancel()
    # Longer than the turn goes on alone: the follower's word keeps it.
    following = asyncio.create_task(events_of(attached))
    done, _ = await asyncio.wait({following}, timeout=3)
    assert not done
    await second.chat.StopTurn(pb.StopTurnRequest(message_id=turn.id), timeout=10)
    assert (await following)[-1].finished.message.state == STOPPED


async def test_deleting_through_another_gateway_stops_the_turns(gateway, second):
    turn = await gateway.begin(await gateway.conversation())
    request = pb.DeleteConversationRequest(conversation_id=turn.question.conversation_id)
    await second.chat.DeleteConversation(request, timeout=5)
    await gateway.until_idle()
