"""The files of a LoRA adapter, as PEFT writes them: where they may lie, and whether they fit.

Not covered: DoRA, biases, fully trained modules, ranks that differ from layer to layer. They are
refused, since the engine would ignore or misread them.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from services.runtime.errors import InvalidArgument

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_TOKENIZER = "tokenizer.json"
_CHAT_TEMPLATE = "chat_template.jinja"
_MAX_JSON_BYTES = 1 << 20
_MAX_TOKENIZER_BYTES = 64 << 20
_TENSOR = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<part>[AB])\.weight")
_DTYPES = {"F32", "F16", "BF16"}
_UNSUPPORTED = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out")


class AdapterInvalid(InvalidArgument):
    """The adapter's files do not fit the base model."""

    reason = "ADAPTER_INVALID"


@dataclass(frozen=True, slots=True)
class LinearShape:
    """Shape of a linear layer."""

    in_features: int
    out_features: int


class AdapterFiles:
    """Takes adapters for one base model.

    Args:
        root: Directory that they are taken from; nothing outside it is read.
        layers: The base model's layers that adapters may change.
        max_rank: Highest rank of the LoRA matrices.
        tokenizer: The base model's tokenizer, serialized.
        chat_template: The base model's, empty where it has none.
    """

    def __init__(
        self,
        root: Path,
        layers: Mapping[str, LinearShape],
        max_rank: int,
        tokenizer: str,
        chat_template: str,
    ) -> None:
        self._root = root
        self._layers = layers
        self._max_rank = max_rank
        self._tokenizer = _rules(tokenizer)
        self._chat_template = chat_template.strip()
        # Nothing that fits is larger: two matrices for each layer, four bytes a number.
        self._max_weights_bytes = (1 << 20) + sum(
            4 * max_rank * (shape.in_features + shape.out_features) for shape in layers.values()
        )

    def take(self, path: str, directory: Path) -> int:
        """Copies an adapter into a new directory and checks the copy; gives its rank.

        Raises:
            InvalidArgument: The path is not a directory in the root.
            AdapterInvalid: The files do not fit.
        """
        source = self._locate(path)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for name, most, required in (
            (CONFIG, _MAX_JSON_BYTES, True),
            (WEIGHTS, self._max_weights_bytes, True),
            (_TOKENIZER, _MAX_TOKENIZER_BYTES, False),
            (_CHAT_TEMPLATE, _MAX_JSON_BYTES, False),
        ):
            file = source / name
            if file.is_symlink() or not file.is_file():
                if required or file.is_symlink():
                    raise _invalid(f"{name} is missing, or no plain file")
                continue
            if file.stat().st_size > most:
                raise _invalid(f"{name} is larger than an adapter of this base model can be")
            shutil.copyfile(file, directory / name, follow_symlinks=False)
        return self.check(directory)

    def check(self, directory: Path) -> int:
        """Checks a copied adapter; gives its rank.

        Raises:
            AdapterInvalid: The files do not fit.
        """
        rank = self._check_config(directory / CONFIG)
        self._check_weights(directory / WEIGHTS, rank)
        self._check_tokenizer(directory)
        return rank

    def _locate(self, path: str) -> Path:
        root = self._root.resolve()
        try:
            source = (root / path).resolve(strict=True)
        except (OSError, ValueError):  # absent, or a name with NUL
            source = None
        if not path or source is None or root not in source.parents or not source.is_dir():
            raise InvalidArgument(
                "path must name a directory inside the adapter root, relative to it", field="path"
            )
        return source

    def _check_config(self, file: Path) -> int:
        try:
            config = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError):
            raise _invalid(f"{CONFIG} is not JSON") from None
        if not isinstance(config, dict) or config.get("peft_type") != "LORA":
            raise _invalid(f"{CONFIG} is not that of a LoRA adapter (peft_type)")
        unsupported = [name for name in _UNSUPPORTED if config.get(name)]
        if config.get("bias", "none") != "none":
            unsupported.append("bias")
        if unsupported:
            raise _invalid(f"{CONFIG} uses what cannot be served: {', '.join(unsupported)}")
        rank, alpha = config.get("r"), config.get("lora_alpha")
        if type(rank) is not int or not 1 <= rank <= self._max_rank:
            raise _invalid(f"rank (r) must be in [1, {self._max_rank}]")
        # No float() of it: JSON's integers may be larger than any.
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < 1e6:
            raise _invalid("lora_alpha must be a positive number")
        return rank

    def _check_weights(self, file: Path, rank: int) -> None:
        parts: dict[str, set[str]] = {}
        try:
            with safe_open(file, framework="pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118 - it is no dict
                    match = _TENSOR.fullmatch(key)
                    shape = self._layers.get(match["layer"]) if match else None
                    if match is None or shape is None:
                        raise _invalid(
                            "a tensor is not for a linear layer of the base model", tensor=key[:200]
                        )
                    self._check_tensor(tensors, key, match["part"], shape, rank)
                    parts.setdefault(match["layer"], set()).add(match["part"])
        except (SafetensorError, OSError):
            raise _invalid(f"{WEIGHTS} is damaged") from None
        if not parts or any(found != {"A", "B"} for found in parts.values()):
            raise _invalid(f"{WEIGHTS} must have lora_A and lora_B of each layer that it changes")

    @staticmethod
    def _check_tensor(tensors: Any, key: str, part: str, shape: LinearShape, rank: int) -> None:
        expected = [rank, shape.in_features] if part == "A" else [shape.out_features, rank]
        header = tensors.get_slice(key)
        if header.get_shape() != expected:
            raise _invalid(
                f"a tensor has shape {header.get_shape()}, but the base model and r need "
                f"{expected}",
                tensor=key,
            )
        if header.get_dtype() not in _DTYPES:
            raise _invalid(f"a tensor's type must be one of {sorted(_DTYPES)}", tensor=key)
        if not tensors.get_tensor(key).isfinite().all():
            raise _invalid("a tensor has numbers that are not finite", tensor=key)

    def _check_tokenizer(self, directory: Path) -> None:
        """Another tokenizer or template than the base model's would be ignored in silence."""
        file = directory / _TOKENIZER
        if file.exists():
            try:
                rules = _rules(Tokenizer.from_file(str(file)).to_str())
            except Exception:  # tokenizers raises nothing narrower
                raise _invalid(f"{_TOKENIZER} is damaged") from None
            if rules != self._tokenizer:
                raise _invalid(f"{_TOKENIZER} differs from the base model's")
        file = directory / _CHAT_TEMPLATE
        if file.exists() and (
            file.read_bytes().decode(errors="replace").strip() != self._chat_template
        ):
            raise _invalid(f"{_CHAT_TEMPLATE} differs from the base model's")


def _rules(tokenizer: str) -> dict[str, Any]:
    """What decides the ids of a text: not how long texts are cut or padded."""
    rules: dict[str, Any] = json.loads(tokenizer)
    return {name: rule for name, rule in rules.items() if name not in ("truncation", "padding")}


def _invalid(cause: str, **metadata: object) -> AdapterInvalid:
    return AdapterInvalid(f"the adapter cannot be served: {cause}", field="path", **metadata)
