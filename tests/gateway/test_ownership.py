import random

import grpc
import pytest
from damso.chat.v1 import chat_pb2 as pb

from services.runtime.status import error_info
from tests.gateway.gateways import Gateway, events_of, gateway_here, settings, start_process
from tests.gateway.stores import Postgres, free_port

INTERRUPTED = pb.ChatMessage.STATE_INTERRUPTED


async def begin(gateway, conversation, content):
    """A turn of which one word has come, and its call."""
    request = pb.SendMessageRequest(conversation_id=conversation.id, content=content)
    call = gateway.chat.SendMessage(request, timeout=60)
    async for response in call:
        if response.event.WhichOneof("event") == "delta":
            return call, response.event
    raise AssertionError("the turn ended early")


@pytest.fixture
async def crashing(gateway, tokenizer_address, counter):
    """Settings of a gateway in a process of its own, beside `gateway` on the same database."""
    url = gateway.settings.database_url.get_secret_value()
    return settings(url, tokenizer_address, [counter[1]], port=free_port())


async def test_a_killed_gateway_loses_no_finished_message_and_cut_off_turns_are_shown_as_such(
    crashing, gateway, words
):
    """Killed several times at random moments of many turns."""
    chance = random.Random(20261123)
    finished: dict[str, str] = {}
    begun: set[str] = set()
    for _ in range(4):
        process = await start_process(crashing)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            crashed = Gateway(channel, process.port, crashing)
            await crashed.until_serving()
            conversation = await crashed.conversation()
            answer = await _finish_one(crashed, conversation, words)
            finished[answer.id] = answer.content
            calls = []
            for number in range(8):
                calls.append(await _begin_one(crashed, answer, number, words))
            for _ in range(chance.randrange(60)):
                await words.let_out(1)
            await process.kill()
            for call in calls:
                try:
                    async for response in call:
                        if response.event.HasField("started"):
                            begun.add(response.event.started.message.id)
                        if response.event.HasField("finished"):
                            message = response.event.finished.message
                            finished[message.id] = message.content
                except grpc.aio.AioRpcError:
                    pass
        await words.until_running(0)
        await words.hold()
    assert len(finished) >= 4
    for message_id, content in finished.items():
        attached = gateway.chat.AttachTurn(pb.AttachTurnRequest(message_id=message_id), timeout=20)
        message = (await events_of(attached))[-1].finished.message
        assert (message.state, message.content) == (pb.ChatMessage.STATE_COMPLETE, content)
    for message_id in begun - finished.keys():
        attached = gateway.chat.AttachTurn(pb.AttachTurnRequest(message_id=message_id), timeout=20)
        message = (await events_of(attached))[-1].finished.message
        assert message.state in (INTERRUPTED, pb.ChatMessage.STATE_COMPLETE)
        assert "0 1 2 3 4 5 6 7 8 9 ".startswith(message.content)
    running = True  # also what had begun without our hearing of it ends
    while running:
        page = await gateway.chat.ListConversations(pb.ListConversationsRequest())
        running = any(conversation.running_message_ids for conversation in page.conversations)


async def _finish_one(gateway, conversation, words):
    request = pb.SendMessageRequest(conversation_id=conversation.id, content="first")
    call = gateway.chat.SendMessage(request, timeout=30)
    await words.let_out(10)
    return (await events_of(call))[-1].finished.message


async def _begin_one(gateway, parent, number, words):
    request = pb.SendMessageRequest(
        conversation_id=parent.conversation_id, parent_id=parent.id, content=f"number {number}"
    )
    call = gateway.chat.SendMessage(request, timeout=60)
    await words.until_running(number + 1)
    return call


async def test_what_had_been_saved_of_a_cut_off_turn_is_kept(crashing, gateway, words):
    process = await start_process(crashing)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        crashed = Gateway(channel, process.port, crashing)
        await crashed.until_serving()
        conversation = await crashed.conversation()
        await words.let_out(4)
        _, event = await begin(crashed, conversation, "x")
        # Saved at the latest a second later: another gateway sees it.
        content = ""
        while content != "0 1 2 3 ":
            content = (await gateway.messages(conversation))[-1].content
        await process.kill()
    turn = (await gateway.messages(conversation))[-1].id
    attached = gateway.chat.AttachTurn(pb.AttachTurnRequest(message_id=turn), timeout=20)
    message = (await events_of(attached))[-1].finished.message
    assert (message.content, message.state) == ("0 1 2 3 ", INTERRUPTED)


async def test_a_gateway_that_lives_keeps_its_turns_when_others_start(gateway, second, words):
    conversation = await gateway.conversation()
    await words.let_out(1)
    call, _ = await begin(gateway, conversation, "x")
    async with gateway_here(gateway.settings) as third:
        await third.until_serving()
        assert (await third.messages(conversation))[-1].state == pb.ChatMessage.STATE_RUNNING
    await words.let_out()
    assert (await events_of(call))[-1].finished.message.state == pb.ChatMessage.STATE_COMPLETE


async def test_a_gateway_that_is_told_to_end_saves_what_has_come(
    gateway, tokenizer_address, counter, words
):
    ending = settings(
        gateway.settings.database_url.get_secret_value(), tokenizer_address, [counter[1]]
    )
    conversation = await gateway.conversation()
    async with gateway_here(ending) as ended:
        await ended.until_serving()
        await words.let_out(3)
        _, _ = await begin(ended, conversation, "x")
        await words.until_running(1)
    await words.until_running(0)
    message = (await gateway.messages(conversation))[-1]
    assert message.state == INTERRUPTED


async def test_two_gateways_may_start_at_once_on_an_empty_database(
    postgres, tokenizer_address, counter
):
    chosen = settings(postgres.new_database(), tokenizer_address, [counter[1]])
    async with gateway_here(chosen) as one, gateway_here(chosen) as other:
        await one.until_serving()
        await other.until_serving()
        made = await one.conversation(title="shared")
        request = pb.GetConversationRequest(conversation_id=made.id)
        assert (await other.chat.GetConversation(request)).conversation == made


async def test_a_gateway_waits_for_its_database_and_finds_it_again(
    tokenizer_address, counter, words
):
    postgres = Postgres()
    chosen = settings(postgres.new_database(), tokenizer_address, [counter[1]])
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
        await words.let_out(1)
        call, _ = await begin(gateway, conversation, "x")
        # It goes away in the middle of a turn, which ends when it is back.
        postgres.stop()
        await gateway.until_serving(False)
        await words.let_out()
        postgres.start()
        answer = (await events_of(call))[-1].finished.message
        assert answer.state == pb.ChatMessage.STATE_COMPLETE
        await gateway.until_serving()
        assert (await gateway.messages(conversation))[-1] == answer
    postgres.close()
