"""One turn: render the branch within the budget, generate, save, and tell those who follow.

Whatever can be refused is refused before anything is kept. From then on the turn is a task of its
own (`turns.py`); it ends in exactly one state, which is kept before anybody is told of it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from services.gateway import telemetry
from services.gateway.branches import Branch
from services.gateway.clients import GenerationClient, TokenizerClient
from services.gateway.completion import Line, Prompt, Speaker
from services.gateway.conversations import (
    ChatSettings,
    Failure,
    FinishReason,
    Message,
    Role,
    State,
    Usage,
)
from services.gateway.events import Delta, Finished, Rendered, Started
from services.gateway.models import Models, Served
from services.gateway.sampling import check_settings, with_defaults
from services.gateway.turn_store import NewTurn, Outcome, TurnStore
from services.gateway.turns import Turn, TurnLimits, Turns
from services.runtime import deadlines, logs
from services.runtime.database import DatabaseUnavailable
from services.runtime.errors import InvalidArgument, NotFound, ServiceError, Unavailable

logger = logging.getLogger(__name__)

RESERVED_TOKENS = 512
"""Left for an answer when nobody says how long it may be, or a quarter of a smaller window."""

BYTES_PER_TOKEN = 16
"""More than any text has over a whole branch; about four are common."""

MIN_BRANCH_BYTES = 64 << 10

SAVE_RETRY_SECONDS = 0.5


class ContextLengthExceeded(InvalidArgument):
    """The answer alone, as long as it may be, fills the model's context window."""

    reason = "CONTEXT_LENGTH_EXCEEDED"


class CompletionCutOff(Unavailable):
    """Generation's stream ended before the completion did."""

    reason = "COMPLETION_CUT_OFF"


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """How the events of a turn are delivered."""

    include_prompt: bool = False
    detached_seconds: float = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """A turn of which all is known but the answer."""

    new: NewTurn
    served: Served
    prompt: Prompt
    sampling: Mapping[str, object]
    rendered: Rendered
    arrival_time: float
    """On the performance counter."""


