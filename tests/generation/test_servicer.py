"""`Generate` and what describes the models, through the service's door."""

import asyncio
import math

import grpc.aio
import pytest

from damso.generation.v1 import generation_pb2 as pb
from damso.type.v1 import completion_pb2
from services.runtime.status import error_info
from tests.generation.process import MODEL_NAME
from tests.generation.replies import FRANCE, last_delta, text, token_ids

STOP = completion_pb2.FINISH_REASON_STOP
LENGTH = completion_pb2.FINISH_REASON_LENGTH


async def refused(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_completion_streams_and_its_last_message_has_the_usage(complete):
    responses = await complete(FRANCE, temperature=0, max_tokens=32)
    assert text(responses) == "The capital of France is Paris."
    assert [response.HasField("finished") for response in responses[:-1]].count(True) == 0
    usage = responses[-1].finished.usage
    assert usage.prompt_tokens == 16
    assert usage.completion_tokens == len(token_ids(responses)) == 8
    assert 0 < usage.first_token_time.ToMilliseconds() <= usage.total_time.ToMilliseconds()
    assert last_delta(responses).finish_reason == STOP


async def test_token_ids_and_text_are_the_same_prompt(complete):
    from transformers import AutoTokenizer

    from tests.generation.process import MODEL_DIRECTORY

    ids = AutoTokenizer.from_pretrained(MODEL_DIRECTORY).encode(FRANCE)
    by_ids = await complete(ids, temperature=0, max_tokens=8)
    by_text = await complete(FRANCE, temperature=0, max_tokens=8)
    assert token_ids(by_ids) == token_ids(by_text)


async def test_without_text_only_ids_are_sent(complete):
    responses = await complete(FRANCE, temperature=0, max_tokens=8, include_text=False)
    assert text(responses) == ""
    assert len(token_ids(responses)) == 8


async def test_an_interval_puts_more_tokens_in_a_message_but_sends_the_first_at_once(complete):
    responses = await complete(
        FRANCE, temperature=0, max_tokens=21, ignore_eos=True, stream_interval=10
    )
    assert [len(response.deltas[0].token_ids) for response in responses] == [1, 10, 10]


async def test_unset_max_tokens_is_what_the_context_window_leaves(complete):
    responses = await complete([5] * 2040, temperature=0, ignore_eos=True)
    assert responses[-1].finished.usage.completion_tokens == 8
    assert last_delta(responses).finish_reason == LENGTH


async def test_a_seed_repeats_a_completion(complete, idle):
    sampling = {"temperature": 1.5, "seed": 11, "max_tokens": 12, "ignore_eos": True}
    await idle()  # in other company, rounding may let nearly equal tokens change places
    first = await complete(FRANCE, **sampling)
    assert text(await complete(FRANCE, **sampling)) == text(first)
    assert text(await complete(FRANCE, **sampling | {"seed": 12})) != text(first)


async def test_n_gives_different_completions(complete):
    sampling = {"temperature": 1.5, "seed": 11, "n": 3, "max_tokens": 12, "ignore_eos": True}
    first = await complete(FRANCE, **sampling)
    assert len({text(first, index) for index in range(3)}) == 3
    assert first[-1].finished.usage.completion_tokens == 36
    assert all(last_delta(first, index).finish_reason == LENGTH for index in range(3))


async def test_a_stop_string_ends_a_completion_and_is_left_out(complete):
    responses = await complete(FRANCE, temperature=0, stop=["Fra"])
    assert text(responses) == "The capital of "
    assert last_delta(responses).stop_string == "Fra"
    kept = await complete(FRANCE, temperature=0, stop=["Fra"], include_stop_in_text=True)
    assert text(kept) == "The capital of Fra"


async def test_a_stop_token_ends_a_completion(complete):
    (paris,) = {7042} & set(token_ids(await complete(FRANCE, temperature=0)))
    responses = await complete(FRANCE, temperature=0, stop_token_ids=[paris])
    assert last_delta(responses).stop_token_id == paris
    assert last_delta(responses).finish_reason == STOP


async def test_penalties_biases_and_bad_words_steer_the_choice(complete):
    biased = await complete(FRANCE, temperature=0, max_tokens=3, logit_bias={260: 100})
    assert token_ids(biased) == [260] * 3
    avoided = await complete(FRANCE, temperature=0, max_tokens=16, bad_words=["Paris", " Paris"])
    assert "Paris" not in text(avoided)
    penal = await complete([260] * 20, temperature=0, max_tokens=20, repetition_penalty=2)
    assert 260 not in token_ids(penal)
    longer = await complete(FRANCE, temperature=0, max_tokens=16, min_tokens=14)
    assert len(token_ids(longer)) >= 14


async def test_logprobs_name_the_chosen_token_and_its_alternatives(complete):
    responses = await complete(FRANCE, temperature=0, max_tokens=4, logprobs=3)
    logprobs = [entry for response in responses for entry in response.deltas[0].logprobs]
    assert [entry.token.token_id for entry in logprobs] == token_ids(responses)
    for entry in logprobs:
        assert entry.token.rank == 1
        assert entry.token.logprob == entry.alternatives[0].logprob
        assert [a.rank for a in entry.alternatives] == [1, 2, 3]
        assert entry.token.logprob <= 0
    assert "".join(entry.token.token for entry in logprobs) == text(responses)


async def test_prompt_logprobs_come_in_the_first_message(complete):
    responses = await complete(FRANCE, temperature=0, max_tokens=2, prompt_logprobs=0)
    assert [len(response.prompt_logprobs) for response in responses] == [16, 0]
    first, *others = responses[0].prompt_logprobs
    assert not first.token.HasField("logprob")
    assert all(entry.token.logprob <= 0 for entry in others)
    several = await complete(FRANCE, temperature=1, n=3, max_tokens=2, prompt_logprobs=0)
    assert sum(len(response.prompt_logprobs) for response in several) == 16


async def test_cached_prefixes_are_shared_within_a_salt_only(complete):
    prompt = [7, 8, 9, 10] * 80
    salted = {"temperature": 0, "max_tokens": 1, "cache_salt": "a"}
    await complete(prompt, **salted)
    again = await complete(prompt, **salted)
    other = await complete(prompt, **(salted | {"cache_salt": "b"}))
    assert again[-1].finished.usage.cached_tokens >= 128
    assert other[-1].finished.usage.cached_tokens == 0


@pytest.mark.parametrize(
    ("structure", "pattern"),
    [
        ({"regex": r"[0-9]{3}-[0-9]{4}"}, r"[0-9]{3}-[0-9]{4}"),
        ({"choices": {"choices": ["red", "green"]}}, "red|green"),
        ({"grammar": 'root ::= "yes" | "no"'}, "yes|no"),
        ({"json_schema": '{"type":"object","properties":{"a":{"type":"boolean"}},'
          '"required":["a"],"additionalProperties":false}'}, r'\{"a": ?(true|false)\}'),
    ],
)  # fmt: skip
async def test_a_structure_is_kept(complete, structure, pattern):
    import re

    responses = await complete(FRANCE, temperature=1, seed=3, max_tokens=40, **structure)
    assert re.fullmatch(pattern, text(responses))
    assert last_delta(responses).finish_reason == STOP


async def test_any_json_object_is_one(complete):
    import json

    responses = await complete(
        "A JSON object: ", temperature=0, max_tokens=64, json_object=True,
        logit_bias={7042: -100},
    )  # fmt: skip
    assert text(responses).lstrip().startswith("{")
    if last_delta(responses).finish_reason == STOP:
        assert isinstance(json.loads(text(responses)), dict)


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1}])
async def test_a_choice_narrowed_to_one_token_is_the_greedy_one(complete, narrow):
    greedy = await complete(FRANCE, temperature=0, max_tokens=16, ignore_eos=True)
    hot = {"temperature": 2, "seed": 4, "max_tokens": 16, "ignore_eos": True}
    assert token_ids(await complete(FRANCE, **hot, **narrow)) == token_ids(greedy)
    assert token_ids(await complete(FRANCE, **hot)) != token_ids(greedy)


