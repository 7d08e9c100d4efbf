"""Which base models are served, and by which names."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError

DEFAULT_NAME = "SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Model:
    """One base model.

    Attributes:
        name: What requests call it: the last part of its source.
        source: Checkpoint directory or hub id.
    """

    name: str
    source: str


def parse(models: str, default: Path) -> tuple[Model, ...]:
    """Reads `DAMSO_MODEL`.

    Args:
        models: Hub ids or directories, separated by commas.
        default: Directory of the model served where none is named.

    Raises:
        LauncherError: A directory is missing, or two models would share a name.
    """
    sources = [source.strip() for source in models.split(",") if source.strip()] or [str(default)]
    found = tuple(_model(source, default) for source in sources)
    for name, count in Counter(model.name for model in found).items():
        if count > 1:
            raise LauncherError(f"DAMSO_MODEL names {count} models that are both called {name}")
    return found


def _model(source: str, default: Path) -> Model:
    if source in (DEFAULT_NAME, str(default)):
        return Model(DEFAULT_NAME, str(default))
    path = Path(source).expanduser()
    if path.is_dir():
        # By the name it was given: a link may be there to give it another.
        return Model(path.absolute().name, str(path.resolve()))
    if source.startswith(("/", ".", "~")):
        raise LauncherError(f"DAMSO_MODEL names {source}, which is no directory")
    return Model(source.rsplit("/", 1)[-1], source)
