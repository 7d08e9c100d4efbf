"""Log-probabilities of texts, and of what may come next.

The same text gets the same figures in whatever order and company it comes. What would break that:

* Prefixes read from the cache: vLLM reports no logprobs for them, so scored prompts are read whole.
* Prompts read in pieces, cut where the company in the step leaves room: up to 0.3 nats a token in
  bfloat16. A CPU's engine is set up to read every prompt in one piece (`vllm_arguments.py`).
* Sums that depend on which rows share a matrix product. A CPU's kernels treat each row alone, also
  beside running chats: `tests/generation/test_scoring.py` compares bit by bit.

On CUDA neither of the last two holds, and figures may differ in their last digits, unless the
service is started with `VLLM_BATCH_INVARIANT=1`, which slows all decoding down.
"""

import asyncio
import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from services.generation.encoding import Continued
from services.generation.engine import (
    CompletionAborted,
    CompletionRequest,
    FinishReason,
    Prompt,
    Step,
    TokenLogprob,
    TokenProbability,
)
from services.generation.host import EngineHost
from services.generation.sampling import (
    MAX_ALTERNATIVES,
    MAX_LOGPROB_ENTRIES,
    SamplingParams,
)
from services.runtime.errors import InvalidArgument, ServiceError

MAX_ITEMS = 256
MAX_CONTINUATIONS = 1024
MAX_SCORE_ALTERNATIVES = 100
MAX_SCORE_ENTRIES = 1 << 20
"""Alternatives, and the token itself, times tokens of one call: some 100 MB while it runs."""
DEFAULT_TOP_K = 10
_MOST_NATS = 709.0
_AT_ONCE = 32
"""Texts that one call has in the engine at once, so that scoring leaves room for chats."""


@dataclass(frozen=True, slots=True)
class ScoreItem:
    """A context and the texts to score after it."""

    context: Prompt | None
    """None: each text on its own, from the tokenizer's first token on."""
    continuations: Sequence[Prompt]


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one text."""

    tokens: Sequence[TokenLogprob]

    @property
    def logprob(self) -> float:
        """Sum over the tokens, in nats."""
        return math.fsum(entry.token.logprob or 0.0 for entry in self.tokens)

    @property
    def perplexity(self) -> float:
        """exp(−logprob / tokens); at most the largest number there is."""
        return math.exp(min(-self.logprob / max(1, len(self.tokens)), _MOST_NATS))

    @property
    def is_greedy(self) -> bool:
        """Whether no token had a more probable one in its place; several may be equal."""
        return all(entry.token.rank == 1 for entry in self.tokens)


async def score(
    host: EngineHost, model: str, items: Sequence[ScoreItem], alternatives: int, request_id: str
) -> list[list[Score]]:
    """Scores every continuation of every item.

    Args:
        host: Runs the model.
        model: Served name; empty: the base model.
        items: What to score.
        alternatives: Most probable tokens reported with each, in [0, 100].
        request_id: Names the engine's requests.

    Raises:
        ServiceError: An item cannot be scored; its field is named.
    """
    count = sum(len(item.continuations) for item in items)
    if not 1 <= len(items) <= MAX_ITEMS or not all(item.continuations for item in items):
        raise InvalidArgument(
            f"items must be 1 to {MAX_ITEMS}, each with continuations", field="items"
        )
    if count > MAX_CONTINUATIONS:
        raise InvalidArgument(
            f"items have {count} continuations in all; at most {MAX_CONTINUATIONS} are taken",
            field="items",
            count=count,
            max_count=MAX_CONTINUATIONS,
        )
    if not 0 <= alternatives <= MAX_SCORE_ALTERNATIVES:
        raise InvalidArgument(
            f"alternatives must be in [0, {MAX_SCORE_ALTERNATIVES}]", field="alternatives"
        )
    places = asyncio.Semaphore(_AT_ONCE)
    entries = 0

    async def one(context: Prompt | None, continuation: Prompt) -> Score:
        nonlocal entries
        async with places:
            text = await host.engine.encoder.continued(context, continuation)
            here = len(text.token_ids) * (alternatives + 1)
            entries += here
            if here > MAX_LOGPROB_ENTRIES or entries > MAX_SCORE_ENTRIES:
                raise InvalidArgument(
                    f"alternatives plus 1, times tokens, must come to at most {MAX_SCORE_ENTRIES}, "
                    f"and for one text with its context to {MAX_LOGPROB_ENTRIES}; ask for fewer "
                    "alternatives or send fewer items",
                    field="alternatives" if alternatives else "items",
                    max_count=MAX_SCORE_ENTRIES,
                )
            return await _score(host, model, text, continuation.field, alternatives, request_id)

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [
                [tasks.create_task(one(item.context, text)) for text in item.continuations]
                for item in items
            ]
    except* ServiceError as failed:
        error: BaseException = failed
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        first = error
    else:
        return [[task.result() for task in row] for row in running]
    raise first


async def _score(
    host: EngineHost, model: str, text: Continued, field: str, alternatives: int, request_id: str
) -> Score:
    step = await _only_step(
        host,
        CompletionRequest(
            request_id,
            Prompt(token_ids=text.token_ids, field=field),
            # One alternative at least tells whether a token was the most probable.
            SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=max(1, alternatives)),
            model=model,
            include_text=False,
            read_prefix_cache=False,
            timed=False,
        ),
    )
    scored = step.prompt_logprobs[max(1, text.context_tokens) :]
    return Score(await asyncio.to_thread(_with_texts, host, scored, alternatives))


async def next_tokens(
    host: EngineHost, model: str, prefix: Prompt, top_k: int, request_id: str
) -> Sequence[TokenProbability]:
    """The most probable tokens after a prefix, most probable first.

    Args:
        host: Runs the model.
        model: Served name; empty: the base model.
        prefix: What comes before.
        top_k: How many, in [1, 1000].
        request_id: Names the engine's request.

    Raises:
        ServiceError: The prefix cannot be read, or `top_k` is out of range.
    """
    most = min(MAX_ALTERNATIVES, host.engine.vocabulary_size)
    if not 1 <= top_k <= most:
        raise InvalidArgument(f"top_k must be in [1, {most}]", field="top_k")
    step = await _only_step(
        host,
        CompletionRequest(
            request_id,
            prefix,
            SamplingParams(temperature=0, max_tokens=1, logprobs=top_k),
            model=model,
            include_text=False,
            read_prefix_cache=False,
            timed=False,
        ),
    )
    (position,) = step.deltas[0].logprobs
    (named,) = await asyncio.to_thread(_with_texts, host, [position], top_k)
    return named.alternatives


async def _only_step(host: EngineHost, request: CompletionRequest) -> Step:
    """The step of a request for one token."""
    async with aclosing(await host.start(request)) as completion:
        steps = [step async for step in completion]
    if steps[-1].deltas[0].finish_reason is FinishReason.ABORT:
        raise CompletionAborted("the request was aborted by its id")
    return steps[0]


def _with_texts(
    host: EngineHost, logprobs: Sequence[TokenLogprob], alternatives: int
) -> list[TokenLogprob]:
    """The same with each token's text, which the engine is not asked for: it is slower there."""
    text = host.engine.encoder.token_text

    def named(token: TokenProbability) -> TokenProbability:
        return replace(token, token=text(token.token_id))

    return [
        TokenLogprob(
            named(entry.token), [named(token) for token in entry.alternatives[:alternatives]]
        )
        for entry in logprobs
    ]
