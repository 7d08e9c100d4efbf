import pytest

from services.gateway.conversations import (
    DERIVED_TITLE_CHARACTERS,
    ContentEmpty,
    TextTooLarge,
    check_bytes,
    check_content,
    derived_title,
)


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("Hello", "Hello"),
        ("\n \t\n  first line \r\nsecond", "first line"),
        ("many   spaces\tand tabs", "many spaces and tabs"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("word " * 20, "word word word word word word word word word word word word…"),
        ("가나다 " * 20, "가나다 " * 14 + "가나다…"),
        (" \n ", ""),
    ],
)
def test_a_title_is_the_beginning_cut_at_a_word(content, title):
    assert derived_title(content) == title
    assert len(derived_title(content)) <= DERIVED_TITLE_CHARACTERS


def test_a_message_says_something():
    for content in ("", " ", "\n\t\u3000"):
        with pytest.raises(ContentEmpty):
            check_content(content)


def test_a_text_is_measured_in_bytes_and_the_error_says_both_numbers():
    check_bytes("가" * 333_333, "content")
    with pytest.raises(TextTooLarge) as caught:
        check_bytes("가" * 333_334, "content")
    assert caught.value.metadata["size_bytes"] == "1000002"
    assert caught.value.metadata["max_bytes"] == "1000000"
