import pytest
from pydantic import ValidationError

from services.gateway.settings import Settings


def with_sampling(sampling) -> Settings:
    return Settings(database_url="postgresql+psycopg://nowhere/none", chat_sampling=sampling)


def test_the_chats_sampling_may_have_any_field_of_a_chat():
    sampling = {"top_k": 5, "stop": ["a", "b"]}
    assert with_sampling(sampling).chat_sampling == sampling


@pytest.mark.parametrize(
    ("sampling", "problem"),
    [
        ({"temprature": 1}, "unknown field"),
        ({"stop": 1}, "wrong type"),
        ({"top_p": 1.5}, "top_p must be in"),
        ({"n": 2}, "n must not be set"),
    ],
)
def test_a_sampling_that_no_chat_could_have_is_refused_at_the_start(sampling, problem):
    with pytest.raises(ValidationError, match=problem) as caught:
        with_sampling(sampling)
    assert caught.value.errors()[0]["loc"] == ("chat_sampling",)
