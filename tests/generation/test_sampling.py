import math

import pytest

from services.generation.sampling import SamplingParams, Structure, StructureKind
from services.runtime.errors import InvalidArgument

NAN = math.nan
INFINITY = math.inf


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("temperature", value) for value in (-0.1, 0.001, 2.1, NAN, INFINITY)],
        *[("top_p", value) for value in (0, -1, 1.01, NAN, -INFINITY)],
        *[("top_k", value) for value in (-1,)],
        *[("min_p", value) for value in (-0.01, 1.1, NAN)],
        *[("repetition_penalty", value) for value in (0, 2.1, NAN)],
        *[("presence_penalty", value) for value in (-2.1, 2.1, NAN)],
        *[("frequency_penalty", value) for value in (-2.1, 2.1, INFINITY)],
        *[("seed", value) for value in (-1,)],
        *[("n", value) for value in (0, 65)],
        *[("max_tokens", value) for value in (0, -5)],
        *[("min_tokens", value) for value in (-1,)],
        *[("stop", value) for value in ([""], ["x" * 257], ["x"] * 17)],
        *[("stop_token_ids", value) for value in ([1] * 65,)],
        *[("logit_bias", value) for value in ({1: 101}, {1: NAN}, dict.fromkeys(range(1025), 1))],
        *[("bad_words", value) for value in ([""], [" "], ["x"] * 65)],
        *[("logprobs", value) for value in (-1, 1001)],
        *[("prompt_logprobs", value) for value in (-1, 1001)],
    ],
)
def test_a_value_out_of_range_is_refused_by_its_field(field, value):
    with pytest.raises(InvalidArgument) as caught:
        SamplingParams(**{field: value})
    assert caught.value.field == f"sampling.{field}"


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 2},
        {"temperature": 2, "top_p": 0.01, "min_p": 1, "n": 64, "seed": 2**63 - 1},
        {"presence_penalty": -2, "frequency_penalty": 2, "max_tokens": 1, "min_tokens": 1},
        {"logit_bias": {0: -100, 7: 100}, "logprobs": 1000, "prompt_logprobs": 0},
        {"stop": ["x" * 256] * 16, "stop_token_ids": [1] * 64, "bad_words": ["x"] * 64},
    ],
)
def test_the_ends_of_the_ranges_are_taken(values):
    SamplingParams(**values)


def test_several_completions_need_a_temperature():
    with pytest.raises(InvalidArgument, match="temperature 0") as caught:
        SamplingParams(n=2, temperature=0)
    assert caught.value.field == "sampling.n"


def test_min_tokens_above_max_tokens_is_refused():
    with pytest.raises(InvalidArgument) as caught:
        SamplingParams(min_tokens=3, max_tokens=2)
    assert caught.value.field == "sampling.min_tokens"


@pytest.mark.parametrize(
    ("field", "value"),
    [("top_k", 101), ("stop_token_ids", [100]), ("stop_token_ids", [-1]), ("logit_bias", {100: 1})],
)
def test_ids_out_of_the_vocabulary_are_refused_by_their_field(field, value):
    with pytest.raises(InvalidArgument) as caught:
        SamplingParams(**{field: value}).check_vocabulary(100)
    assert caught.value.field == f"sampling.{field}"


@pytest.mark.parametrize(
    "choices", [[], ["a", "a"], ["a", ""], [str(number) for number in range(257)]]
)
def test_choices_must_be_different_and_not_empty(choices):
    with pytest.raises(InvalidArgument) as caught:
        Structure(StructureKind.CHOICES, choices=choices)
    assert caught.value.field == "sampling.choices"


def test_a_structure_has_a_largest_size():
    with pytest.raises(InvalidArgument, match="at most 65536") as caught:
        Structure(StructureKind.REGEX, "x" * 65537)
    assert caught.value.field == "sampling.regex"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"logprobs": 1000}, "sampling.logprobs"),
        ({"logprobs": 10, "n": 64}, "sampling.logprobs"),
        ({"prompt_logprobs": 1000}, "sampling.prompt_logprobs"),
    ],
)
def test_logprobs_have_a_largest_sum(values, field):
    SamplingParams(**values).check_logprobs(100, 100)
    with pytest.raises(InvalidArgument) as caught:
        SamplingParams(**values).check_logprobs(200, 200)
    assert caught.value.field == field
