"""Checks of schemas, regular expressions and grammars before they reach the engine.

llguidance, which vLLM uses too, compiles lazily and with a limited amount of fuel: what would
explode, such as `((a{1,1000}){1,1000}){1,1000}`, costs milliseconds or is refused.
"""

import asyncio
import json
from functools import cached_property
from typing import Any

import llguidance
import llguidance.hf

from services.generation.sampling import Structure, StructureInvalid, StructureKind

_MAX_CAUSE_CHARACTERS = 200


class StructureChecker:
    """Compiles structures for one model.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        vocabulary_size: The model's.
    """

    def __init__(self, tokenizer: Any, vocabulary_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary_size = vocabulary_size

    async def check(self, structure: Structure) -> None:
        """Compiles a structure in a thread.

        Raises:
            StructureInvalid: It cannot be compiled; says why.
        """
        if structure.kind is StructureKind.JSON_OBJECT:
            return
        try:
            cause = await asyncio.to_thread(self._fault, structure)
        except (ValueError, RecursionError) as error:
            cause = str(error)
        if cause:
            name = f"sampling.{structure.kind.value}"
            brief = cause.strip().splitlines()[0][:_MAX_CAUSE_CHARACTERS]
            raise StructureInvalid(f"{name} cannot be used: {brief}", field=name)

    def _fault(self, structure: Structure) -> str:
        return str(llguidance.LLMatcher(self._vocabulary, _grammar(structure)).get_error() or "")

    @cached_property
    def _vocabulary(self) -> llguidance.LLTokenizer:
        return llguidance.hf.from_tokenizer(self._tokenizer, self._vocabulary_size)


def _grammar(structure: Structure) -> str:
    match structure.kind:
        case StructureKind.JSON_SCHEMA:
            json.loads(structure.source)  # says where it is broken better than llguidance
            return str(llguidance.LLMatcher.grammar_from_json_schema(structure.source))
        case StructureKind.REGEX:
            return str(llguidance.grammar_from("regex", structure.source))
        case StructureKind.CHOICES:
            return str(llguidance.grammar_from("choice", json.dumps(list(structure.choices))))
        case _:
            return str(llguidance.grammar_from("grammar", structure.source))
