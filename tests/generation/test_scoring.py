"""`Score` and `NextTokens` through the service's door, against transformers and themselves."""

import asyncio
import math
import random

import grpc.aio
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from damso.generation.v1 import generation_pb2 as pb
from services.runtime.status import error_info
from tests.generation.process import MODEL_DIRECTORY

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "rain", "fell", "over", "green", "hills"]


def sentences(count):
    chosen = random.Random(3)
    return [" ".join(chosen.choices(WORDS, k=chosen.randint(3, 60))) for _ in range(count)]


def item(*continuations, context=""):
    return pb.ScoreItem(
        context=pb.Content(text=context) if context else None,
        continuations=[pb.Content(text=text) for text in continuations],
    )


@pytest.fixture(scope="session")
def score(generation):
    async def run(*items, **options):
        request = pb.ScoreRequest(items=items, **options)
        return [list(row.scores) for row in (await generation.Score(request, timeout=300)).items]

    return run


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_DIRECTORY)


@pytest.fixture(scope="module")
def reference():
    """The same model by transformers, in float32."""
    return AutoModelForCausalLM.from_pretrained(MODEL_DIRECTORY, dtype=torch.float32).eval()


@torch.inference_mode()
def reference_logprobs(reference, ids):
    logits = reference(torch.tensor([ids])).logits[0].log_softmax(-1)  # (tokens, vocabulary)
    return [float(logits[place, token]) for place, token in enumerate(ids[1:])]


async def test_scores_are_those_of_transformers(score, reference, tokenizer):
    texts = ["Paris is the capital of France.", "대한민국의 수도", *sentences(4)]
    for text, (found,) in zip(texts, await score(*map(item, texts)), strict=True):
        ids = [tokenizer.bos_token_id, *tokenizer.encode(text)]
        expected = reference_logprobs(reference, ids)
        assert [entry.token.token_id for entry in found.tokens] == ids[1:]
        assert found.token_count == len(expected)
        # bfloat16 keeps 8 bits: logits of about 20 are off by up to 0.06 each.
        assert found.logprob / len(expected) == pytest.approx(
            sum(expected) / len(expected), abs=0.05
        )
        for entry, logprob in zip(found.tokens, expected, strict=True):
            assert entry.token.logprob == pytest.approx(logprob, abs=0.4)


async def test_the_figures_of_a_score_agree_with_each_other(score):
    ((found,),) = await score(item("Paris is the capital of France."), alternatives=2)
    logprobs = [entry.token.logprob for entry in found.tokens]
    assert found.logprob == pytest.approx(math.fsum(logprobs))
    assert found.perplexity == pytest.approx(math.exp(-found.logprob / found.token_count))
    assert found.is_greedy == all(entry.token.rank == 1 for entry in found.tokens)
    for entry in found.tokens:
        assert len(entry.alternatives) == 2
        assert entry.alternatives[0].logprob >= entry.token.logprob
    assert "".join(entry.token.token for entry in found.tokens) == "Paris is the capital of France."


async def test_a_greedy_continuation_is_found_greedy(score):
    context = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ((greedy, other),) = await score(
        item("The capital of France is Paris.", "The capital is cheese.", context=context)
    )
    assert greedy.is_greedy
    assert not other.is_greedy
    assert greedy.logprob / greedy.token_count > other.logprob / other.token_count


async def test_a_chain_of_next_tokens_adds_up_to_the_score(generation, score, tokenizer):
    ids = tokenizer.encode("Once upon a time there was")
    ((whole,),) = await score(
        pb.ScoreItem(
            context=pb.Content(token_ids={"token_ids": ids[:2]}),
            continuations=[pb.Content(token_ids={"token_ids": ids[2:]})],
        )
    )
    chain = 0.0
    for place in range(2, len(ids)):
        prefix = pb.Content(token_ids={"token_ids": ids[:place]})
        request = pb.NextTokensRequest(prefix=prefix, top_k=1000)
        tokens = (await generation.NextTokens(request, timeout=60)).tokens
        (found,) = [token for token in tokens if token.token_id == ids[place]]
        chain += found.logprob
    assert chain == pytest.approx(whole.logprob, abs=1e-3)


