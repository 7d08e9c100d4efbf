import json

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from damso.chat.v1 import chat_pb2 as pb
from damso.type.v1 import sampling_pb2
from services.gateway import wire
from services.gateway.conversations import Role
from services.gateway.imports import MAX_BYTES, read
from services.gateway.json_reading import ImportInvalid
from services.runtime.status import error_info
from tests.gateway.gateways import ANSWER, events_of, saying


async def export(gateway, *conversation_ids) -> bytes:
    request = pb.ExportConversationsRequest(conversation_ids=conversation_ids)
    call = gateway.chat.ExportConversations(request, timeout=30)
    return b"".join([response.chunk async for response in call])


async def import_(gateway, document: bytes, size=1 << 16) -> list[str]:
    async def chunks():
        for start in range(0, len(document), size):
            yield pb.ImportConversationsRequest(chunk=document[start : start + size])

    response = await gateway.chat.ImportConversations(chunks(), timeout=30)
    return list(response.conversation_ids)


async def whole(gateway, conversation_id):
    """A conversation and all its branches, without ids."""
    request = pb.GetConversationRequest(conversation_id=conversation_id)
    conversation = (await gateway.chat.GetConversation(request)).conversation
    document = json.loads(await export(gateway, conversation_id))[0]
    messages = document["chat"]["history"]["messages"]
    places = {key: place for place, key in enumerate(messages)}
    tree = [
        {
            **message,
            "id": places[key],
            "parentId": places.get(message["parentId"]),
            "childrenIds": [places[child] for child in message["childrenIds"]],
        }
        for key, message in messages.items()
    ]
    shown = places[conversation.current_message_id]
    kept = MessageToDict(conversation)
    return tree, shown, {k: kept[k] for k in ("title", "settings", "createTime", "updateTime")}


async def rich(gateway):
    """A conversation with branches, a failure, a stopped turn, settings and feedback."""
    settings = pb.ChatSettings(
        system_prompt="짧게 답하세요.",
        sampling=sampling_pb2.SamplingParams(
            temperature=0.5, seed=2**60, stop=["\n", "끝"], logit_bias={5: -1.5}, max_tokens=8
        ),
    )
    conversation = await gateway.conversation(title='대화 "quoted" 🙂', settings=settings)
    first = await gateway.ask(conversation, "안녕\n하세요")
    second = await gateway.ask(conversation, "two")
    edit = pb.EditMessageRequest(message_id=second.parent_id, content="zwei")
    await events_of(gateway.chat.EditMessage(edit, timeout=10))
    broken = pb.ChatSettings(sampling=sampling_pb2.SamplingParams(json_schema="broken"))
    request = pb.RegenerateMessageRequest(message_id=first.id, settings=broken)
    with pytest.raises(grpc.aio.AioRpcError):
        await events_of(gateway.chat.RegenerateMessage(request, timeout=10))
    rating = pb.Feedback(
        message_id=first.id,
        rating=pb.Feedback.RATING_DOWN,
        reasons=["not_factual"],
        comment="흠",
        edited_content="better",
    )
    await gateway.chat.RateMessage(pb.RateMessageRequest(feedback=rating))
    update = pb.UpdateConversationRequest(
        conversation_id=conversation.id, current_message_id=second.id
    )
    await gateway.chat.UpdateConversation(update)
    return conversation


async def test_what_was_exported_is_the_same_when_it_is_imported(gateway):
    conversation = await rich(gateway)
    document = await export(gateway)
    added = await import_(gateway, document, size=7)
    assert len(added) == 1
    assert added[0] != conversation.id
    assert await whole(gateway, added[0]) == await whole(gateway, conversation.id)
    # And once more, out of the copy.
    again = await import_(gateway, await export(gateway, added[0]))
    assert await whole(gateway, again[0]) == await whole(gateway, conversation.id)


