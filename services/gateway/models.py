"""Which backend serves which model name, by what the backends themselves say."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.runtime.errors import NotFound, ServiceError, Unavailable

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 5.0
"""How often the backends are asked, so that no turn has to wait for their answers."""

IMPATIENT_SECONDS = 0.25
"""A turn whose model is not known to be ready asks again after this."""


class ModelState(StrEnum):
    """Whether a model can serve."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Model:
    """A served name, as its backend describes it."""

    name: str
    base_model: str
    """Name of the base model; its own for a base model."""

    state: ModelState
    context_window_tokens: int
    phase: str = ""
    progress: float = 0
    """Share of the loading that is done, in [0, 1]."""

    remaining_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """A model and where it is served."""

    address: str
    model: Model


class ModelUnknown(NotFound):
    """No backend serves a model of this name."""

    reason = "MODEL_NOT_FOUND"


class ModelLoading(Unavailable):
    """The model is being loaded."""

    reason = "MODEL_LOADING"


class ModelUnreachable(Unavailable):
    """The backend of the model, or one that may serve it, does not answer."""

    reason = "GENERATION_UNAVAILABLE"


ListModels = Callable[[], Awaitable[Sequence[Model]]]
"""Asks one backend for its models, the base model first."""


class Models:
    """The models of all generation backends.

    Args:
        backends: How to ask each, by address. The first one's base model is the default.
    """

    def __init__(self, backends: Mapping[str, ListModels]) -> None:
        self._backends = backends
        self._known: dict[str, Sequence[Model]] = {}
        self._asked_time = float("-inf")
        self._doubted = False
        self._asking = asyncio.Lock()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every backend's address, the default one first."""
        return tuple(self._backends)

    async def ready(self, name: str) -> Served:
        """Where a model is served, once it can answer.

        Args:
            name: The model or adapter; empty: the default.

        Raises:
            ModelUnknown: Nobody serves it.
            ModelLoading: It is not ready yet.
            ModelUnreachable: A backend does not answer.
        """
        served = await self.find(name)
        model = served.model
        if model.state is ModelState.READY:
            return served
        if model.state is ModelState.FAILED:
            raise ModelUnreachable("the model's engine is being started again", model=model.name)
        remaining = model.remaining_seconds
        raise ModelLoading(
            "the model is being loaded; try again in a moment",
            retry_after_seconds=min(max(remaining or 1.0, 0.5), 10.0),
            model=model.name,
            phase=model.phase,
            progress=round(model.progress, 3),
            **({} if remaining is None else {"remaining_seconds": round(remaining, 1)}),
        )

    async def find(self, name: str) -> Served:
        """Where a model is served, ready or not.

        Raises:
            ModelUnknown: Nobody serves it.
            ModelUnreachable: A backend does not answer, which may serve it.
        """
        found = self._look_up(name)
        settled = found is not None and found.model.state is ModelState.READY
        age = time.monotonic() - self._asked_time
        if self._doubted or (not settled and age > IMPATIENT_SECONDS):
            await self._ask(self._asked_time)
            found = self._look_up(name)
        if found is not None:
            return found
        if any(address not in self._known for address in self._needed(name)):
            raise ModelUnreachable("the generation service does not answer yet; try again")
        raise ModelUnknown(
            "no such model is served; ListModels names those that are",
            resource_type="model",
            resource_name=name,
        )

    def doubt(self) -> None:
        """Asks again before the next use, because a backend was not as described."""
        self._doubted = True

    async def refresh(self) -> None:
        """Asks the backends over and over, until it is cancelled."""
        while True:
            await self._ask(self._asked_time)
            await asyncio.sleep(REFRESH_SECONDS)

    def _needed(self, name: str) -> Sequence[str]:
        return self.addresses if name else self.addresses[:1]

    def _look_up(self, name: str) -> Served | None:
        for address in self._needed(name):
            for model in self._known.get(address, ()):
                if model.name == name or not name:
                    return Served(address, model)
        return None

    async def _ask(self, asked_time: float) -> None:
        async with self._asking:
            if self._asked_time != asked_time:
                return  # another call has asked meanwhile
            self._doubted = False
            async with asyncio.TaskGroup() as group:
                for address, list_models in self._backends.items():
                    group.create_task(self._ask_one(address, list_models))
            self._asked_time = time.monotonic()

    async def _ask_one(self, address: str, list_models: ListModels) -> None:
        try:
            self._known[address] = await list_models()
        except ServiceError:
            self._known.pop(address, None)
