import pytest

from damso.chat.v1 import chat_pb2 as pb
from tests.gateway.gateways import A_WHILE, events_of, gateway_here, settings, text_of
from tests.gateway.stores import Valkey

COMPLETE = pb.ChatMessage.STATE_COMPLETE


@pytest.fixture
def own_valkey():
    server = Valkey()
    yield server
    server.kill()


@pytest.fixture
async def pair(postgres, own_valkey, tokenizer_address, generation_address):
    """Two gateways whose Valkey may be killed."""
    chosen = settings(
        postgres.new_database(), tokenizer_address, [generation_address], own_valkey.url
    )
    async with gateway_here(chosen) as one, gateway_here(chosen) as other:
        await one.until_serving()
        await other.until_serving()
        yield one, other


async def test_a_turn_goes_on_when_redis_is_lost(pair, own_valkey):
    one, other = pair
    turn = await one.begin(await one.conversation(), A_WHILE)
    attached = other.attach(turn.id)
    async for response in attached:
        if response.event.HasField("delta"):
            break
    own_valkey.kill()
    finished = (await events_of(turn.call))[-1].finished.message
    assert finished.state == COMPLETE
    # The follower learns of the end from the database.
    assert (await events_of(attached))[-1].finished.message == finished


async def test_a_turn_is_copied_anew_when_redis_is_back(pair, own_valkey):
    one, other = pair
    turn = await one.begin(await one.conversation(), A_WHILE)
    own_valkey.kill()
    own_valkey.start()
    seen = await events_of(other.attach(turn.id))
    whole = turn.events + await events_of(turn.call)
    assert seen[-1].finished.message == whole[-1].finished.message
    assert text_of(seen) in ("", text_of(whole))  # all of it, or the end alone: never a hole


async def test_chat_does_without_redis(postgres, tokenizer_address, generation_address):
    chosen = settings(postgres.new_database(), tokenizer_address, [generation_address])
    chosen = chosen.model_copy(update={"redis_url": None})
    async with gateway_here(chosen) as gateway:
        await gateway.until_serving()
        assert (await gateway.ask(await gateway.conversation(), "x")).state == COMPLETE