async def test_an_export_has_the_form_of_open_webui(gateway):
    conversation = await rich(gateway)
    exported = json.loads(await export(gateway, conversation.id))
    assert [each["chat"]["title"] for each in exported] == [conversation.title]
    history = exported[0]["chat"]["history"]
    messages = history["messages"]
    assert history["currentId"] in messages
    for key, message in messages.items():
        assert message["id"] == key
        assert all(messages[child]["parentId"] == key for child in message["childrenIds"])
    rated = [message for message in messages.values() if "annotation" in message]
    assert [message["annotation"]["rating"] for message in rated] == [-1]


async def test_an_imported_conversation_can_be_gone_on_with(gateway):
    document = {
        "chat": {
            "title": "From elsewhere",
            "params": {"system": "Be brief."},
            "history": {
                "currentId": "b",
                "messages": {
                    "b": {
                        "id": "b",
                        "parentId": "a",
                        "childrenIds": [],
                        "role": "assistant",
                        "content": "Hello!",
                        "model": "llama3:8b",
                        "timestamp": 1700000001,
                    },
                    "a": {
                        "id": "a",
                        "parentId": None,
                        "childrenIds": ["b"],
                        "role": "user",
                        "content": "Hi",
                        "timestamp": 1700000000,
                    },
                },
            },
        },
        "created_at": 1700000000,
        "updated_at": 1700000005,
    }
    added = await import_(gateway, json.dumps([document]).encode())
    request = pb.GetConversationRequest(conversation_id=added[0])
    conversation = (await gateway.chat.GetConversation(request)).conversation
    assert conversation.title == "From elsewhere"
    assert conversation.settings.system_prompt == "Be brief."
    assert conversation.create_time.seconds == 1700000000
    await gateway.ask(conversation, "and now?", settings=saying(ANSWER))
    contents = [message.content for message in await gateway.messages(conversation)]
    assert contents == ["Hi", "Hello!", "and now?", ANSWER]


def chatgpt(**nodes):
    return {"title": "GPT", "create_time": 1.5, "current_node": "d", "mapping": nodes}


def node(parent, role=None, *parts, **fields):
    message = role and {
        "author": {"role": role},
        "content": {"content_type": "text", "parts": list(parts)},
        "create_time": 1700000000.25,
        **fields,
    }
    return {"parent": parent, "message": message, "children": []}


def test_a_chatgpt_export_is_read_as_a_tree_closed_over_what_nobody_said():
    document = chatgpt(
        root=node(None),
        system=node("root", "system", "be nice"),
        a=node("system", "user", "question", {"asset_pointer": "image"}, "more"),
        tool=node("a", "tool", "42"),
        b=node("tool", "assistant", "answer", metadata={"model_slug": "gpt-x"}),
        c=node("tool", "assistant", "other answer"),
        d=node("c", "assistant", ""),
    )
    (archived,) = read(json.dumps([document]).encode(), wire.normal_sampling)
    question, answer, other = archived.messages
    assert (question.role, question.content) == (Role.USER, "question\nmore")
    assert question.parent_id is None
    assert (answer.content, answer.model) == ("answer", "gpt-x")
    assert answer.parent_id == other.parent_id == question.id
    assert archived.conversation.current_message_id == other.id


def owui(**messages):
    return [{"chat": {"title": "t", "history": {"currentId": None, "messages": messages}}}]


def said(parent=None, content="x", role="user", **fields):
    return {"parentId": parent, "role": role, "content": content, **fields}


def failed(**fields):
    failure = {"code": 13, "reason": "R", "message": "m", "metadata": {}, **fields}
    return owui(a=said(role="assistant", damso={"failure": failure}))


