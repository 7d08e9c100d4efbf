"""The engine on vLLM's `AsyncLLM`. Only this module and its neighbours `vllm_*` know vLLM.

Importing it takes vLLM's own 15 to 20 s: `host.py` does it in a thread.
"""

import asyncio
import copy
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing

from vllm.inputs.engine import tokens_input
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.utils.gc_utils import freeze_gc_heap
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from services.generation import vllm_arguments, vllm_sampling
from services.generation.adapter_files import AdapterInvalid, LinearShape
from services.generation.adapters import Adapter
from services.generation.encoding import Encoder, too_long
from services.generation.engine import CompletionRequest, EngineDead, Load, Prompt, QueueFull
from services.generation.linear_layers import linear_layers
from services.generation.sampling import SamplingParams
from services.generation.settings import EngineSettings
from services.generation.structures import StructureChecker
from services.generation.vllm_completion import (
    VLLM_ERRORS,
    VllmCompletion,
    as_service_error,
)
from services.generation.vllm_outputs import WholeCharacters, spelled_replacements
from services.generation.vllm_stats import StepSignal
from services.runtime.errors import InvalidArgument


class VllmEngine:
    """One base model being served.

    Attributes:
        encoder: Encodes its prompts.
        steps: Signals each engine step.
        layers: The layers that adapters may change.
        context_window_tokens: Most tokens of prompt and completion together.
        vocabulary_size: Number of token ids.
        dtype: Numeric type of the weights.
        device: `cpu` or `cuda`.
        max_running: Most completions decoded at once.
        max_waiting: Most completions that wait for a place.
    """

    def __init__(
        self,
        llm: AsyncLLM,
        steps: StepSignal,
        layers: dict[str, LinearShape],
        settings: EngineSettings,
    ) -> None:
        self._llm = llm
        self._ids = itertools.count(1)
        self._running: dict[str, set[str]] = {}  # ids in vLLM by request id
        config = llm.model_config
        self.steps = steps
        self.layers = layers
        self.context_window_tokens = int(config.max_model_len)
        self.vocabulary_size = int(config.get_vocab_size())
        self.dtype = str(config.dtype).removeprefix("torch.")
        self.device = str(current_platform.device_type)
        self.max_running = int(llm.vllm_config.scheduler_config.max_num_seqs)
        self.max_waiting = settings.max_waiting
        # A copy: vLLM's own detokenizes on the event loop while ours encodes in threads.
        self.tokenizer = copy.deepcopy(llm.get_tokenizer())
        self.encoder = Encoder(self.tokenizer, self.context_window_tokens, self.vocabulary_size)
        self._spelled = spelled_replacements(self.tokenizer.get_vocab())
        self._structures = StructureChecker(self.tokenizer, self.vocabulary_size)

    @classmethod
    def start(cls, model: str, served_name: str, settings: EngineSettings) -> "VllmEngine":
        """Starts vLLM's processes and waits until they have the model; blocks for seconds."""
        layers = linear_layers(model) if settings.max_loras else {}
        arguments = vllm_arguments.engine_args(
            model, served_name, {name.rsplit(".", 1)[-1] for name in layers}, settings
        )
        # The default context would cap a GPU at 128 completions at once.
        context = UsageContext.OPENAI_API_SERVER
        config = arguments.create_engine_config(context)
        # vLLM's CPU platform chose spawn just now, for the sake of threads pinned by OpenMP; with
        # one process for the model there are none.
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = settings.start_method
        steps = StepSignal()
        llm = AsyncLLM.from_vllm_config(
            config, usage_context=context, stat_loggers=[lambda *_: steps]
        )
        return cls(llm, steps, layers, settings)

    async def warm_up(self) -> None:
        """Generates a few tokens, so that nobody waits for what happens only once."""
        sampling = SamplingParams(
            temperature=0, max_tokens=2, ignore_eos=True, logprobs=0, prompt_logprobs=0
        )
        request = CompletionRequest("warm-up", Prompt(text="warm-up"), sampling, timed=False)
        async with aclosing(await self.start_completion(request)) as completion:
            async for _ in completion:
                pass
        freeze_gc_heap()

    async def died(self) -> None:
        """Returns when the engine is dead."""
        outputs = self._llm.output_handler
        assert outputs is not None  # it began with the warm-up
        await asyncio.wait([outputs])
        self.steps.fire()  # who waits for a step finds the error in its completions

    def stop(self) -> None:
        """Stops vLLM's processes."""
        self._llm.shutdown()
        # It would do so again in `__del__`, when Python has taken its modules apart, and complain.
        self._llm.shutdown = lambda: None

    def load(self) -> Load:
        """How busy the engine is."""
        # vLLM makes no step, and so no report, after an abort that leaves it nothing to do.
        if not self._llm.output_processor.get_num_unfinished_requests():
            return Load()
        return self.steps.load

    async def start_completion(
        self,
        request: CompletionRequest,
        adapter: Adapter | None = None,
        released: Callable[[], Awaitable[None]] | None = None,
    ) -> VllmCompletion:
        """Starts one request.

        Args:
            request: What to complete.
            adapter: Weights on top of the base model's.
            released: Awaited once when the completion is closed; not when starting it fails.

        Raises:
            ServiceError: The request cannot be taken.
        """
        arrived = time.perf_counter()
        self._admit(request.sampling.n)
        request.sampling.check_vocabulary(self.vocabulary_size)
        prompt_ids = await self.encoder.encode(request.prompt)
        max_tokens = self._max_tokens(len(prompt_ids), request.sampling)
        request.sampling.check_logprobs(len(prompt_ids), max_tokens)
        params = vllm_sampling.to_vllm(request, max_tokens)
        if request.sampling.structure is not None:
            await self._structures.check(request.sampling.structure)
        self._admit(request.sampling.n)  # others came meanwhile
        engine_id = str(next(self._ids))
        try:
            outputs = await self._llm.add_request(
                engine_id,
                tokens_input(prompt_ids, cache_salt=request.cache_salt or None),
                params,
                lora_request=_lora_request(adapter) if adapter else None,
                priority=request.priority,
            )
        except VLLM_ERRORS as error:
            raise as_service_error(error, request.sampling) from None
        except BaseException:
            await self._llm.abort(engine_id)  # it may have been half way in
            raise
        self._running.setdefault(request.request_id, set()).add(engine_id)

        async def forget() -> None:
            ids = self._running[request.request_id]
            ids.remove(engine_id)
            if not ids:
                del self._running[request.request_id]
            if released is not None:
                await released()

        return VllmCompletion(
            self._llm,
            outputs,
            engine_id=engine_id,
            include_text=request.include_text,
            characters=WholeCharacters(self._spelled),
            prompt_tokens=len(prompt_ids),
            arrived=arrived,
            timed=request.timed,
            released=forget,
        )

    async def abort(self, request_ids: Iterable[str]) -> list[str]:
        """Ends running completions by their request ids; gives those that were running."""
        found = [name for name in dict.fromkeys(request_ids) if name in self._running]
        engine_ids = [engine_id for name in found for engine_id in self._running[name]]
        if engine_ids:
            await self._llm.abort(engine_ids)
            self.steps.fire()  # no step will tell who waits
        return found

    async def add_adapter(self, adapter: Adapter) -> None:
        """Has vLLM read an adapter.

        Raises:
            AdapterInvalid: vLLM refuses it.
        """
        try:
            await self._llm.add_lora(_lora_request(adapter))
        except EngineDeadError:
            raise EngineDead from None
        except Exception as error:  # vLLM passes on its workers' errors as bare `Exception`
            await self.remove_adapter(adapter)  # it stays listed otherwise, and answers as the base
            raise AdapterInvalid("the engine could not load the adapter", field="path") from error
        except BaseException:  # the caller has gone; vLLM may have read it all the same
            await asyncio.shield(self.remove_adapter(adapter))
            raise

    async def remove_adapter(self, adapter: Adapter) -> None:
        """Has vLLM forget an adapter."""
        try:
            await self._llm.remove_lora(adapter.engine_id)
        except EngineDeadError:
            raise EngineDead from None

    def _admit(self, completions: int) -> None:
        if self._llm.errored:
            raise EngineDead
        unfinished = self._llm.output_processor.get_num_unfinished_requests()
        if unfinished + completions > self.max_running + self.max_waiting:
            raise QueueFull(max_running_count=self.max_running, max_waiting_count=self.max_waiting)

    def _max_tokens(self, prompt_tokens: int, sampling: SamplingParams) -> int:
        """Most tokens to decode: as wished, or what the context window leaves."""
        window = self.context_window_tokens
        wished = sampling.max_tokens
        if wished is not None and prompt_tokens + wished > window:
            raise too_long("sampling.max_tokens", prompt_tokens, wished, window)
        most = wished or window - prompt_tokens
        if sampling.min_tokens > most:
            raise InvalidArgument(
                f"sampling.min_tokens must be at most {most}, which the prompt leaves",
                field="sampling.min_tokens",
            )
        return most


def _lora_request(adapter: Adapter) -> LoRARequest:
    # vLLM tells adapters apart by name, also in its prefix cache.
    return LoRARequest(
        f"{adapter.name}@{adapter.version}", adapter.engine_id, str(adapter.directory)
    )
