import pytest
from damso.chat.v1 import chat_pb2 as pb

from tests.gateway.gateways import events_of, gateway_here, settings, text_of
from tests.gateway.stores import Valkey


@pytest.fixture
def own_valkey():
    server = Valkey()
    yield server
    server.kill()


@pytest.fixture
async def pair(postgres, own_valkey, tokenizer_address, counter):
    """Two gateways whose Valkey may be killed."""
    chosen = settings(postgres.new_database(), tokenizer_address, [counter[1]], own_valkey.url)
    async with gateway_here(chosen) as one, gateway_here(chosen) as other:
        await one.until_serving()
        await other.until_serving()
        yield one, other


async def begin(gateway, words, count):
    conversation = await gateway.conversation()
    request = pb.SendMessageRequest(conversation_id=conversation.id, content="Count!")
    call = gateway.chat.SendMessage(request, timeout=60)
    await words.let_out(count)
    events = []
    async for response in call:
        events.append(response.event)
        if text_of(events).count(" ") == count:
            return call, events
    raise AssertionError("the turn ended early")


def attach(gateway, message_id):
    return gateway.chat.AttachTurn(pb.AttachTurnRequest(message_id=message_id), timeout=30)


async def test_a_turn_goes_on_when_redis_is_lost(pair, own_valkey, words):
    one, other = pair
    call, before = await begin(one, words, 3)
    attached = attach(other, before[0].started.message.id)
    seen = []
    async for response in attached:
        seen.append(response.event)
        if text_of(seen) == "0 1 2 ":
            break
    own_valkey.kill()
    await words.let_out()
    whole = before + await events_of(call)
    assert whole[-1].finished.message.state == pb.ChatMessage.STATE_COMPLETE
    # The follower learns of the end from the database.
    seen += await events_of(attached)
    assert seen[-1].finished.message == whole[-1].finished.message


async def test_a_turn_is_copied_anew_when_redis_is_back(pair, own_valkey, words):
    one, other = pair
    call, before = await begin(one, words, 3)
    own_valkey.kill()
    own_valkey.start()
    await words.let_out(2)
    seen = []
    attached = attach(other, before[0].started.message.id)
    async for response in attached:
        seen.append(response.event)
        if text_of(seen) == "0 1 2 3 4 ":
            break
    await words.let_out()
    seen += await events_of(attached)
    assert text_of(seen) == "0 1 2 3 4 5 6 7 8 9 "
    assert (await events_of(call))[-1].finished.message == seen[-1].finished.message


async def test_chat_does_without_redis(postgres, tokenizer_address, counter, words):
    chosen = settings(postgres.new_database(), tokenizer_address, [counter[1]])
    chosen = chosen.model_copy(update={"redis_url": None})
    await words.let_out()
    async with gateway_here(chosen) as gateway:
        await gateway.until_serving()
        answer = await gateway.ask(await gateway.conversation(), "x")
        assert answer.state == pb.ChatMessage.STATE_COMPLETE
