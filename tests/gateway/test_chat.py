import grpc
import pytest
from prometheus_client import REGISTRY

from damso.chat.v1 import chat_pb2 as pb
from damso.tokenizer.v1 import tokenizer_pb2
from damso.tokenizer.v1.tokenizer_pb2_grpc import TokenizerServiceStub
from damso.type.v1 import message_pb2, sampling_pb2
from services.runtime.status import error_info
from tests.conftest import MODEL_NAME
from tests.gateway.gateways import ANSWER, events_of, kinds, saying, text_of

COUNT = ANSWER


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (events_of(call) if hasattr(call, "__aiter__") else call)
    return caught.value


async def test_a_turn_begins_renders_streams_and_finishes(gateway):
    conversation = await gateway.conversation()
    request = pb.SendMessageRequest(conversation_id=conversation.id, content="Count!")
    events = await events_of(gateway.chat.SendMessage(request, timeout=30))
    started, rendered, *deltas, finished = events
    assert kinds(events[:2]) == ["started", "rendered"]
    assert started.started.user_message.content == "Count!"
    assert started.started.message.state == pb.ChatMessage.STATE_RUNNING
    assert rendered.rendered.context_window_tokens == 2048
    assert rendered.rendered.prompt == ""
    assert text_of(deltas) == COUNT
    assert [event.offset for event in events] == sorted({event.offset for event in events})
    message = finished.finished.message
    assert (message.content, message.state) == (COUNT, pb.ChatMessage.STATE_COMPLETE)
    assert message.model == MODEL_NAME
    assert message.usage.prompt_tokens == rendered.rendered.prompt_tokens
    assert message.usage.completion_tokens > 10
    assert await gateway.messages(conversation) == [started.started.user_message, message]