FAILURE = "$[0].chat.history.messages.a.damso.failure"


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (b"", "$"),
        (b"{", "$"),
        (b"\xff\xfe", "$"),
        (b"[NaN]", "$"),
        (b"[" * 200_000, "$"),
        (b"[" + b"1," * 9_000_000 + b"1]", "$"),
        (b"9" * 5000, "$"),
        (b"7", "$"),
        (b"[{}]", "$[0]"),
        ([{"chat": None}], "$[0].chat.history.messages"),
        ([{"chat": {"history": {"messages": []}}}], "$[0].chat.history.messages"),
        (owui(a=said(content=None)), "$[0].chat.history.messages.a.content"),
        (owui(a=said(content="a\0")), "$[0].chat.history.messages.a.content"),
        (owui(a=said(content="\ud800")), "$[0].chat.history.messages.a.content"),
        (owui(a=said(content="x" * 1_000_001)), "$[0].chat.history.messages.a.content"),
        (owui(a=said(role=3)), "$[0].chat.history.messages.a.role"),
        (owui(a=said(parent="b")), "$[0].chat.history.messages.a.parentId"),
        (owui(a=said(parent="a")), "$[0].chat.history.messages.a.parentId"),
        (owui(a=said("b"), b=said("a")), "$[0].chat.history.messages.a.parentId"),
        (owui(a=said(timestamp=1e300)), "$[0].chat.history.messages.a.timestamp"),
        (owui(a=said(timestamp="soon")), "$[0].chat.history.messages.a.timestamp"),
        (owui(**{"a b": said(parent=1)}), '$[0].chat.history.messages["a b"].parentId'),
        (
            owui(a=said(role="assistant", damso={"state": "odd"})),
            "$[0].chat.history.messages.a.damso.state",
        ),
        (
            owui(a=said(role="assistant", damso={"usage": {"prompt_tokens": -1}})),
            "$[0].chat.history.messages.a.damso.usage.prompt_tokens",
        ),
        (failed(metadata={"a\0": "x"}), f"{FAILURE}.metadata"),
        (failed(metadata={"\ud800": "x"}), f"{FAILURE}.metadata"),
        (failed(metadata={"a": "\0"}), f"{FAILURE}.metadata.a"),
        (failed(reason="R" * 1025), f"{FAILURE}.reason"),
        (failed(message="x" * 1025), f"{FAILURE}.message"),
        (
            [{**owui()[0], "damso": {"settings": {"sampling": {"temperature": [1]}}}}],
            "$[0].damso.settings.sampling",
        ),
        (
            [{**owui()[0], "damso": {"settings": {"sampling": {"temperature": 9}}}}],
            "$[0].damso.settings",
        ),
        ([{**owui()[0], "title": "a\0"}], "$[0].title"),
        ([chatgpt(a=node("nowhere", "user", "x"), d=node(None))], "$[0].mapping.a.parent"),
        ([chatgpt(a=node(None, "user", "x"))], "$[0].current_node"),
    ],
)
def test_a_document_that_cannot_be_kept_says_where(document, path):
    written = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(ImportInvalid) as caught:
        read(written, wire.normal_sampling)
    assert caught.value.metadata["path"] == path


async def test_one_bad_conversation_keeps_all_out(gateway):
    good, bad = owui(a=said()), owui(a=said(content=1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await import_(gateway, json.dumps([*good, *bad]).encode())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(caught.value).reason == "IMPORT_INVALID"
    assert error_info(caught.value).metadata["path"] == "$[1].chat.history.messages.a.content"
    page = await gateway.chat.ListConversations(pb.ListConversationsRequest())
    assert not page.conversations


async def test_a_document_that_is_too_large_is_refused(gateway):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await import_(gateway, b" " * (MAX_BYTES + 1), size=8 << 20)
    assert error_info(caught.value).reason == "IMPORT_INVALID"


async def test_a_deep_tree_and_a_long_branch_are_imported(gateway):
    messages = {
        f"m{n}": said(f"m{n - 1}" if n else None, role="assistant" if n % 2 else "user")
        for n in range(3000)
    }
    added = await import_(gateway, json.dumps(owui(**messages)).encode())
    request = pb.ListMessagesRequest(conversation_id=added[0], page_size=500)
    page = await gateway.chat.ListMessages(request)
    assert len(page.messages) == 500
    assert page.next_page_token


async def test_an_empty_gateway_exports_an_empty_list(gateway):
    assert json.loads(await export(gateway)) == []
    assert await import_(gateway, b"[]") == []


async def test_unknown_conversations_are_not_exported(gateway):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(gateway, "00000000-0000-0000-0000-000000000000")
    assert error_info(caught.value).reason == "CONVERSATION_NOT_FOUND"
