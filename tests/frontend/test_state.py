"""frontend/state.py: what a tab keeps, and clicks that come while another is worked off."""

import pytest
from streamlit.runtime.scriptrunner import RerunException
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData

from frontend import state
from frontend.conversation import PromptRendered
from frontend.state import Regenerate, Send, Session


def interrupted_once(value):
    """An access to Streamlit's state in which the next click arrives."""
    clicks = [RerunException(RerunData())]

    def access():
        if clicks:
            raise clicks.pop()
        return value

    return access


def test_a_callback_is_done_whole_before_it_makes_way_for_the_next_click():
    done = []

    @state.callback
    def act():
        done.append(state._touched(access))

    access = interrupted_once("value")
    with pytest.raises(RerunException):
        act()
    assert done == ["value"]


def test_a_callback_that_nothing_interrupts_ends_normally():
    done = []
    state.callback(lambda: done.append(1))()
    assert done == [1]


def test_outside_a_callback_the_page_makes_way_at_once():
    with pytest.raises(RerunException):
        state._touched(interrupted_once("value"))


def test_what_was_asked_for_waits_in_order():
    session = Session()
    first, second = Send("a"), Send("b")
    session.ask(first)
    session.ask(second)
    assert session.pending is first
    session.queue.remove(first)
    assert session.pending is second


def test_messages_that_wait_come_back_into_the_box_together():
    session = Session()
    session.ask(Regenerate("m"))
    session.ask(Send("a"))
    session.ask(Send("b"))
    session.take_back()
    assert session.unsent == "a\nb"
    assert session.pending is None


def test_what_is_taken_back_twice_is_still_for_the_box():
    session = Session()
    session.ask(Send("a"))
    session.take_back()
    session.take_back()
    assert session.unsent == "a"


def test_every_message_has_a_request_id_of_its_own():
    assert Send("a").request_id != Send("a").request_id


def test_only_the_newest_prompts_are_kept():
    session = Session()
    for number in range(60):
        session.keep_prompt(str(number), PromptRendered(1, 2, (), "prompt"))
    assert len(session.prompts) == 50
    assert "0" not in session.prompts
    assert "59" in session.prompts