async def test_penalties_for_presence_come_once_and_for_frequency_each_time(complete):
    """Two tokens lead all others: which of them comes follows from the penalties."""
    first, second = 260, 327

    async def chosen(**penalty):
        return token_ids(
            await complete([5], temperature=0, max_tokens=12, ignore_eos=True,
                           logit_bias={first: 100, second: 100}, **penalty)
        )  # fmt: skip

    alone = await chosen()
    assert set(alone) <= {first, second}
    assert await chosen(frequency_penalty=2) != alone
    assert await chosen(presence_penalty=2) != alone
    assert await chosen(frequency_penalty=2) != await chosen(presence_penalty=2)


async def test_special_tokens_are_in_the_text_where_they_are_wished(complete):
    shown = await complete(
        FRANCE, temperature=0, max_tokens=9, ignore_eos=True, skip_special_tokens=False
    )
    hidden = await complete(FRANCE, temperature=0, max_tokens=9, ignore_eos=True)
    assert token_ids(shown) == token_ids(hidden)
    assert "<|im_end|>" in text(shown)
    assert "<|im_end|>" not in text(hidden)


@pytest.mark.parametrize(
    "wanted",
    [
        "안녕하세요, 반갑습니다!",
        "한글🎉끝",
        "👩‍👩‍👧‍👦 가족",
        "각",
        "\u1112\u1161\u11ab 조합형",
        "नमस्ते",
    ],
)
async def test_no_delta_ever_has_half_a_character(complete, wanted):
    responses = await complete(FRANCE, temperature=0, max_tokens=100, choices={"choices": [wanted]})
    assert len(token_ids(responses)) > len(wanted.split())
    assert all("\ufffd" not in delta.text for r in responses for delta in r.deltas)
    assert text(responses) == wanted


