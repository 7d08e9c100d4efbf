"""What people do in a conversation that makes an answer: send, regenerate, edit.

Each finds the branch and its question, and has it answered (`answering.py`).
"""

from uuid import UUID, uuid4

from services.gateway.answering import Answering, TurnOptions
from services.gateway.branches import Branch
from services.gateway.conversations import (
    MAX_REQUEST_ID_CHARACTERS,
    ChatSettings,
    Message,
    Role,
    RoleMismatch,
    State,
    check_characters,
    check_content,
)
from services.gateway.store import Store
from services.gateway.turn_store import NewTurn, TurnStore
from services.runtime.errors import FailedPrecondition


class ParentRunning(FailedPrecondition):
    """The message to follow is still being made."""

    reason = "PARENT_RUNNING"


class Chat:
    """Conversations with a model.

    Args:
        store: Keeps conversations.
        turn_store: Keeps the messages that this process makes.
        answering: Makes them.
    """

    def __init__(self, store: Store, turn_store: TurnStore, answering: Answering) -> None:
        self._store = store
        self._turn_store = turn_store
        self._answering = answering

    async def send(
        self,
        conversation_id: UUID,
        content: str,
        parent_id: UUID | None,
        settings: ChatSettings | None,
        options: TurnOptions,
        request_id: str,
    ) -> UUID:
        """Adds a user message to a branch and begins to answer it.

        Args:
            conversation_id: Where.
            content: The user's text.
            parent_id: The answer it follows; None: the conversation's current leaf.
            settings: In place of the conversation's.
            options: How the events are delivered.
            request_id: Makes a repeated call safe; empty: it is not.

        Returns:
            The turn.

        Raises:
            RoleMismatch: The message to follow is not an answer.
            ParentRunning: It is still being made.
        """
        check_content(content)
        check_characters(request_id, MAX_REQUEST_ID_CHARACTERS, "request_id")
        conversation = await self._store.get(conversation_id)
        if request_id:
            repeated = await self._turn_store.of_request(conversation_id, request_id)
            if repeated:
                return repeated
        parent_id = parent_id or conversation.current_message_id
        branch = await self._store.branch(conversation_id, parent_id) if parent_id else Branch()
        if branch.messages:
            _check_can_be_followed(branch.messages[-1])
        turn = NewTurn(
            conversation_id=conversation_id,
            question_id=uuid4(),
            answer_id=uuid4(),
            question_parent_id=parent_id,
            content=content,
            request_id=request_id or None,
        )
        return await self._answering.begin(
            turn, branch, content, settings or conversation.settings, options
        )

    async def regenerate(
        self, message_id: UUID, settings: ChatSettings | None, options: TurnOptions
    ) -> UUID:
        """Begins to answer a user message again.

        Args:
            message_id: The answer to make again, or the user message.
            settings: In place of the conversation's.
            options: How the events are delivered.

        Returns:
            The turn.

        Raises:
            RoleMismatch: It is neither.
        """
        message = await self._store.message(message_id)
        if message.role is Role.USER:
            question_id = message.id
        elif message.parent_id:
            question_id = message.parent_id
        else:  # an imported conversation may begin with the model's words
            raise RoleMismatch("message_id names an answer to nothing", field="message_id")
        whole = await self._store.branch(message.conversation_id, question_id)
        *messages, question = whole.messages
        branch = Branch(tuple(messages), whole.older_ids)
        if question.role is not Role.USER:
            raise RoleMismatch(
                "message_id must name a user message or the answer to one", field="message_id"
            )
        turn = NewTurn(
            conversation_id=message.conversation_id, question_id=question_id, answer_id=uuid4()
        )
        return await self._answering.begin(
            turn, branch, question.content, await self._settings(message, settings), options
        )

    async def edit(
        self, message_id: UUID, content: str, settings: ChatSettings | None, options: TurnOptions
    ) -> UUID:
        """Adds a changed user message beside the old, and begins to answer it.

        Args:
            message_id: The user message to change.
            content: The new text.
            settings: In place of the conversation's.
            options: How the events are delivered.

        Returns:
            The turn.

        Raises:
            RoleMismatch: It is not a user message.
        """
        check_content(content)
        message = await self._store.message(message_id)
        if message.role is not Role.USER:
            raise RoleMismatch("message_id must name a user message", field="message_id")
        parent_id = message.parent_id
        branch = (
            await self._store.branch(message.conversation_id, parent_id) if parent_id else Branch()
        )
        turn = NewTurn(
            conversation_id=message.conversation_id,
            question_id=uuid4(),
            answer_id=uuid4(),
            question_parent_id=parent_id,
            content=content,
        )
        return await self._answering.begin(
            turn, branch, content, await self._settings(message, settings), options
        )

    async def _settings(self, message: Message, settings: ChatSettings | None) -> ChatSettings:
        return settings or (await self._store.get(message.conversation_id)).settings


def _check_can_be_followed(message: Message) -> None:
    if message.role is not Role.ASSISTANT:
        raise RoleMismatch(
            "the branch ends with a user message; answer it by RegenerateMessage first, or let "
            "parent_id name an assistant message",
            field="parent_id",
        )
    if message.state is State.RUNNING:
        raise ParentRunning("the message to follow is still being made; stop it or wait for it")