async def test_the_rendered_prompt_is_sent_where_it_is_asked_for(gateway):
    conversation = await gateway.conversation(settings=pb.ChatSettings(system_prompt="You count."))
    request = pb.SendMessageRequest(
        conversation_id=conversation.id,
        content="How many?",
        options=pb.TurnOptions(include_prompt=True),
    )
    events = await events_of(gateway.chat.SendMessage(request, timeout=30))
    assert events[1].rendered.prompt == (
        "<|im_start|>system\nYou count.<|im_end|>\n"
        "<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_a_conversation_is_called_by_its_first_message(gateway):
    conversation = await gateway.conversation()
    await gateway.ask(conversation, "\n  나는 오늘 서울에서\t부산까지 갑니다  \n그리고")
    await gateway.ask(conversation, "second")
    request = pb.GetConversationRequest(conversation_id=conversation.id)
    named = (await gateway.chat.GetConversation(request, timeout=5)).conversation
    assert named.title == "나는 오늘 서울에서 부산까지 갑니다"


async def test_an_answer_made_again_is_a_sibling_of_the_old(gateway):
    conversation = await gateway.conversation()
    first = await gateway.ask(conversation, "Count!")
    request = pb.RegenerateMessageRequest(message_id=first.id)
    events = await events_of(gateway.chat.RegenerateMessage(request, timeout=30))
    again = events[-1].finished.message
    assert events[0].started.user_message.id == first.parent_id
    assert again.parent_id == first.parent_id
    assert list(again.sibling_ids) == [first.id, again.id]
    assert [message.id for message in await gateway.messages(conversation)] == [
        first.parent_id,
        again.id,
    ]
    # By the user message it is the same.
    request = pb.RegenerateMessageRequest(message_id=first.parent_id)
    events = await events_of(gateway.chat.RegenerateMessage(request, timeout=30))
    assert len(events[-1].finished.message.sibling_ids) == 3


async def test_an_edited_question_is_a_sibling_with_an_answer_of_its_own(gateway):
    conversation = await gateway.conversation()
    first = await gateway.ask(conversation, "one")
    second = await gateway.ask(conversation, "two")
    request = pb.EditMessageRequest(message_id=second.parent_id, content="zwei")
    events = await events_of(gateway.chat.EditMessage(request, timeout=30))
    edited = events[0].started.user_message
    assert list(edited.sibling_ids) == [second.parent_id, edited.id]
    contents = [message.content for message in await gateway.messages(conversation)]
    assert contents == ["one", COUNT, "zwei", COUNT]
    # The first question can be edited too, which begins the conversation anew.
    request = pb.EditMessageRequest(message_id=first.parent_id, content="eins")
    await events_of(gateway.chat.EditMessage(request, timeout=30))
    assert [message.content for message in await gateway.messages(conversation)] == ["eins", COUNT]


async def test_the_branch_that_is_shown_goes_on_below_the_chosen_message(gateway):
    conversation = await gateway.conversation()
    await gateway.ask(conversation, "one")
    old = await gateway.ask(conversation, "two")
    branch = await gateway.messages(conversation)
    request = pb.EditMessageRequest(message_id=branch[0].id, content="eins")
    await events_of(gateway.chat.EditMessage(request, timeout=30))
    update = pb.UpdateConversationRequest(
        conversation_id=conversation.id, current_message_id=branch[0].id
    )
    updated = (await gateway.chat.UpdateConversation(update, timeout=5)).conversation
    assert updated.current_message_id == old.id
    assert [m.content for m in await gateway.messages(conversation)] == ["one", COUNT, "two", COUNT]


async def test_the_model_is_given_the_branch_and_no_other_messages(gateway):
    conversation = await gateway.conversation()
    first = await gateway.ask(conversation, "AAA")
    await gateway.ask(conversation, "BBB")
    request = pb.SendMessageRequest(
        conversation_id=conversation.id,
        parent_id=first.id,
        content="CCC",
        options=pb.TurnOptions(include_prompt=True),
    )
    events = await events_of(gateway.chat.SendMessage(request, timeout=30))
    prompt = events[1].rendered.prompt
    assert prompt.index("AAA") < prompt.index(COUNT.strip()) < prompt.index("CCC")
    assert "BBB" not in prompt


async def test_two_messages_sent_at_once_under_one_parent_are_both_kept(gateway):
    conversation = await gateway.conversation()
    parent = await gateway.ask(conversation, "first")
    requests = [
        pb.SendMessageRequest(conversation_id=conversation.id, parent_id=parent.id, content=text)
        for text in ("left", "right")
    ]
    calls = [gateway.chat.SendMessage(request, timeout=30) for request in requests]
    left, right = [await events_of(call) for call in calls]
    siblings = (await gateway.messages(conversation, right[-1].finished.message.id))[2].sibling_ids
    assert sorted(siblings) == sorted(
        [left[0].started.user_message.id, right[0].started.user_message.id]
    )


async def test_a_repeated_request_id_attaches_to_the_first_turn(gateway):
    conversation = await gateway.conversation()
    request = pb.SendMessageRequest(
        conversation_id=conversation.id, content="once", request_id="r-1"
    )
    # At the same time, so that one of them finds the other's only when it saves.
    calls = [gateway.chat.SendMessage(request, timeout=30) for _ in range(4)]
    runs = [await events_of(call) for call in calls]
    late = await events_of(gateway.chat.SendMessage(request, timeout=30))
    assert {events[-1].finished.message.id for events in [*runs, late]} == {
        runs[0][0].started.message.id
    }
    assert kinds(late) == ["started", "finished"]
    assert len(await gateway.messages(conversation)) == 2


async def test_settings_of_a_message_stand_above_those_of_its_conversation(gateway):
    conversation = await gateway.conversation(settings=saying("of the conversation"))
    assert (await gateway.ask(conversation, "a")).content == "of the conversation"
    own = await gateway.ask(conversation, "b", settings=saying("of the message"))
    assert own.content == "of the message"
    assert (await gateway.ask(conversation, "c")).content == "of the conversation"


async def test_settings_are_kept_as_they_were_given(gateway):
    sampling = sampling_pb2.SamplingParams(
        temperature=1.5, seed=2**60, stop=["\n", "끝"], logit_bias={5: -1.5}, regex="a+"
    )
    settings = pb.ChatSettings(model="any", system_prompt="짧게!", sampling=sampling)
    conversation = await gateway.conversation(settings=settings)
    request = pb.GetConversationRequest(conversation_id=conversation.id)
    kept = (await gateway.chat.GetConversation(request, timeout=5)).conversation
    assert kept.settings == settings


async def test_old_rounds_are_left_out_to_fit_and_said_so(gateway):
    conversation = await gateway.conversation()
    for _ in range(3):
        await gateway.ask(conversation, "word " * 500)
    old = await gateway.messages(conversation)
    request = pb.SendMessageRequest(conversation_id=conversation.id, content="word " * 500)
    events = await events_of(gateway.chat.SendMessage(request, timeout=30))
    assert events[1].rendered.prompt_tokens <= 2048 - 512  # which is left for the answer
    assert list(events[1].rendered.dropped_message_ids) == [message.id for message in old[:4]]


async def test_a_message_beyond_the_context_window_is_refused_and_not_kept(gateway):
    conversation = await gateway.conversation()
    request = pb.SendMessageRequest(conversation_id=conversation.id, content="word " * 2000)
    error = await refused(gateway.chat.SendMessage(request, timeout=30))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).reason == "CONTEXT_LENGTH_EXCEEDED"
    assert await gateway.messages(conversation) == []


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"content": ""}, "CONTENT_EMPTY", "content"),
        ({"content": " \n\t"}, "CONTENT_EMPTY", "content"),
        ({"content": "a\0b"}, "TEXT_HOLDS_NUL", "content"),
        ({"content": "가" * 333_334}, "TEXT_TOO_LARGE", "content"),
        ({"content": "x" * 10_000_000}, "TEXT_TOO_LARGE", "content"),
        ({"content": "x", "parent_id": "nonsense"}, "MESSAGE_NOT_FOUND", ""),
        ({"content": "x", "request_id": "r" * 129}, "TEXT_TOO_LARGE", "request_id"),
    ],
)
async def test_a_bad_message_is_refused_by_its_field(gateway, fields, reason, field):
    conversation = await gateway.conversation()
    request = pb.SendMessageRequest(conversation_id=conversation.id, **fields)
    error = await refused(gateway.chat.SendMessage(request, timeout=30))
    assert error_info(error).reason == reason
    assert error_info(error).metadata.get("field", "") == field
    assert await gateway.messages(conversation) == []


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2048}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"logprobs": 0}, "logprobs"),
    ],
)
async def test_sampling_that_no_chat_can_have_is_refused_and_nothing_is_kept(
    gateway, sampling, field
):
    conversation = await gateway.conversation()
    request = pb.SendMessageRequest(
        conversation_id=conversation.id,
        content="x",
        settings=pb.ChatSettings(sampling=sampling_pb2.SamplingParams(**sampling)),
    )
    error = await refused(gateway.chat.SendMessage(request, timeout=30))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(error).metadata["field"] == f"settings.sampling.{field}"
    assert await gateway.messages(conversation) == []


