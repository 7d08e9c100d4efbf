"""services/runtime/pages.py: page tokens go where they came from and nowhere else."""

import base64
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.runtime import pages
from services.runtime.errors import InvalidArgument
from services.runtime.pages import PageTokenInvalid

positions = st.lists(st.text() | st.integers(), max_size=4)


@given(position=positions, scope=st.text())
def test_a_token_brings_its_position_back(position, scope):
    assert pages.decode(pages.encode(position, scope), scope) == position


@given(position=positions)
def test_a_token_of_another_list_is_refused(position):
    with pytest.raises(PageTokenInvalid) as caught:
        pages.decode(pages.encode(position, "ListRuns state=RUNNING"), "ListRuns")
    assert caught.value.field == "page_token"


@given(
    token=st.text(min_size=1) | st.binary(min_size=1).map(lambda b: base64.b64encode(b).decode())
)
def test_a_made_up_token_is_refused(token):
    with pytest.raises(PageTokenInvalid):
        pages.decode(token, "ListRuns")


@pytest.mark.parametrize("body", ["[" * 100_000, "{}", "null", "7", '["x", 1.5]', "[]"])
def test_a_token_that_holds_something_else_is_refused(body):
    with pytest.raises(PageTokenInvalid):
        pages.decode(base64.urlsafe_b64encode(body.encode()).decode(), "ListRuns")


@pytest.mark.parametrize("key", [1.5, None, [1], {"a": 1}])
def test_a_position_holds_texts_and_numbers_only(key):
    digest = pages._digest([key], "s")
    forged = base64.urlsafe_b64encode(json.dumps([digest, key]).encode()).decode()
    with pytest.raises(PageTokenInvalid):
        pages.decode(forged, "s")


@given(position=positions, other=positions)
def test_a_token_whose_position_was_changed_is_refused(position, other):
    assume(position != other)
    digest, *_ = json.loads(base64.urlsafe_b64decode(pages.encode(position, "s") + "=="))
    damaged = base64.urlsafe_b64encode(json.dumps([digest, *other]).encode()).decode()
    with pytest.raises(PageTokenInvalid):
        pages.decode(damaged, "s")


def test_no_token_is_the_first_page():
    assert pages.decode("", "ListRuns") is None


def test_a_page_size_is_the_default_or_in_range():
    assert pages.size(0, default=50, most=100) == 50
    assert pages.size(100, default=50, most=100) == 100
    for wrong in (-1, 101):
        with pytest.raises(InvalidArgument) as caught:
            pages.size(wrong, default=50, most=100)
        assert caught.value.field == "page_size"
