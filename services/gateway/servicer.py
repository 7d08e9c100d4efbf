"""`damso.chat.v1.ChatService` ↔ the domain. Decides nothing."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias
from uuid import UUID

import grpc.aio

from damso.chat.v1 import chat_pb2 as pb
from damso.chat.v1.chat_pb2_grpc import ChatServiceServicer
from services.gateway import wire
from services.gateway.answering import TurnOptions
from services.gateway.chat import Chat
from services.gateway.conversations import ChatSettings
from services.gateway.export import Exports
from services.gateway.feedback import FeedbackStore
from services.gateway.following import Following
from services.gateway.imports import Imports
from services.gateway.search import Search
from services.gateway.store import Store
from services.runtime import deadlines
from services.runtime.errors import InvalidArgument

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

MAX_DETACHED_SECONDS = 600
DEADLINE_SLACK_SECONDS = 0.25
"""The caller's clock runs ahead of ours by the way of its call; so close to the deadline, a call
that goes away is taken to have reached it."""


class ChatServicer(ChatServiceServicer):
    """The chat service.

    Args:
        store: Keeps conversations.
        chat: Answers messages.
        following: Follows and stops turns.
        search: Finds conversations.
        feedback: Keeps ratings.
        exports: Writes conversations as JSON.
        imports: Reads them.
    """

    def __init__(
        self,
        store: Store,
        chat: Chat,
        following: Following,
        search: Search,
        feedback: FeedbackStore,
        exports: Exports,
        imports: Imports,
    ) -> None:
        self._store = store
        self._chat = chat
        self._following = following
        self._search = search
        self._feedback = feedback
        self._exports = exports
        self._imports = imports

    async def CreateConversation(
        self, request: pb.CreateConversationRequest, context: Context
    ) -> pb.CreateConversationResponse:
        wire.check_texts(request)
        created = await self._store.create(request.title, wire.settings_from(request.settings))
        return pb.CreateConversationResponse(conversation=wire.conversation_to(created))

    async def ListConversations(
        self, request: pb.ListConversationsRequest, context: Context
    ) -> pb.ListConversationsResponse:
        found, next_page = await self._store.page(request.page_size, request.page_token)
        return pb.ListConversationsResponse(
            conversations=map(wire.conversation_to, found), next_page_token=next_page
        )

    async def GetConversation(
        self, request: pb.GetConversationRequest, context: Context
    ) -> pb.GetConversationResponse:
        found = await self._store.get(wire.conversation_id(request.conversation_id))
        return pb.GetConversationResponse(conversation=wire.conversation_to(found))

    async def UpdateConversation(
        self, request: pb.UpdateConversationRequest, context: Context
    ) -> pb.UpdateConversationResponse:
        wire.check_texts(request)
        updated = await self._store.update(
            wire.conversation_id(request.conversation_id),
            title=request.title if request.HasField("title") else None,
            settings=_settings(request),
            message_id=(
                wire.message_id(request.current_message_id)
                if request.HasField("current_message_id")
                else None
            ),
        )
        return pb.UpdateConversationResponse(conversation=wire.conversation_to(updated))

    async def DeleteConversation(
        self, request: pb.DeleteConversationRequest, context: Context
    ) -> pb.DeleteConversationResponse:
        conversation_id = wire.conversation_id(request.conversation_id)
        for running in await self._store.delete(conversation_id):
            await self._following.abandon(running)
        return pb.DeleteConversationResponse()

    async def SearchConversations(
        self, request: pb.SearchConversationsRequest, context: Context
    ) -> pb.SearchConversationsResponse:
        wire.check_texts(request)
        found, next_page = await self._search.find(
            request.query, request.page_size, request.page_token
        )
        return pb.SearchConversationsResponse(
            results=(
                pb.SearchResult(
                    conversation=wire.conversation_to(result.conversation),
                    message_id=str(result.message_id or ""),
                    snippet=result.snippet,
                )
                for result in found
            ),
            next_page_token=next_page,
        )

    async def ListMessages(
        self, request: pb.ListMessagesRequest, context: Context
    ) -> pb.ListMessagesResponse:
        leaf = request.leaf_message_id
        found, next_page = await self._store.branch_page(
            wire.conversation_id(request.conversation_id),
            wire.message_id(leaf) if leaf else None,
            request.page_size,
            request.page_token,
        )
        return pb.ListMessagesResponse(
            messages=map(wire.message_to, found), next_page_token=next_page
        )

    async def ExportConversations(
        self, request: pb.ExportConversationsRequest, context: Context
    ) -> AsyncGenerator[pb.ExportConversationsResponse]:
        wanted = [wire.conversation_id(text) for text in request.conversation_ids]
        async with aclosing(self._exports.document(wanted)) as chunks:
            async for chunk in chunks:
                yield pb.ExportConversationsResponse(chunk=chunk)

    async def ImportConversations(
        self, requests: AsyncIterator[pb.ImportConversationsRequest], context: Context
    ) -> pb.ImportConversationsResponse:
        added = await self._imports.add(request.chunk async for request in requests)
        return pb.ImportConversationsResponse(conversation_ids=map(str, added))

    async def SendMessage(
        self, request: pb.SendMessageRequest, context: Context
    ) -> AsyncGenerator[pb.SendMessageResponse]:
        wire.check_texts(request)
        turn = await self._chat.send(
            wire.conversation_id(request.conversation_id),
            request.content,
            wire.message_id(request.parent_id) if request.parent_id else None,
            _settings(request),
            _options(request.options),
            request.request_id,
        )
        async with aclosing(self._events(turn, 0)) as events:
            async for event in events:
                yield pb.SendMessageResponse(event=event)

    async def RegenerateMessage(
        self, request: pb.RegenerateMessageRequest, context: Context
    ) -> AsyncGenerator[pb.RegenerateMessageResponse]:
        wire.check_texts(request)
        turn = await self._chat.regenerate(
            wire.message_id(request.message_id), _settings(request), _options(request.options)
        )
        async with aclosing(self._events(turn, 0)) as events:
            async for event in events:
                yield pb.RegenerateMessageResponse(event=event)

    async def EditMessage(
        self, request: pb.EditMessageRequest, context: Context
    ) -> AsyncGenerator[pb.EditMessageResponse]:
        wire.check_texts(request)
        turn = await self._chat.edit(
            wire.message_id(request.message_id),
            request.content,
            _settings(request),
            _options(request.options),
        )
        async with aclosing(self._events(turn, 0)) as events:
            async for event in events:
                yield pb.EditMessageResponse(event=event)

    async def StopTurn(self, request: pb.StopTurnRequest, context: Context) -> pb.StopTurnResponse:
        stopped = await self._following.stop(wire.message_id(request.message_id))
        return pb.StopTurnResponse(message=wire.message_to(stopped))

    async def AttachTurn(
        self, request: pb.AttachTurnRequest, context: Context
    ) -> AsyncGenerator[pb.AttachTurnResponse]:
        detached = (
            _detached_seconds(request, "detached_time")
            if request.HasField("detached_time")
            else None
        )
        turn = wire.message_id(request.message_id)
        async with aclosing(self._events(turn, request.offset, detached)) as events:
            async for event in events:
                yield pb.AttachTurnResponse(event=event)

    async def RateMessage(
        self, request: pb.RateMessageRequest, context: Context
    ) -> pb.RateMessageResponse:
        wire.check_texts(request)
        given = request.feedback
        kept = await self._feedback.rate(
            wire.message_id(given.message_id),
            wire.RATINGS.get(given.rating),
            given.reasons,
            given.comment,
            given.edited_content,
        )
        return pb.RateMessageResponse(feedback=wire.feedback_to(kept) if kept else None)

    async def ListFeedback(
        self, request: pb.ListFeedbackRequest, context: Context
    ) -> pb.ListFeedbackResponse:
        only = request.conversation_id
        found, next_page = await self._feedback.page(
            wire.conversation_id(only) if only else None, request.page_size, request.page_token
        )
        return pb.ListFeedbackResponse(
            feedback=map(wire.feedback_to, found), next_page_token=next_page
        )

    async def _events(
        self, turn: UUID, offset: int, detached_seconds: float | None = None
    ) -> AsyncGenerator[pb.TurnEvent]:
        followed = self._following.events(turn, offset, _deadline_passed, detached_seconds)
        async with aclosing(followed) as events:
            async for event in events:
                yield wire.event_to(event)


def _deadline_passed() -> bool:
    remaining = deadlines.remaining_seconds()
    return remaining is not None and remaining < DEADLINE_SLACK_SECONDS


def _settings(
    request: pb.SendMessageRequest
    | pb.RegenerateMessageRequest
    | pb.EditMessageRequest
    | pb.UpdateConversationRequest,
) -> ChatSettings | None:
    return wire.settings_from(request.settings) if request.HasField("settings") else None


def _options(options: pb.TurnOptions) -> TurnOptions:
    return TurnOptions(
        include_prompt=options.include_prompt,
        detached_seconds=_detached_seconds(options, "options.detached_time"),
    )


def _detached_seconds(holder: pb.TurnOptions | pb.AttachTurnRequest, field: str) -> float:
    seconds = holder.detached_time.seconds + holder.detached_time.nanos / 1e9
    if not 0 <= seconds <= MAX_DETACHED_SECONDS:
        raise InvalidArgument(f"{field} must be in [0 s, {MAX_DETACHED_SECONDS} s]", field=field)
    return seconds