async def test_what_generation_refuses_fails_the_answer_and_keeps_the_question(gateway):
    conversation = await gateway.conversation()
    request = pb.SendMessageRequest(
        conversation_id=conversation.id,
        content="x",
        settings=pb.ChatSettings(sampling=sampling_pb2.SamplingParams(json_schema="broken")),
    )
    error = await refused(gateway.chat.SendMessage(request, timeout=30))
    assert error_info(error).reason == "STRUCTURE_INVALID"
    question, answer = await gateway.messages(conversation)
    assert question.content == "x"
    assert answer.state == pb.ChatMessage.STATE_FAILED
    assert answer.failure.reason == "STRUCTURE_INVALID"
    assert answer.failure.metadata["field"] == "sampling.json_schema"


async def test_a_message_follows_answers_of_its_own_conversation_only(gateway):
    here, elsewhere = await gateway.conversation(), await gateway.conversation()
    answer = await gateway.ask(elsewhere, "there")
    for parent, reason in ((answer.id, "MESSAGE_NOT_FOUND"), (answer.parent_id, "ROLE_MISMATCH")):
        conversation = here if reason == "MESSAGE_NOT_FOUND" else elsewhere
        request = pb.SendMessageRequest(
            conversation_id=conversation.id, parent_id=parent, content="x"
        )
        error = await refused(gateway.chat.SendMessage(request, timeout=30))
        assert error_info(error).reason == reason


