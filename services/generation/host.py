"""The engine's life: loads it in the background, says how far it is, notices its death."""

import asyncio
import logging
import multiprocessing
import threading
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from services.generation.adapter_files import AdapterFiles
from services.generation.adapters import Adapter, Adapters
from services.generation.engine import (
    CompletionRequest,
    EngineDead,
    ModelLoading,
    ModelNotFound,
)
from services.generation.loading import Loading, Phase, Progress
from services.generation.settings import EngineSettings

if TYPE_CHECKING:
    from services.generation.vllm_completion import VllmCompletion
    from services.generation.vllm_engine import VllmEngine

logger = logging.getLogger(__name__)

_LONGEST_CAUSE = 1000


class State(Enum):
    """Whether the model can serve."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class EngineHost:
    """Holds the engine of one model from its first import to its end.

    Args:
        model: Checkpoint directory or hub id.
        served_name: What requests call it.
        settings: How the engine runs.
        state_dir: Where durations of past starts and copies of adapters are kept.
        adapter_root: Where adapters are loaded from.

    Attributes:
        served_name: What requests call the base model.
        state: Whether it can serve.
        load_time: When it began to serve, in seconds since the epoch; 0 before.
    """

    def __init__(
        self,
        model: str,
        served_name: str,
        settings: EngineSettings,
        *,
        state_dir: Path,
        adapter_root: Path,
    ) -> None:
        self._model = model
        self._state_dir = state_dir
        self._adapter_root = adapter_root
        self._settings = settings
        self._loading = Loading(state_dir / "start.json")
        self._engine: VllmEngine | None = None
        self._adapters: Adapters | None = None
        self._released = threading.Event()
        self.served_name = served_name
        self.state = State.LOADING
        self.load_time = 0.0

    @property
    def engine(self) -> "VllmEngine":
        """The engine.

        Raises:
            ModelLoading: It cannot serve yet.
            EngineDead: It cannot serve any more.
        """
        if self.state is State.FAILED:
            raise EngineDead
        if self.state is State.LOADING or self._engine is None:
            progress = self._loading.progress()
            raise ModelLoading(
                f"model {self.served_name} is loading; try again",
                retry_after_seconds=max(1.0, progress.remaining_seconds or 5.0),
                phase=progress.phase.value,
                progress=round(progress.share, 3),
            )
        return self._engine

    @property
    def adapters(self) -> Adapters:
        """The adapters that are served; raises as `engine`."""
        assert self.engine and self._adapters is not None
        return self._adapters

    def adapter(self, model: str) -> Adapter | None:
        """The adapter of that name; None: it is the base model's, or empty.

        Raises:
            ModelNotFound: Nothing is served under this name.
        """
        if model in ("", self.served_name):
            return None
        adapter = self.adapters.find(model)
        if adapter is None:
            raise ModelNotFound(
                "no model is served under this name; ListModels has those that are",
                resource_type="model",
                resource_name=model,
            )
        return adapter

    async def start(self, request: CompletionRequest) -> "VllmCompletion":
        """Starts a completion on the model that it names.

        Raises:
            ServiceError: It cannot be taken.
        """
        engine = self.engine
        adapter = self.adapter(request.model)
        if adapter is None:
            return await engine.start_completion(request)
        adapter.users += 1
        release = partial(self.adapters.release, adapter)
        try:
            return await engine.start_completion(request, adapter, release)
        except BaseException:
            await release()
            raise

    def progress(self) -> Progress:
        """How far the start is."""
        return self._loading.progress()

    async def run(self, set_serving: Callable[[bool], Awaitable[None]]) -> None:
        """Loads the engine, serves it, and returns when it has died or could not be loaded.

        Args:
            set_serving: Told whether the model can serve, at each change.
        """
        try:
            await self._load()
            await set_serving(True)
            await self.engine.died()
            logger.error("engine died")
        except Exception as error:
            # Nobody has asked anything yet: the message speaks of files and settings.
            logger.exception("model not loaded", extra={"cause": str(error)[:_LONGEST_CAUSE]})
        self.state = State.FAILED
        await set_serving(False)

    async def _load(self) -> None:
        self._engine = await self._started()
        self._loading.enter(Phase.WARMING_UP)
        await self._engine.warm_up()
        self._adapters = await self._restored(self._engine)
        seconds = self._loading.finish()
        self.load_time = time.time()
        self.state = State.READY
        logger.info("model ready", extra={"duration_seconds": round(seconds, 3)})

    async def _restored(self, engine: "VllmEngine") -> Adapters:
        """The adapters that an earlier process served."""
        files = AdapterFiles(
            self._adapter_root,
            engine.layers,
            self._settings.max_lora_rank,
            engine.tokenizer.backend_tokenizer.to_str(),
            engine.tokenizer.chat_template or "",
        )
        adapters = Adapters(
            self.served_name,
            files,
            self._state_dir / "adapters",
            self._settings.max_adapters if self._settings.max_loras else 0,
            add=engine.add_adapter,
            remove=engine.remove_adapter,
        )
        await adapters.restore()
        return adapters

    async def _started(self) -> "VllmEngine":
        """Starts the engine in a thread that stays until `stop`.

        The kernel ends vLLM's processes together with the thread that started them
        (`vllm_environment.py`), and a thread of asyncio's pool would hold up a shutdown.
        """
        loop = asyncio.get_running_loop()
        started: asyncio.Future[VllmEngine] = loop.create_future()

        def start() -> None:
            try:
                from services.generation.vllm_engine import VllmEngine  # takes 15 s

                loop.call_soon_threadsafe(self._loading.enter, Phase.STARTING_ENGINE)
                loop.call_soon_threadsafe(
                    started.set_result,
                    VllmEngine.start(self._model, self.served_name, self._settings),
                )
            except BaseException as error:
                loop.call_soon_threadsafe(started.set_exception, error)
            self._released.wait()

        threading.Thread(target=start, name="engine", daemon=True).start()
        return await started

    def stop(self) -> None:
        """Ends the engine's processes, also while they are still starting."""
        if self._engine is not None:
            self._engine.stop()
        for child in multiprocessing.active_children():
            child.kill()
        self._released.set()
