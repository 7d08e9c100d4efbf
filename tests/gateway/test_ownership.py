import asyncio
import random

import grpc
import pytest

from damso.chat.v1 import chat_pb2 as pb
from services.runtime.status import error_info
from tests.gateway.gateways import (
    A_WHILE,
    Gateway,
    events_of,
    gateway_here,
    settings,
    talking,
    text_of,
)
from tests.gateway.stores import Postgres, free_port

COMPLETE, INTERRUPTED = pb.ChatMessage.STATE_COMPLETE, pb.ChatMessage.STATE_INTERRUPTED


@pytest.fixture
async def crashing(gateway, tokenizer_address, generation_address):
    """Settings of a gateway in a process of its own, beside `gateway` on the same database."""
    url = gateway.settings.database_url.get_secret_value()
    return settings(url, tokenizer_address, [generation_address], port=free_port())


async def follow(call, seen: list[pb.TurnEvent]) -> None:
    """Notes the events of a turn until it ends, or its gateway does."""
    try:
        async for response in call:
            seen.append(response.event)
    except grpc.aio.AioRpcError:
        pass


async def test_a_killed_gateway_loses_no_finished_message_and_cut_off_turns_are_shown_as_such(
    crashing, gateway, launch
):
    """Killed several times, each time at another moment of several turns of different lengths."""
    moments = random.Random(20261123)
    turns: list[list[pb.TurnEvent]] = []
    for _ in range(3):
        process = await launch(crashing)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            crashed = Gateway(channel, process.port, crashing)
            await crashed.until_serving()
            conversation = await crashed.conversation()
            await crashed.ask(conversation, "first")
            parent = (await crashed.messages(conversation))[-1].id
            seen: list[list[pb.TurnEvent]] = [[] for _ in range(6)]
            following = [
                asyncio.create_task(
                    follow(
                        crashed.chat.SendMessage(
                            pb.SendMessageRequest(
                                conversation_id=conversation.id,
                                parent_id=parent,
                                content="Tell me a story.",
                                settings=talking(4 + 10 * number),
                            ),
                            timeout=60,
                        ),
                        seen[number],
                    )
                )
                for number in range(6)
            ]
            await asyncio.wait({following[moments.randrange(4)]})
            await process.kill()
            await asyncio.wait(following)
            turns += seen
    begun = [events for events in turns if events]
    finished = [events for events in begun if events[-1].HasField("finished")]
    assert finished
    assert len(finished) < len(begun)
    for events in begun:
        kept = await gateway.stored(events[0].started.message.id)
        if events in finished:
            assert kept == events[-1].finished.message
        else:
            assert kept.state in (INTERRUPTED, COMPLETE)
    running = True  # also what had begun without our hearing of it ends
    while running:
        page = await gateway.chat.ListConversations(pb.ListConversationsRequest())
        running = any(conversation.running_message_ids for conversation in page.conversations)


async def test_what_had_been_saved_of_a_cut_off_turn_is_kept(crashing, gateway, launch):
    process = await launch(crashing)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        crashed = Gateway(channel, process.port, crashing)
        await crashed.until_serving()
        conversation = await crashed.conversation()
        turn = await crashed.begin(conversation)
        saved = ""
        while not saved:  # at the latest a second later another gateway sees it
            saved = (await gateway.messages(conversation))[-1].content
        await process.kill()
    message = await gateway.stored(turn.id)
    assert message.state == INTERRUPTED
    assert message.content.startswith(saved)
    assert saved.startswith(turn.text)


async def test_a_gateway_that_lives_keeps_its_turns_when_others_start(gateway):
    conversation = await gateway.conversation()
    turn = await gateway.begin(conversation, A_WHILE)
    async with gateway_here(gateway.settings) as other:
        await other.until_serving()
        request = pb.GetConversationRequest(conversation_id=conversation.id)
        running = (await other.chat.GetConversation(request)).conversation.running_message_ids
        assert list(running) == [turn.id]
    assert (await events_of(turn.call))[-1].finished.message.state == COMPLETE


async def test_a_gateway_that_is_told_to_end_saves_what_has_come(gateway):
    conversation = await gateway.conversation()
    async with gateway_here(gateway.settings) as ended:
        await ended.until_serving()
        turn = await ended.begin(conversation)
    message = await gateway.stored(turn.id)
    assert message.state == INTERRUPTED
    assert message.content.startswith(turn.text)
    await gateway.until_idle()


async def test_two_gateways_may_start_at_once_on_an_empty_database(
    postgres, tokenizer_address, generation_address
):
    chosen = settings(postgres.new_database(), tokenizer_address, [generation_address])
    async with gateway_here(chosen) as one, gateway_here(chosen) as other:
        await one.until_serving()
        await other.until_serving()
        made = await one.conversation(title="shared")
        request = pb.GetConversationRequest(conversation_id=made.id)
        assert (await other.chat.GetConversation(request)).conversation == made


async def test_a_gateway_waits_for_its_database_and_finds_it_again(
    tokenizer_address, generation_address
):
    postgres = Postgres()
    chosen = settings(postgres.new_database(), tokenizer_address, [generation_address])
    postgres.stop()
    async with gateway_here(chosen) as gateway:
        request = pb.ListConversationsRequest()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.chat.ListConversations(request, timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert error_info(caught.value).reason == "DATABASE_UNAVAILABLE"
        postgres.start()
        await gateway.until_serving()
        conversation = await gateway.conversation()
        turn = await gateway.begin(conversation, A_WHILE)
        # It goes away in the middle of a turn, which ends when it is back.
        postgres.stop()
        await gateway.until_serving(False)
        postgres.start()
        rest = await events_of(turn.call)
        answer = rest[-1].finished.message
        assert answer.state == COMPLETE
        assert answer.content == turn.text + text_of(rest)
        await gateway.until_serving()
        assert (await gateway.messages(conversation))[-1] == answer
    postgres.close()
