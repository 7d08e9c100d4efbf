"""Writes what transformers makes of a model's tokenizer to standard output, as JSON.

    python -m services.tokenizer.transformers_export DIRECTORY_OR_HUB_ID

The only importer of transformers, in a process of its own: see `loading.py`.
"""

import json
import sys
from typing import Any


def export(source: str) -> dict[str, Any]:
    """The tokenizer's serialisation, its named special tokens and its chat templates.

    Raises:
        TypeError: transformers has only a slow implementation of it, in Python.
    """
    # Tokenizers need no torch; hiding it takes the import from ten seconds to two.
    sys.modules["torch"] = None  # type: ignore[assignment]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise TypeError(f"{type(tokenizer).__name__} is not built on the tokenizers library")
    template = tokenizer.chat_template
    return {
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "special_tokens": tokenizer.special_tokens_map,
        "chat_templates": template
        if isinstance(template, dict)
        else {"default": template}
        if template
        else {},
    }


if __name__ == "__main__":
    json.dump(export(sys.argv[1]), sys.stdout)