class Answering:
    """Makes answers.

    Args:
        turn_store: Keeps the messages that this process makes.
        turns: Runs their making.
        models: Knows where each model is served.
        tokenizer: Renders prompts.
        generation: Completes them, by address.
        default_sampling: Of chats that set nothing.
        turn_seconds: Most time that one answer may take.
        describe: Turns an error into a failure that can be kept.
    """

    def __init__(
        self,
        turn_store: TurnStore,
        turns: Turns,
        models: Models,
        tokenizer: TokenizerClient,
        generation: Mapping[str, GenerationClient],
        *,
        default_sampling: Mapping[str, object],
        turn_seconds: float,
        describe: Callable[[ServiceError], Failure],
    ) -> None:
        self._turn_store = turn_store
        self._turns = turns
        self._models = models
        self._tokenizer = tokenizer
        self._generation = generation
        self._default_sampling = default_sampling
        self._turn_seconds = turn_seconds
        self._describe = describe

    async def begin(
        self,
        new: NewTurn,
        branch: Branch,
        question: str,
        settings: ChatSettings,
        options: TurnOptions,
    ) -> UUID:
        """Begins a turn, which goes on when this has returned.

        Args:
            new: The messages it begins with.
            branch: What comes before the question.
            question: What is answered.
            settings: What it is answered with.
            options: How the events are delivered.

        Returns:
            The turn.

        Raises:
            ServiceError: It is refused, and nothing is kept.
        """
        arrival_time = time.perf_counter()
        check_settings(settings)
        served = await self._models.ready(settings.model)
        sampling = with_defaults(settings.sampling, self._default_sampling)
        # An answer of which nothing came says nothing to the model.
        branch = branch.newest(_max_bytes(served))
        spoken = [
            message for message in branch.messages if message.content or message.role is Role.USER
        ]
        lines = _lines(settings.system_prompt, spoken, question)
        prompt = await self._tokenizer.render_chat(
            served.model.base_model, lines, _prompt_budget(served, sampling)
        )
        first = len(lines) - 1 - len(spoken)  # the place of the branch's first message
        plan = _Plan(
            new=replace(new, model=served.model.name),
            served=served,
            prompt=prompt,
            sampling=sampling,
            rendered=Rendered(
                prompt_tokens=len(prompt.token_ids),
                context_window_tokens=served.model.context_window_tokens,
                dropped_message_ids=(
                    *branch.older_ids,
                    *(spoken[index - first].id for index in prompt.dropped_indexes),
                ),
                prompt=prompt.text if options.include_prompt else "",
            ),
            arrival_time=arrival_time,
        )
        turn = Turn(new.answer_id, TurnLimits(options.detached_seconds, self._turn_seconds))
        self._turns.start(turn, partial(self._run, plan))
        return new.answer_id

    async def _run(self, plan: _Plan, turn: Turn) -> None:
        """The life of a turn, from its first saving to its last."""
        deadlines.begin(self._turn_seconds)  # the call that began it may go away before
        telemetry.RUNNING_TURNS.inc()
        try:
            question, answer = await self._turn_store.begin(plan.new)
            turn.append(Started(question, answer))
            turn.append(plan.rendered)
            outcome, failure = await self._generate(plan, turn)
            message = await self._save(turn, outcome)
            turn.append(Finished(message, failure))
            telemetry.TURNS.labels(message.state.value).inc()
            logger.info(
                "turn ended",
                extra={
                    "message_id": str(turn.message_id),
                    "state": message.state.value,
                    "model": message.model,
                    "duration_seconds": round(time.perf_counter() - plan.arrival_time, 3),
                },
            )
        except ServiceError as error:  # it could not be begun, or was deleted meanwhile
            turn.close(error)
        except asyncio.CancelledError:  # the process ends
            with suppress(ServiceError):
                await self._turn_store.end(turn.message_id, Outcome(State.INTERRUPTED, turn.text))
            raise
        finally:
            telemetry.RUNNING_TURNS.dec()

    async def _generate(self, plan: _Plan, turn: Turn) -> tuple[Outcome, ServiceError | None]:
        """Lets the engine write the answer into the turn's log."""
        finish_reason: FinishReason | None = None
        usage: Usage | None = None
        pieces = self._generation[plan.served.address].generate(
            plan.served.model.name, plan.prompt, plan.sampling, str(turn.message_id)
        )
        first = True
        try:
            async with turn.until_stopped(), aclosing(pieces):
                async for piece in pieces:
                    if piece.text:
                        if first:
                            first = False
                            waited = time.perf_counter() - plan.arrival_time
                            telemetry.TIME_TO_FIRST_TOKEN.observe(waited)
                        # A model may write NUL, but PostgreSQL cannot keep it.
                        turn.append(Delta(piece.text.replace("\0", "\N{REPLACEMENT CHARACTER}")))
                    finish_reason = piece.finish_reason or finish_reason
                    usage = piece.usage or usage
            if usage is None:
                raise CompletionCutOff("generation ended the answer before it was whole; try again")
        except TimeoutError:
            return Outcome(turn.state_when_stopped, turn.text, finish_reason, usage), None
        except ServiceError as error:
            if isinstance(error, Unavailable | NotFound):  # not as it was described
                self._models.doubt()
            failed = Outcome(State.FAILED, turn.text, failure=self._describe(error))
            return failed, error
        except Exception as error:
            logs.fault(logger, "turn failed", error)
            internal = ServiceError("internal error")
            return Outcome(State.FAILED, turn.text, failure=self._describe(internal)), internal
        aborted = finish_reason is FinishReason.ABORT
        state = State.STOPPED if aborted else State.COMPLETE
        return Outcome(state, turn.text, finish_reason, usage), None

    async def _save(self, turn: Turn, outcome: Outcome) -> Message:
        """Keeps the answer, however long the database is away."""
        while True:
            try:
                return await self._turn_store.end(turn.message_id, outcome)
            except DatabaseUnavailable:
                await asyncio.sleep(SAVE_RETRY_SECONDS)


def _lines(system_prompt: str, branch: Sequence[Message], question: str) -> list[Line]:
    speakers = {Role.USER: Speaker.USER, Role.ASSISTANT: Speaker.ASSISTANT}
    lines = [Line(speakers[message.role], message.content) for message in branch]
    if system_prompt:
        lines.insert(0, Line(Speaker.SYSTEM, system_prompt))
    return [*lines, Line(Speaker.USER, question)]


def _max_bytes(served: Served) -> int:
    """Text of a branch that may fit, so that the tokenizer is spared what cannot."""
    return max(MIN_BRANCH_BYTES, served.model.context_window_tokens * BYTES_PER_TOKEN)


def _prompt_budget(served: Served, sampling: Mapping[str, object]) -> int:
    """Most tokens that the prompt may have, so that the answer has room."""
    window = served.model.context_window_tokens
    asked = sampling.get("max_tokens")
    if asked is None:
        return window - min(RESERVED_TOKENS, window // 4)
    max_tokens = int(str(asked))
    if max_tokens >= window:
        raise ContextLengthExceeded(
            f"max_tokens of {max_tokens} leaves no room for a prompt in the context window of "
            f"{window} tokens",
            field="settings.sampling.max_tokens",
            max_tokens=max_tokens,
            context_window_tokens=window,
        )
    return window - max_tokens