async def test_a_character_cut_off_by_the_end_is_not_sent(complete):
    whole = await complete(FRANCE, temperature=0, max_tokens=100, choices={"choices": ["뷁뷁"]})
    count = len(token_ids(whole)) - 1
    for most in range(1, count):
        cut = await complete(FRANCE, temperature=0, max_tokens=most, choices={"choices": ["뷁뷁"]})
        assert text(cut) in ("", "뷁")


async def test_bytes_of_no_character_are_not_sent(complete):
    """Half of a character, then a word; penalties let the first take its turn only once."""
    lead, word, replacement = 182, 7042, 24211
    steered = {"temperature": 0, "repetition_penalty": 2, "ignore_eos": True}
    broken = await complete(FRANCE, max_tokens=2, logit_bias={lead: 100, word: 70}, **steered)
    assert token_ids(broken) == [lead, word]
    assert text(broken) == " Paris"
    spelled = await complete(FRANCE, max_tokens=2, logit_bias={replacement: 100, word: 70},
                             **steered)  # fmt: skip
    assert token_ids(spelled) == [replacement, word]
    assert text(spelled) == "\ufffd Paris"


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        ({"temperature": -1}, "sampling.temperature"),
        ({"temperature": math.nan}, "sampling.temperature"),
        ({"top_p": 0}, "sampling.top_p"),
        ({"top_k": 10**6}, "sampling.top_k"),
        ({"seed": -1}, "sampling.seed"),
        ({"n": 2, "temperature": 0}, "sampling.n"),
        ({"logit_bias": {10**6: 1}}, "sampling.logit_bias"),
        ({"stop_token_ids": [-1]}, "sampling.stop_token_ids"),
        ({"json_schema": "{oops"}, "sampling.json_schema"),
        ({"json_schema": '{"type": "nonsense"}'}, "sampling.json_schema"),
        ({"regex": "([a-z"}, "sampling.regex"),
        ({"regex": "a\x00b"}, "sampling.regex"),
        ({"grammar": 'root ::= "a\x00b"'}, "sampling.grammar"),
        ({"json_schema": '{"not":' * 64 + "{}" + "}" * 64}, "sampling.json_schema"),
        ({"bad_words": [" "]}, "sampling.bad_words"),
        ({"grammar": "root ::= missing"}, "sampling.grammar"),
        ({"choices": {"choices": []}}, "sampling.choices"),
    ],
)
async def test_a_value_that_cannot_be_used_is_refused_and_the_engine_goes_on(
    complete, sampling, field
):
    error = await refused(complete(FRANCE, **sampling))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).metadata["field"] == field
    assert field in error.details()
    assert text(await complete(FRANCE, temperature=0, max_tokens=2)) == "The capital"


