"""The pages' only door to the wire; `calls.py` and `wire.py` are its hinges."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import duration_pb2
from google.protobuf.message import Message as Proto

from damso.chat.v1 import chat_pb2, chat_pb2_grpc
from damso.generation.v1 import generation_pb2, generation_pb2_grpc
from frontend import calls, wire
from frontend.conversation import (
    Conversation,
    Feedback,
    Message,
    Page,
    SearchHit,
    Settings,
    TurnEvent,
)
from frontend.models import Model
from frontend.turns import Turn

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20


class Gateway:
    """Calls to the gateway, which raise `GatewayError`. Safe to share between sessions.

    Args:
        address: `host:port` of the gateway.
        call_deadline_seconds: For calls that are answered at once.
        turn_deadline_seconds: For a turn that is followed to its end.
        detached_seconds: How long a turn goes on while no page shows it.
    """

    def __init__(
        self,
        address: str,
        *,
        call_deadline_seconds: float,
        turn_deadline_seconds: float,
        detached_seconds: float,
    ) -> None:
        self.address = address
        self._call_seconds = call_deadline_seconds
        self._turn_seconds = turn_deadline_seconds
        self._detached = duration_pb2.Duration()
        self._detached.FromMilliseconds(round(detached_seconds * 1000))
        channel = calls.open_channel(address)
        self._chat = chat_pb2_grpc.ChatServiceStub(channel)
        self._generation = generation_pb2_grpc.GenerationServiceStub(channel)

    def list_conversations(self, page_size: int, page_token: str = "") -> Page[Conversation]:
        """Conversations, the most recently changed first."""
        request = chat_pb2.ListConversationsRequest(page_size=page_size, page_token=page_token)
        response = self._unary(self._chat.ListConversations, request)
        return Page(tuple(map(wire.conversation, response.conversations)), response.next_page_token)

    def search(self, query: str, page_size: int, page_token: str = "") -> Page[SearchHit]:
        """Conversations whose title or messages hold a text."""
        request = chat_pb2.SearchConversationsRequest(
            query=query, page_size=page_size, page_token=page_token
        )
        response = self._unary(self._chat.SearchConversations, request)
        return Page(tuple(map(wire.search_hit, response.results)), response.next_page_token)

    def create_conversation(self, settings: Settings) -> Conversation:
        """Begins a conversation."""
        request = chat_pb2.CreateConversationRequest(settings=wire.settings_proto(settings))
        return wire.conversation(self._unary(self._chat.CreateConversation, request).conversation)

    def get_conversation(self, conversation_id: str) -> Conversation:
        """One conversation."""
        request = chat_pb2.GetConversationRequest(conversation_id=conversation_id)
        return wire.conversation(self._unary(self._chat.GetConversation, request).conversation)

    def rename(self, conversation_id: str, title: str) -> Conversation:
        """Gives a conversation another title."""
        return self._update(conversation_id, title=title)

    def save_settings(self, conversation_id: str, settings: Settings) -> Conversation:
        """Changes what answers are made with from now on."""
        return self._update(conversation_id, settings=wire.settings_proto(settings))

    def show_branch(self, conversation_id: str, message_id: str) -> Conversation:
        """Makes the branch of a message the one that is shown."""
        return self._update(conversation_id, current_message_id=message_id)

    def _update(self, conversation_id: str, **changes: Any) -> Conversation:
        request = chat_pb2.UpdateConversationRequest(conversation_id=conversation_id, **changes)
        return wire.conversation(self._unary(self._chat.UpdateConversation, request).conversation)

    def delete(self, conversation_id: str) -> None:
        """Deletes a conversation, its messages and their ratings."""
        request = chat_pb2.DeleteConversationRequest(conversation_id=conversation_id)
        self._unary(self._chat.DeleteConversation, request)

    def list_messages(
        self, conversation_id: str, page_size: int, page_token: str = ""
    ) -> Page[Message]:
        """Messages of the branch that is shown, from its leaf towards the root."""
        request = chat_pb2.ListMessagesRequest(
            conversation_id=conversation_id, page_size=page_size, page_token=page_token
        )
        response = self._unary(self._chat.ListMessages, request)
        return Page(tuple(map(wire.message, response.messages)), response.next_page_token)

    def export(self, conversation_ids: Iterable[str] = ()) -> bytes:
        """Conversations as one JSON document; all where none is named."""
        request = chat_pb2.ExportConversationsRequest(conversation_ids=conversation_ids)
        options = calls.options(self._turn_seconds)
        with calls.translated(options):
            return b"".join(
                piece.chunk for piece in self._chat.ExportConversations(request, **options)
            )

    def import_(self, document: bytes) -> list[str]:
        """Adds the conversations of a JSON document; gives their ids."""
        options = calls.options(self._turn_seconds)
        pieces = (
            chat_pb2.ImportConversationsRequest(chunk=document[start : start + _CHUNK_BYTES])
            for start in range(0, len(document), _CHUNK_BYTES)
        )
        with calls.translated(options):
            return list(self._chat.ImportConversations(pieces, **options).conversation_ids)

    def send(self, conversation_id: str, parent_id: str, content: str, request_id: str) -> Turn:
        """Adds a user message after another and answers it; safe to repeat by its id.

        Without a message to follow it goes to the end of the branch that is shown.
        """
        request = chat_pb2.SendMessageRequest(
            conversation_id=conversation_id,
            content=content,
            parent_id=parent_id,
            options=self._turn_options(),
            request_id=request_id,
        )
        return self._turn(self._chat.SendMessage, request, request_id)

    def regenerate(self, message_id: str) -> Turn:
        """Answers a user message, or makes an answer, again."""
        request = chat_pb2.RegenerateMessageRequest(
            message_id=message_id, options=self._turn_options()
        )
        return self._turn(self._chat.RegenerateMessage, request)

    def edit(self, message_id: str, content: str) -> Turn:
        """Adds a changed user message beside the old one and answers it."""
        request = chat_pb2.EditMessageRequest(
            message_id=message_id, content=content, options=self._turn_options()
        )
        return self._turn(self._chat.EditMessage, request)

    def attach(self, message_id: str) -> Turn:
        """Follows a running turn from its beginning."""
        request = chat_pb2.AttachTurnRequest(message_id=message_id, detached_time=self._detached)
        return self._turn(self._chat.AttachTurn, request)

    def stop_turn(self, message_id: str) -> None:
        """Stops a turn and keeps what has come."""
        self._unary(self._chat.StopTurn, chat_pb2.StopTurnRequest(message_id=message_id))

    def rate(self, feedback: Feedback) -> None:
        """Keeps a rating, or removes it where nothing is in it."""
        request = chat_pb2.RateMessageRequest(feedback=wire.feedback_proto(feedback))
        self._unary(self._chat.RateMessage, request)

    def list_models(self) -> tuple[Model, ...]:
        """Every model and adapter that is served or loads."""
        models: list[Model] = []
        token = ""
        while True:
            request = generation_pb2.ListModelsRequest(page_token=token)
            response = self._unary(self._generation.ListModels, request)
            models += map(wire.model, response.models)
            token = response.next_page_token
            if not token:
                return tuple(models)

    def _turn_options(self) -> chat_pb2.TurnOptions:
        return chat_pb2.TurnOptions(include_prompt=True, detached_time=self._detached)

    def _turn(self, method: Any, request: Proto, request_id: str = "") -> Turn:
        options = calls.options(self._turn_seconds, request_id)
        call = method(request, **options)
        logger.info(
            "turn followed",
            extra={
                "request_id": options["metadata"][0][1],
                "request": type(request).__name__,
            },
        )

        def events() -> Iterator[TurnEvent]:
            with calls.translated(options):
                for response in call:
                    if (event := wire.turn_event(response.event)) is not None:
                        yield event

        return Turn(events(), call.cancel)

    def _unary(self, method: Any, request: Proto) -> Any:
        options = calls.options(self._call_seconds)
        with calls.translated(options):
            return method(request, **options)
