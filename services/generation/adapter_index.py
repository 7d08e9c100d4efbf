"""The list of served adapters on disk, which a restarted process reads."""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)

_FILE = "index.json"


@dataclass(frozen=True, slots=True)
class Record:
    """An adapter that was served."""

    path: str
    """As it was asked for, relative to the adapter root."""
    base_model: str
    """Served name of the model that it was loaded for."""


@dataclass(frozen=True, slots=True)
class Index:
    """What was served."""

    versions: Mapping[str, int] = field(default_factory=dict)
    """Loads of each name so far."""
    served: Mapping[str, Record] = field(default_factory=dict)
    """By name."""


def read(directory: Path) -> Index | None:
    """The index in a directory, empty where there is none; None: damaged, and moved aside."""
    file = directory / _FILE
    try:
        kept = json.loads(file.read_text())
        index = Index(
            {str(name): int(version) for name, version in kept["versions"].items()},
            {
                str(name): Record(str(record["path"]), str(record["base_model"]))
                for name, record in kept["served"].items()
            },
        )
        if not index.served.keys() <= index.versions.keys():
            raise KeyError("versions")
    except FileNotFoundError:
        return Index()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        aside = file.with_suffix(".damaged")
        file.replace(aside)
        logger.error(
            "adapter index damaged",
            extra={"moved_to": str(aside), "error_type": type(error).__qualname__},
        )
        return None
    return index


def write(directory: Path, index: Index) -> None:
    """Replaces the index in a directory; a crash leaves the old one or the new one."""
    kept = {
        "versions": dict(index.versions),
        "served": {
            name: {"path": record.path, "base_model": record.base_model}
            for name, record in index.served.items()
        },
    }
    partial = directory / "index.partial"
    with partial.open("w") as file:
        json.dump(kept, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(directory / _FILE)
