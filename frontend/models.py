"""What the pages know of a served model; `damso.generation.v1` says what each thing means."""

from dataclasses import dataclass
from enum import Enum


class ModelState(Enum):
    """Whether a model can serve."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class LoadingPhase(Enum):
    """What is being done to a model that loads."""

    UNKNOWN = "unknown"
    IMPORTING = "importing"
    STARTING_ENGINE = "starting_engine"
    WARMING_UP = "warming_up"


@dataclass(frozen=True)
class Model:
    """A served name."""

    name: str
    base_model: str
    """Empty for a base model."""
    state: ModelState
    context_window_tokens: int
    """0 until it is known."""
    phase: LoadingPhase = LoadingPhase.UNKNOWN
    progress: float = 0.0
    """Share of the start that is done, in [0, 1]."""
    remaining_seconds: float | None = None
    """None: not known yet."""


def chosen(models: tuple[Model, ...], name: str) -> Model | None:
    """The model of a name, or the first one where the name is empty; None if it is not served."""
    if not name:
        return models[0] if models else None
    return next((model for model in models if model.name == name), None)
