"""Loads a model's tokenizer and chat templates, quickly where the files allow it.

What transformers' `AutoTokenizer` makes of a model is what the engine uses, so it is the truth
here. Importing it takes seconds, though, and most of what it does is to mend old formats: where
the files need no mending they are read directly, which a test compares with `AutoTokenizer`.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

# Classes that take `tokenizer.json` as it is.
_PLAIN_CLASSES = {"TokenizersBackend", "PreTrainedTokenizerFast"}

_NAMED_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)

# Entries of `tokenizer_config.json` that change neither ids nor templates.
_HARMLESS_KEYS = {
    *_NAMED_TOKENS,
    "backend",
    "chat_template",
    "clean_up_tokenization_spaces",
    "is_local",
    "local_files_only",
    "model_input_names",
    "model_max_length",
    "padding_side",
    "tokenizer_class",
    "truncation_side",
}

# transformers mends the pre-tokenizer of some larger vocabularies.
_LARGEST_PLAIN_VOCABULARY = 100_000


class TokenizerNotLoadable(Exception):
    """A model's tokenizer cannot be loaded; the service does not start."""


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer as transformers would make it."""

    backend: Tokenizer
    """Neither truncates nor pads."""

    special_tokens: dict[str, str]
    """By the name under which chat templates know them, such as `bos_token`."""

    chat_templates: dict[str, str]
    """By name: `default`, and others such as `tool_use`. Empty: the model has none."""


def load(source: str) -> LoadedTokenizer:
    """Loads the tokenizer of a model.

    Args:
        source: A directory, or a hub id.

    Raises:
        TokenizerNotLoadable: There is none, or it has no fast implementation.
    """
    directory = Path(source)
    if (directory / "tokenizer.json").is_file() and (found := _load_plain(directory)):
        return found
    return _load_by_transformers(source)


def _load_plain(directory: Path) -> LoadedTokenizer | None:
    """Reads the files directly; None where transformers would do more than that."""
    config_path = directory / "tokenizer_config.json"
    if not config_path.is_file() or (directory / "additional_chat_templates").exists():
        return None
    config: dict[str, Any] = json.loads(config_path.read_text())
    if config.get("tokenizer_class") not in _PLAIN_CLASSES or not config.keys() <= _HARMLESS_KEYS:
        return None
    named = {name: config[name] for name in _NAMED_TOKENS if config.get(name) is not None}
    template = config.get("chat_template", "")
    if not all(isinstance(value, str) for value in (*named.values(), template)):
        return None

    backend = Tokenizer.from_file(str(directory / "tokenizer.json"))
    special = {token.content for token in backend.get_added_tokens_decoder().values()}
    if backend.get_vocab_size() > _LARGEST_PLAIN_VOCABULARY or not special.issuperset(
        named.values()
    ):
        return None
    template_path = directory / "chat_template.jinja"
    if template_path.is_file():
        template = template_path.read_text()
    return _unlimited(backend, named, {"default": template} if template else {})


def _load_by_transformers(source: str) -> LoadedTokenizer:
    """Asks transformers in a process that ends with the answer, so that its memory goes too."""
    export = subprocess.run(  # noqa: S603 - our own module and the operator's model
        [sys.executable, "-m", "services.tokenizer.transformers_export", source],
        env={**os.environ, "TRANSFORMERS_VERBOSITY": "error"},
        stdout=subprocess.PIPE,
        check=False,
    )
    if export.returncode != 0:
        raise TokenizerNotLoadable(f"transformers cannot load a fast tokenizer from {source}")
    exported = json.loads(export.stdout)
    return _unlimited(
        Tokenizer.from_str(exported["tokenizer"]),
        exported["special_tokens"],
        exported["chat_templates"],
    )


def _unlimited(
    backend: Tokenizer, special_tokens: dict[str, str], chat_templates: dict[str, str]
) -> LoadedTokenizer:
    backend.no_truncation()
    backend.no_padding()
    return LoadedTokenizer(backend, special_tokens, chat_templates)
