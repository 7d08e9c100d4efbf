"""frontend/errors.py: what people are told."""

from frontend.conversation import Failure
from frontend.errors import sentence
from frontend.texts import Texts

KOREAN, ENGLISH = Texts("ko"), Texts("en")


def test_a_sentence_has_the_figures_of_the_failure():
    failure = Failure(
        "CONTEXT_LENGTH_EXCEEDED",
        "INVALID_ARGUMENT",
        metadata={"prompt_tokens": "4031", "max_prompt_tokens": "2036"},
    )
    assert "4,031" in sentence(failure, ENGLISH)
    assert "2,036" in sentence(failure, ENGLISH)
    assert "4,031토큰" in sentence(failure, KOREAN)


def test_a_service_that_sends_other_figures_gets_another_sentence():
    failure = Failure(
        "CONTEXT_LENGTH_EXCEEDED",
        "INVALID_ARGUMENT",
        metadata={"max_tokens": "3000", "context_window_tokens": "2048"},
    )
    assert "3,000" in sentence(failure, ENGLISH)
    assert "2,048" in sentence(failure, ENGLISH)


def test_a_reason_without_its_figures_still_has_a_sentence():
    assert sentence(Failure("CONTEXT_LENGTH_EXCEEDED", "INVALID_ARGUMENT"), ENGLISH) == ENGLISH(
        "error.CONTEXT_LENGTH_EXCEEDED.plain"
    )


def test_a_field_is_called_as_the_page_calls_it():
    failure = Failure(
        "INVALID_ARGUMENT", "INVALID_ARGUMENT", metadata={"field": "settings.sampling.top_p"}
    )
    assert sentence(failure, ENGLISH).startswith("Top p is out of range")
    failure = Failure(
        "INVALID_ARGUMENT", "INVALID_ARGUMENT", metadata={"field": "sampling.temperature"}
    )
    assert sentence(failure, KOREAN).startswith("온도 값이")


def test_a_field_that_no_page_knows_is_not_named():
    failure = Failure("INVALID_ARGUMENT", "INVALID_ARGUMENT", metadata={"field": "page_size"})
    assert sentence(failure, ENGLISH) == ENGLISH("error.INVALID_ARGUMENT.plain")


def test_an_unknown_reason_is_said_by_its_code():
    assert sentence(Failure("BRAND_NEW", "UNAVAILABLE"), KOREAN) == KOREAN("error.UNAVAILABLE")
    assert sentence(Failure("BRAND_NEW", "DATA_LOSS"), KOREAN) == KOREAN("error.UNKNOWN")


def test_names_in_a_failure_cannot_act_as_markdown():
    failure = Failure(
        "IMPORT_INVALID", "INVALID_ARGUMENT", metadata={"path": "![x](http://evil) **a**"}
    )
    shown = sentence(failure, ENGLISH)
    assert r"\!\[x\]\(http\://evil\) \*\*a\*\*" in shown


def test_the_services_own_english_is_not_shown_to_korean_readers():
    failure = Failure("SOMETHING", "INTERNAL", message="internal detail")
    assert "internal detail" not in sentence(failure, KOREAN)
