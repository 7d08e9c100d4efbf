"""Checks of schemas, regular expressions and grammars before they reach the engine.

llguidance, which vLLM uses too, compiles lazily and with a limited amount of fuel: what would
explode, such as `((a{1,1000}){1,1000}){1,1000}`, costs milliseconds or is refused.
"""

import asyncio
import json
import re
from functools import cached_property
from typing import Any

import llguidance
import llguidance.hf

from services.generation.sampling import Structure, StructureInvalid, StructureKind

_MAX_NESTING = 64
"""Levels of a JSON schema; vLLM takes no more."""
_PLACE = re.compile(r"(?:at |^)(\d+)\((\d+)\)")
"""How llguidance says where in a grammar it stopped: line and column."""


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
        if fault := await asyncio.to_thread(self._fault, structure):
            name = f"sampling.{structure.kind.value}"
            raise StructureInvalid(f"{name} cannot be used: {fault}", field=name)

    def _fault(self, structure: Structure) -> str:
        """What is wrong; never in llguidance's words, which quote the structure."""
        if structure.kind is StructureKind.JSON_SCHEMA and (fault := _json_fault(structure.source)):
            return fault
        if "\0" in structure.source:
            return "it must not have NUL characters"
        try:
            cause = llguidance.LLMatcher(self._vocabulary, _grammar(structure)).get_error()
        except ValueError as error:
            cause = str(error)
        if not cause:
            return ""
        place = _PLACE.search(cause)
        where = f" at line {place[1]}, column {place[2]}" if place else ""
        return f"it does not compile{where}; simplify it, or leave out what is not supported"

    @cached_property
    def _vocabulary(self) -> llguidance.LLTokenizer:
        return llguidance.hf.from_tokenizer(self._tokenizer, self._vocabulary_size)


def _json_fault(source: str) -> str:
    """What is wrong with a schema as JSON; llguidance does not say where."""
    deep = f"it nests more than {_MAX_NESTING} levels of objects and arrays"
    try:
        level = [json.loads(source)]
    except json.JSONDecodeError as error:
        return f"it is not JSON; see line {error.lineno}, column {error.colno}"
    except RecursionError:
        return deep
    except ValueError:
        return "it has a number that is too long"
    if not isinstance(level[0], dict):
        return "it must be a JSON object"
    for _ in range(_MAX_NESTING):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return deep if level else ""


def _grammar(structure: Structure) -> str:
    match structure.kind:
        case StructureKind.JSON_SCHEMA:
            return str(llguidance.LLMatcher.grammar_from_json_schema(structure.source))
        case StructureKind.REGEX:
            return str(llguidance.grammar_from("regex", structure.source))
        case StructureKind.CHOICES:
            return str(llguidance.grammar_from("choice", json.dumps(list(structure.choices))))
        case _:
            return str(llguidance.grammar_from("grammar", structure.source))
