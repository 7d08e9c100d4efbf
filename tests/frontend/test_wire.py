"""frontend/wire.py: proto ↔ what the pages know."""

from damso.chat.v1 import chat_pb2
from damso.generation.v1 import generation_pb2
from damso.type.v1 import sampling_pb2
from frontend import wire
from frontend.conversation import Feedback, MessageState, Rating, Sampling, Settings, TextDelta
from frontend.models import LoadingPhase, ModelState


def test_unset_sampling_stays_unset():
    sampling = wire.sampling(sampling_pb2.SamplingParams())
    assert sampling == Sampling()
    assert wire.sampling_proto(sampling) == sampling_pb2.SamplingParams()


def test_a_value_that_equals_the_protos_default_is_still_sent():
    assert wire.sampling_proto(Sampling(temperature=1.0)).HasField("temperature")
    assert wire.sampling_proto(Sampling(temperature=0.0)).HasField("temperature")


def test_settings_survive_the_way_there_and_back():
    settings = Settings("m", "prompt", Sampling(0.0, 0.5, 40, 0.1, 1.1, 0.2, -0.3, 0, 9, ("a",)))
    assert wire.settings(wire.settings_proto(settings)) == settings


def test_what_the_page_does_not_show_is_kept():
    proto = sampling_pb2.SamplingParams(
        temperature=0.5, json_schema="{}", logit_bias={7: 1.5}, bad_words=["x"]
    )
    assert wire.sampling_proto(wire.sampling(proto)) == proto


def test_a_rating_with_nothing_in_it_is_empty():
    assert wire.feedback_proto(Feedback("m")) == chat_pb2.Feedback(message_id="m")
    full = Feedback("m", Rating.DOWN, ("too_long",), "why", "better")
    assert wire.feedback(wire.feedback_proto(full)) == full


def test_a_message_has_only_what_was_sent():
    message = wire.message(chat_pb2.ChatMessage(id="m", state=chat_pb2.ChatMessage.STATE_STOPPED))
    assert message.state is MessageState.STOPPED
    assert (message.usage, message.failure, message.feedback, message.finish_reason) == (None,) * 4


def test_an_event_that_is_not_known_yet_is_none():
    assert wire.turn_event(chat_pb2.TurnEvent(offset=3)) is None
    delta = chat_pb2.TurnEvent(delta=chat_pb2.TextDelta(text="a"))
    assert wire.turn_event(delta) == TextDelta("a")


def test_a_loading_model_says_how_far_it_is():
    proto = generation_pb2.Model(name="m", state=generation_pb2.Model.STATE_LOADING)
    proto.loading.phase = generation_pb2.Loading.PHASE_WARMING_UP
    proto.loading.progress = 1.5
    model = wire.model(proto)
    assert model.state is ModelState.LOADING
    assert model.phase is LoadingPhase.WARMING_UP
    assert model.progress == 1.0
    assert model.remaining_seconds is None
    proto.loading.remaining_time.FromMilliseconds(1500)
    assert wire.model(proto).remaining_seconds == 1.5
