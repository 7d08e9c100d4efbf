import pytest
from google.protobuf.json_format import MessageToDict

from damso.type.v1 import sampling_pb2
from services.gateway.conversations import ChatSettings, TextTooLarge
from services.gateway.sampling import (
    NOT_FOR_CHAT,
    RANGES,
    SamplingNotSupported,
    check_settings,
    with_defaults,
)
from services.runtime.errors import InvalidArgument


def of(**fields) -> ChatSettings:
    message = sampling_pb2.SamplingParams(**fields)
    return ChatSettings(sampling=MessageToDict(message, preserving_proto_field_name=True))


def test_the_checked_fields_are_fields_of_the_contract():
    fields = sampling_pb2.SamplingParams.DESCRIPTOR.fields_by_name
    assert {*RANGES, *NOT_FOR_CHAT} <= set(fields.keys())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0},
        {"temperature": 2},
        {"top_p": 1},
        {"top_k": 0},
        {"seed": 2**63 - 1},
        {"presence_penalty": -2},
        {"max_tokens": 1},
        {"stop": ["a"], "json_schema": "{}"},
    ],
)
def test_values_within_their_ranges_are_taken(fields):
    check_settings(of(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 2.01},
        {"temperature": float("inf")},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.01},
        {"top_k": -1},
        {"min_p": -0.1},
        {"repetition_penalty": 0},
        {"frequency_penalty": -2.5},
        {"seed": -1},
        {"max_tokens": 0},
        {"min_tokens": -1},
    ],
)
def test_values_out_of_their_ranges_are_refused_by_name(fields):
    with pytest.raises(InvalidArgument) as caught:
        check_settings(of(**fields))
    assert caught.value.field == f"settings.sampling.{next(iter(fields))}"


@pytest.mark.parametrize("field", NOT_FOR_CHAT)
def test_what_a_chat_has_no_place_for_is_refused(field):
    with pytest.raises(SamplingNotSupported):
        check_settings(of(**{field: 1}))


def test_a_system_prompt_has_a_limit():
    check_settings(ChatSettings(system_prompt="가" * 100_000))
    with pytest.raises(TextTooLarge):
        check_settings(ChatSettings(system_prompt="가" * 100_001))


def test_sampling_has_a_limit_as_a_whole():
    check_settings(of(json_schema="x" * 65_000))
    with pytest.raises(TextTooLarge) as caught:
        check_settings(of(json_schema="x" * 33_000, stop=["x" * 33_000]))
    assert caught.value.field == "settings.sampling"


def test_what_is_set_stands_above_the_defaults():
    defaults = {"temperature": 0.2, "top_p": 0.9}
    assert with_defaults({"temperature": 1}, defaults) == {"temperature": 1, "top_p": 0.9}
