import pytest
from transformers import AutoTokenizer

from services.generation.encoding import Encoder
from services.generation.engine import ContextLengthExceeded, Prompt
from services.runtime.errors import InvalidArgument
from tests.generation.process import MODEL_DIRECTORY

WINDOW = 64


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_DIRECTORY)


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return Encoder(tokenizer, WINDOW, 49152)


async def test_ids_are_taken_as_they_are(encoder):
    assert await encoder.encode(Prompt(token_ids=[3, 1, 2])) == [3, 1, 2]


@pytest.mark.parametrize("prompt", [Prompt(token_ids=[]), Prompt(text="")])
async def test_an_empty_prompt_is_refused_by_its_own_field(encoder, prompt):
    with pytest.raises(InvalidArgument) as caught:
        await encoder.encode(prompt)
    assert caught.value.field == "prompt"


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(token_ids=[1] * WINDOW),
        Prompt(token_ids=[1] * 10_000_000),
        Prompt(text="word " * WINDOW),
    ],
)
async def test_a_prompt_that_leaves_no_room_is_refused(encoder, prompt):
    with pytest.raises(ContextLengthExceeded) as caught:
        await encoder.encode(prompt)
    assert int(caught.value.metadata["prompt_tokens"]) >= WINDOW


@pytest.mark.timeout(5)
async def test_a_text_that_cannot_fit_is_refused_before_it_is_encoded(encoder):
    with pytest.raises(ContextLengthExceeded):
        await encoder.encode(Prompt(text="가나다 " * 12_000_000))


async def test_a_continuation_is_what_the_whole_has_after_the_context(encoder, tokenizer):
    row = await encoder.continued(Prompt(text="The capital is "), Prompt(text="Paris"))
    assert row.token_ids == tokenizer.encode("The capital is Paris")
    assert row.context_tokens == len(tokenizer.encode("The capital is"))


async def test_a_text_on_its_own_begins_after_the_first_token(encoder, tokenizer):
    row = await encoder.continued(None, Prompt(text="Paris"))
    assert row.token_ids == [tokenizer.bos_token_id, *tokenizer.encode("Paris")]
    assert row.context_tokens == 1


async def test_ids_and_text_are_joined_as_they_are(encoder, tokenizer):
    row = await encoder.continued(Prompt(token_ids=[9, 9]), Prompt(text=" Paris"))
    assert row.token_ids == [9, 9, *tokenizer.encode(" Paris")]
    assert row.context_tokens == 2


async def test_an_empty_continuation_is_refused_by_its_own_field(encoder):
    with pytest.raises(InvalidArgument) as caught:
        await encoder.continued(Prompt(text="a"), Prompt(text="", field="items[0]"))
    assert caught.value.field == "items[0]"