async def test_next_tokens_come_most_probable_first_and_are_the_models_own(
    generation, reference, tokenizer
):
    text = "The capital of France is"
    response = await generation.NextTokens(pb.NextTokensRequest(prefix=pb.Content(text=text)))
    logprobs = [token.logprob for token in response.tokens]
    assert len(logprobs) == 10
    assert logprobs == sorted(logprobs, reverse=True)
    assert [token.rank for token in response.tokens] == list(range(1, 11))
    with torch.inference_mode():
        logits = reference(torch.tensor([tokenizer.encode(text)])).logits[0, -1].log_softmax(-1)
    for token in response.tokens:
        assert token.logprob == pytest.approx(float(logits[token.token_id]), abs=0.15)
        assert token.token == tokenizer.decode([token.token_id])
    most = await generation.NextTokens(
        pb.NextTokensRequest(prefix=pb.Content(text=text), top_k=1000), timeout=60
    )
    assert 0.9 < sum(math.exp(token.logprob) for token in most.tokens) <= 1.0001


async def test_a_joined_text_is_read_as_one_piece(score, tokenizer):
    """A context that ends in a space gives the same ids as one that does not."""
    ((spaced,),) = await score(item("Paris", context="The capital is "))
    ((joined,),) = await score(item(" Paris", context="The capital is"))
    assert spaced == joined
    whole, context = tokenizer.encode("The capital is Paris"), tokenizer.encode("The capital is")
    assert [entry.token.token_id for entry in spaced.tokens] == whole[len(context) :]


async def test_the_same_text_gets_the_same_figures_in_any_order_and_company(score, complete):
    """Long texts and long prompts beside them: cut into pieces, they would differ."""
    chosen = random.Random(7)
    rows = [[chosen.randrange(5, 40_000) for _ in range(length)] for length in (1500, 900)]
    texts = [item(text) for text in sentences(24)] + [
        pb.ScoreItem(continuations=[pb.Content(token_ids={"token_ids": row})]) for row in rows
    ]
    alone = [(await score(text))[0] for text in texts]
    order = list(range(len(texts)))
    chosen.shuffle(order)
    assert await score(*(texts[place] for place in order)) == [alone[place] for place in order]

    async def chat(number):
        prompt = [number + 5, *range(100, 100 + 37 * number)]
        await complete(prompt, temperature=1, max_tokens=60, ignore_eos=True)

    chats = [asyncio.create_task(chat(number)) for number in range(16)]
    beside = await asyncio.gather(*map(score, texts))
    assert not all(task.done() for task in chats)
    for task in chats:
        task.cancel()
    await asyncio.gather(*chats, return_exceptions=True)
    assert [rows for (rows,) in beside] == alone


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ScoreRequest(), "items"),
        (pb.ScoreRequest(items=[pb.ScoreItem()]), "items"),
        (pb.ScoreRequest(items=[item("a")] * 257), "items"),
        (pb.ScoreRequest(items=[item(*["a"] * 1025)]), "items"),
        (pb.ScoreRequest(items=[item("a")], alternatives=101), "alternatives"),
        (pb.ScoreRequest(items=[item("a"), item("b", "")]), "items[1].continuations[1]"),
        (pb.ScoreRequest(items=[item(*["a " * 500] * 64)], alternatives=100), "alternatives"),
        (pb.ScoreRequest(items=[item("a " * 1500)], alternatives=100), "alternatives"),
        (pb.ScoreRequest(items=[item("a " * 3000)]), "items[0].continuations[0]"),
        (
            pb.ScoreRequest(
                items=[
                    pb.ScoreItem(continuations=[pb.Content(token_ids={"token_ids": [1, 10**6]})])
                ]
            ),
            "items[0].continuations[0].token_ids",
        ),
    ],
)
async def test_a_score_that_cannot_be_had_is_refused_by_its_field(generation, request_, field):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generation.Score(request_, timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(caught.value).metadata["field"] == field


@pytest.mark.parametrize("top_k", [0, -1, 1001])
async def test_a_top_k_out_of_range_is_refused(generation, top_k):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generation.NextTokens(pb.NextTokensRequest(prefix=pb.Content(text="a"), top_k=top_k))
    assert error_info(caught.value).metadata["field"] == "top_k"