async def test_nothing_follows_an_answer_that_is_still_being_made(gateway):
    conversation = await gateway.conversation()
    turn = await gateway.begin(conversation)
    request = pb.SendMessageRequest(conversation_id=conversation.id, content="y")
    error = await refused(gateway.chat.SendMessage(request, timeout=30))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(error).reason == "PARENT_RUNNING"
    turn.call.cancel()
    assert (await gateway.stored(turn.id)).state == pb.ChatMessage.STATE_STOPPED


async def test_only_user_messages_are_edited_and_only_answers_are_stopped(gateway):
    conversation = await gateway.conversation()
    answer = await gateway.ask(conversation, "x")
    edit = pb.EditMessageRequest(message_id=answer.id, content="y")
    assert error_info(await refused(gateway.chat.EditMessage(edit))).reason == "ROLE_MISMATCH"
    stop = pb.StopTurnRequest(message_id=answer.parent_id)
    assert error_info(await refused(gateway.chat.StopTurn(stop))).reason == "ROLE_MISMATCH"


async def test_text_of_every_script_comes_back_as_it_was(gateway):
    said = "가나다 🙂 é ‮שלום‬ 漢字"
    conversation = await gateway.conversation(settings=saying(said))
    text = "안녕 👩‍👩‍👧 e\u0301 \u202eright-to-left שלום\u202c \u200b"
    request = pb.SendMessageRequest(conversation_id=conversation.id, content=text)
    events = await events_of(gateway.chat.SendMessage(request, timeout=30))
    question, kept = await gateway.messages(conversation)
    assert question.content == text
    assert question.role == message_pb2.ROLE_USER
    assert kept.content == text_of(events) == said


async def test_nul_in_an_answer_is_shown_as_a_replacement_character(gateway):
    stub = TokenizerServiceStub(gateway.channel)
    encoded = await stub.Encode(tokenizer_pb2.EncodeRequest(texts=["\0"]), timeout=5)
    nul = encoded.encodings[0].token_ids[0]
    sampling = sampling_pb2.SamplingParams(
        max_tokens=2, logit_bias={nul: 100}, temperature=0, ignore_eos=True
    )
    conversation = await gateway.conversation(settings=pb.ChatSettings(sampling=sampling))
    answer = await gateway.ask(conversation, "x")
    assert answer.content == "\ufffd\ufffd"
    assert answer.state == pb.ChatMessage.STATE_COMPLETE


async def test_a_branch_is_listed_page_by_page_from_its_leaf(gateway):
    conversation = await gateway.conversation()
    for number in range(3):
        await gateway.ask(conversation, f"question {number}")
    whole = [message.id for message in reversed(await gateway.messages(conversation))]
    paged, token = [], ""
    while True:
        request = pb.ListMessagesRequest(
            conversation_id=conversation.id, page_size=4, page_token=token
        )
        page = await gateway.chat.ListMessages(request, timeout=5)
        paged.append([message.id for message in page.messages])
        if not (token := page.next_page_token):
            break
    assert paged == [whole[:4], whole[4:]]
    other = pb.ListMessagesRequest(conversation_id=(await gateway.conversation()).id)
    other.page_token = (
        await gateway.chat.ListMessages(
            pb.ListMessagesRequest(conversation_id=conversation.id, page_size=1)
        )
    ).next_page_token
    error = await refused(gateway.chat.ListMessages(other))
    assert error_info(error).reason == "PAGE_TOKEN_INVALID"


