"""One request in vLLM, from its arrival to its last token."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import fields

from vllm.outputs import RequestOutput
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
from vllm.v1.engine.output_processor import RequestOutputCollector

from services.generation import telemetry, vllm_outputs
from services.generation.engine import EngineDead, EngineFailed, Step, Usage
from services.generation.sampling import SamplingParams
from services.generation.vllm_outputs import WholeCharacters
from services.runtime.errors import InvalidArgument, ServiceError

try:
    from vllm.exceptions import VLLMClientError
except ImportError:  # older versions of vLLM raise plain ones
    VLLMClientError = ValueError

_SAMPLING_FIELDS = {field.name for field in fields(SamplingParams)} - {"structure"}
VLLM_ERRORS = (EngineDeadError, EngineGenerateError, VLLMClientError)


class VllmCompletion:
    """What a request brings, step by step; close it to free its place in the engine.

    vLLM merges what was decoded while nobody asked, so a slow reader costs no more memory than
    the completion itself.

    Args:
        llm: Runs the request.
        outputs: Where vLLM puts what it decodes.
        engine_id: The request's id in vLLM.
        include_text: Whether deltas carry text.
        characters: Keeps broken characters out of the text.
        prompt_tokens: Length of the prompt.
        arrived: When the request came, on `time.perf_counter`.
        timed: Whether its times count in telemetry.
        released: Called once, at `aclose`.

    Attributes:
        finished: Whether the last step has been taken.
    """

    def __init__(
        self,
        llm: AsyncLLM,
        outputs: RequestOutputCollector,
        *,
        engine_id: str,
        include_text: bool,
        characters: WholeCharacters,
        prompt_tokens: int,
        arrived: float,
        timed: bool,
        released: Callable[[], Awaitable[None]],
    ) -> None:
        self._llm = llm
        self._outputs = outputs
        self._engine_id = engine_id
        self._include_text = include_text
        self._characters = characters
        self._prompt_tokens = prompt_tokens
        self._completion_tokens = 0
        self._arrived = arrived
        self._timed = timed
        self._began = False
        self._previous = 0.0
        self._first_token_seconds = 0.0
        self._released = released
        self._closed = False
        self.finished = False

    def take(self) -> Step | None:
        """What was decoded since the last step; None: nothing yet.

        Raises:
            ServiceError: The request has failed.
        """
        try:
            output = self._outputs.get_nowait()
        except VLLM_ERRORS as error:
            raise as_service_error(error) from None
        return self._step(output) if output is not None else None

    async def __aiter__(self) -> AsyncIterator[Step]:
        """The steps, to the last."""
        try:
            while not self.finished:
                # No task switch where something is there already.
                output = self._outputs.get_nowait() or await self._outputs.get()
                yield self._step(output)
        except VLLM_ERRORS as error:
            raise as_service_error(error) from None

    async def abort(self) -> None:
        """Has the completion end with `FinishReason.ABORT`."""
        await self._llm.abort(self._engine_id)

    async def aclose(self) -> None:
        """Frees the request's place in the engine, also before its end."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self.finished:
                self.finished = True
                await self._llm.abort(self._engine_id)
        finally:
            await self._released()

    def _step(self, output: RequestOutput) -> Step:
        include_text = self._include_text
        deltas = [
            vllm_outputs.to_delta(completion, include_text=include_text)
            for completion in output.outputs
        ]
        step = Step(deltas)
        if not self._began:
            self._began = True
            # Each of several completions brings the same ones.
            step.prompt_logprobs = vllm_outputs.prompt_logprobs(output)
        now = time.perf_counter()
        for delta in deltas:
            delta.text = self._characters.of(delta)
        if tokens := sum(len(delta.token_ids) for delta in deltas):  # none: an abort's own step
            self._completion_tokens += tokens
            self._time(now)
        if output.finished:
            self.finished = True
            step.usage = self._usage(output, now)
        return step

    def _time(self, now: float) -> None:
        """Takes the time of a step with tokens."""
        if not self._previous:
            self._first_token_seconds = now - self._arrived
        if self._timed and self._previous:
            telemetry.INTER_TOKEN.observe(now - self._previous)
        elif self._timed:
            telemetry.FIRST_TOKEN.observe(self._first_token_seconds)
        self._previous = now

    def _usage(self, output: RequestOutput, now: float) -> Usage:
        telemetry.PROMPT_TOKENS.inc(self._prompt_tokens)
        telemetry.COMPLETION_TOKENS.inc(self._completion_tokens)
        times = output.metrics  # of the engine's monotonic clock; 0 where it never came so far
        waited = times.scheduled_ts - times.queued_ts if times and times.scheduled_ts else 0.0
        return Usage(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=output.num_cached_tokens or 0,
            completion_tokens=self._completion_tokens,
            queue_seconds=max(0.0, waited),
            first_token_seconds=self._first_token_seconds,
            total_seconds=now - self._arrived,
        )


def as_service_error(error: Exception, sampling: SamplingParams | None = None) -> ServiceError:
    """vLLM's error as ours. Its message stays behind, as it may quote the request.

    Args:
        error: What vLLM raised.
        sampling: What the request wished for, to name the field that vLLM refuses.
    """
    cause = error.__cause__ if isinstance(error, EngineGenerateError) else error
    if isinstance(cause, EngineDeadError):
        return EngineDead()
    if isinstance(cause, VLLMClientError):
        field = _field(getattr(cause, "parameter", None), sampling)
        return InvalidArgument(f"the engine refused {field or 'the request'}", field=field)
    return EngineFailed()


def _field(parameter: str | None, sampling: SamplingParams | None) -> str:
    """The request's field for a parameter of vLLM's; structures are refused without a name."""
    if parameter in _SAMPLING_FIELDS:
        return f"sampling.{parameter}"
    if parameter is None and sampling is not None and sampling.structure is not None:
        return f"sampling.{sampling.structure.kind.value}"
    return ""