@pytest.mark.parametrize(
    ("prompt", "options", "field"),
    [
        ("", {}, "prompt"),
        ([], {}, "prompt"),
        ([49152], {}, "prompt.token_ids"),
        ([-1], {}, "prompt.token_ids"),
        (FRANCE, {"stream_interval": 0}, "stream_interval"),
        (FRANCE, {"stream_interval": 1025}, "stream_interval"),
        (FRANCE, {"request_id": "a b"}, "request_id"),
        (FRANCE, {"request_id": "a" * 129}, "request_id"),
        (FRANCE, {"cache_salt": "a" * 129}, "cache_salt"),
    ],
)
async def test_a_request_that_cannot_be_used_is_refused_by_its_field(
    complete, prompt, options, field
):
    error = await refused(complete(prompt, **options))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).metadata["field"] == field


async def test_a_request_without_a_prompt_is_refused(generation):
    call = generation.Generate(pb.GenerateRequest(), timeout=5)
    error = await refused(anext(aiter(call)))
    assert error_info(error).metadata["field"] == "prompt"


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "prompt_tokens"),
    [([5] * 2048, None, 2048), ([5] * 2047, 2, 2047), ([5] * 3000, 1, 3000), ([5], 2048, 1)],
)
async def test_what_does_not_fit_in_the_context_window_is_refused_with_the_figures(
    complete, prompt, max_tokens, prompt_tokens
):
    options = {"max_tokens": max_tokens} if max_tokens else {}
    error = await refused(complete(prompt, temperature=0, **options))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = error_info(error)
    assert info.reason == "CONTEXT_LENGTH_EXCEEDED"
    assert info.metadata["prompt_tokens"] == str(prompt_tokens)
    assert info.metadata["max_tokens"] == str(max_tokens or 1)
    assert info.metadata["context_window_tokens"] == "2048"
    assert str(prompt_tokens) in error.details()
    assert "2048" in error.details()


@pytest.mark.parametrize("prompt", ["word " * 5000, "가" * 10_000_000, "\x00\u202e" * 4000])
async def test_a_text_that_is_too_long_is_refused(complete, prompt):
    error = await refused(complete(prompt))
    assert error_info(error).reason == "CONTEXT_LENGTH_EXCEEDED"


async def test_odd_characters_are_a_prompt_like_any_other(complete):
    responses = await complete("\x00 \u202eabc\u202c \ud7ff", temperature=0, max_tokens=2)
    assert responses[-1].finished.usage.completion_tokens == 2


async def test_an_unknown_model_is_refused(complete, generation):
    error = await refused(complete(FRANCE, model="nobody"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(error).reason == "MODEL_NOT_FOUND"
    error = await refused(generation.GetModel(pb.GetModelRequest(model="nobody")))
    assert error_info(error).reason == "MODEL_NOT_FOUND"


async def test_the_base_model_is_described(generation):
    response = await generation.GetModel(pb.GetModelRequest())
    model = response.model
    assert model.name == MODEL_NAME
    assert model.state == pb.Model.STATE_READY
    assert (model.context_window_tokens, model.vocabulary_size) == (2048, 49152)
    assert model.dtype == "bfloat16"
    assert model.device in ("cpu", "cuda")
    assert not model.HasField("loading")
    assert (await generation.ListModels(pb.ListModelsRequest())).models[0] == model


async def test_both_our_series_and_those_of_vllm_are_served(service, complete):
    await complete(FRANCE, temperature=0, max_tokens=4)
    series = await asyncio.to_thread(service.series)
    for name in (
        "damso_generation_time_to_first_token_seconds_count",
        "damso_generation_inter_token_latency_seconds_count",
        'damso_generation_tokens_total{kind="prompt"}',
        'damso_generation_tokens_total{kind="completion"}',
        "vllm:num_requests_running",
        "vllm:kv_cache_usage_perc",
        "vllm:generation_tokens_total",
    ):
        assert name in series