async def test_conversations_are_listed_the_most_recently_changed_first(gateway):
    made = [await gateway.conversation(title=f"number {number}") for number in range(5)]
    await gateway.chat.UpdateConversation(
        pb.UpdateConversationRequest(conversation_id=made[1].id, title="changed")
    )
    titles, token = [], ""
    while True:
        page = await gateway.chat.ListConversations(
            pb.ListConversationsRequest(page_size=2, page_token=token)
        )
        titles += [conversation.title for conversation in page.conversations]
        if not (token := page.next_page_token):
            break
    assert titles == ["changed", "number 4", "number 3", "number 2", "number 0"]


async def test_a_deleted_conversation_is_gone_and_its_turns_stop(gateway):
    conversation = await gateway.conversation()
    turn = await gateway.begin(conversation)
    await gateway.chat.DeleteConversation(
        pb.DeleteConversationRequest(conversation_id=conversation.id), timeout=5
    )
    assert error_info(await refused(turn.call)).reason == "MESSAGE_NOT_FOUND"
    await gateway.until_idle()
    get = pb.GetConversationRequest(conversation_id=conversation.id)
    error = await refused(gateway.chat.GetConversation(get, timeout=5))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(error).reason == "CONVERSATION_NOT_FOUND"


async def test_titles_and_settings_are_checked_wherever_they_come(gateway):
    conversation = await gateway.conversation()
    bad = pb.ChatSettings(sampling=sampling_pb2.SamplingParams(temperature=3))
    for call, field in (
        (gateway.chat.CreateConversation(pb.CreateConversationRequest(title="x" * 201)), "title"),
        (
            gateway.chat.CreateConversation(pb.CreateConversationRequest(settings=bad)),
            "settings.sampling.temperature",
        ),
        (
            gateway.chat.UpdateConversation(
                pb.UpdateConversationRequest(conversation_id=conversation.id, title=" ")
            ),
            "title",
        ),
        (
            gateway.chat.UpdateConversation(
                pb.UpdateConversationRequest(
                    conversation_id=conversation.id,
                    settings=pb.ChatSettings(system_prompt="a\0b"),
                )
            ),
            "settings.system_prompt",
        ),
        (
            gateway.chat.CreateConversation(
                pb.CreateConversationRequest(settings=pb.ChatSettings(system_prompt="x" * 100_001))
            ),
            "settings.system_prompt",
        ),
    ):
        error = await refused(call)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_info(error).metadata["field"] == field


async def test_an_unknown_model_is_named_before_anything_is_kept(gateway):
    conversation = await gateway.conversation()
    unknown = pb.SendMessageRequest(
        conversation_id=conversation.id,
        content="x",
        settings=pb.ChatSettings(model="nobody"),
    )
    error = await refused(gateway.chat.SendMessage(unknown, timeout=10))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(error).reason == "MODEL_NOT_FOUND"
    assert await gateway.messages(conversation) == []


async def test_turns_are_counted_and_timed(gateway):
    def samples() -> list[float]:
        value = REGISTRY.get_sample_value
        return [
            value("damso_chat_turns_total", {"state": "complete"}) or 0,
            value("damso_chat_time_to_first_token_seconds_count") or 0,
        ]

    before = samples()
    await gateway.ask(await gateway.conversation(), "x")
    assert samples() == [count + 1 for count in before]
    assert REGISTRY.get_sample_value("damso_chat_running_turns") == 0
