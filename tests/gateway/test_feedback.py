import grpc
import pytest

from damso.chat.v1 import chat_pb2 as pb
from services.runtime.status import error_info

UP, DOWN = pb.Feedback.RATING_UP, pb.Feedback.RATING_DOWN


@pytest.fixture
async def answers(gateway):
    """Three answers of one conversation."""
    conversation = await gateway.conversation()
    return [await gateway.ask(conversation, f"question {number}") for number in range(3)]


def rate(gateway, message_id, **fields):
    request = pb.RateMessageRequest(feedback=pb.Feedback(message_id=message_id, **fields))
    return gateway.chat.RateMessage(request, timeout=5)


async def test_a_rating_is_kept_with_its_message_and_replaced_by_a_later_one(gateway, answers):
    await rate(gateway, answers[0].id, rating=UP)
    kept = (
        await rate(
            gateway,
            answers[0].id,
            rating=DOWN,
            reasons=["not_factual", "too_long"],
            comment="아니에요",
            edited_content="Better.",
        )
    ).feedback
    assert kept.conversation_id == answers[0].conversation_id
    request = pb.ListMessagesRequest(conversation_id=answers[0].conversation_id)
    messages = (await gateway.chat.ListMessages(request)).messages
    by_id = {message.id: message for message in messages}
    assert by_id[answers[0].id].feedback == kept
    assert not by_id[answers[1].id].HasField("feedback")
    assert (kept.rating, list(kept.reasons)) == (DOWN, ["not_factual", "too_long"])


async def test_a_rating_that_says_nothing_removes_the_one_before(gateway, answers):
    await rate(gateway, answers[0].id, comment="only words")
    assert not (await rate(gateway, answers[0].id)).HasField("feedback")
    assert not (await gateway.chat.ListFeedback(pb.ListFeedbackRequest())).feedback


async def test_ratings_are_listed_the_newest_first(gateway, answers):
    other = await gateway.ask(await gateway.conversation(), "elsewhere")
    for answer in (*answers, other):
        await rate(gateway, answer.id, rating=UP)
    seen, token = [], ""
    while True:
        request = pb.ListFeedbackRequest(page_size=3, page_token=token)
        page = await gateway.chat.ListFeedback(request)
        seen += [feedback.message_id for feedback in page.feedback]
        if not (token := page.next_page_token):
            break
    assert seen == [other.id, *(answer.id for answer in reversed(answers))]
    request = pb.ListFeedbackRequest(conversation_id=other.conversation_id)
    only = (await gateway.chat.ListFeedback(request)).feedback
    assert [feedback.message_id for feedback in only] == [other.id]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reasons": ["r"] * 17}, "feedback.reasons"),
        ({"reasons": [""]}, "feedback.reasons"),
        ({"reasons": ["a\0b"]}, "feedback.reasons"),
        ({"comment": "x" * 10_001}, "feedback.comment"),
        ({"edited_content": "x" * 1_000_001}, "feedback.edited_content"),
        ({"comment": "\0"}, "feedback.comment"),
    ],
)
async def test_a_bad_rating_is_refused_by_its_field(gateway, answers, fields, field):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rate(gateway, answers[0].id, rating=UP, **fields)
    assert error_info(caught.value).metadata["field"] == field


async def test_only_answers_are_rated(gateway, answers):
    for message_id, reason in ((answers[0].parent_id, "ROLE_MISMATCH"), ("x", "MESSAGE_NOT_FOUND")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rate(gateway, message_id, rating=UP)
        assert error_info(caught.value).reason == reason
