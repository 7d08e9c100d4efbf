import asyncio
import json

import pytest
from transformers import AutoTokenizer

from services.generation.sampling import Structure, StructureInvalid, StructureKind
from services.generation.structures import StructureChecker
from tests.generation.process import MODEL_DIRECTORY


@pytest.fixture(scope="module")
def checker():
    return StructureChecker(AutoTokenizer.from_pretrained(MODEL_DIRECTORY), 49152)


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (StructureKind.JSON_SCHEMA, '{"type": "object"'),
        (StructureKind.JSON_SCHEMA, '{"type": "nonsense"}'),
        (StructureKind.JSON_SCHEMA, '{"$ref": "http://127.0.0.1/schema.json"}'),
        (StructureKind.JSON_SCHEMA, '{"a":' * 5000 + "1" + "}" * 5000),
        (StructureKind.JSON_SCHEMA, '{"not":' * 64 + "{}" + "}" * 64),
        (StructureKind.JSON_SCHEMA, "9" * 5000),
        (StructureKind.JSON_SCHEMA, "true"),
        (StructureKind.REGEX, "a\0b"),
        (StructureKind.GRAMMAR, 'root ::= "a\0b"'),
        (StructureKind.REGEX, "([a-z"),
        (StructureKind.REGEX, "(?=look)ahead"),
        (StructureKind.REGEX, "(?s:.*)" * 3000),
        (StructureKind.GRAMMAR, "root ::= missing"),
        (StructureKind.GRAMMAR, "start: missing"),
    ],
)
async def test_what_cannot_be_compiled_is_refused_with_its_field_and_cause(checker, kind, source):
    with pytest.raises(StructureInvalid) as caught:
        await checker.check(Structure(kind, source))
    assert caught.value.field == f"sampling.{kind.value}"
    assert 30 < len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (StructureKind.JSON_SCHEMA, '{"type": "secret"}'),
        (StructureKind.JSON_SCHEMA, '{"secret": secret}'),
        (StructureKind.REGEX, "(secret"),
        (StructureKind.GRAMMAR, "root ::= secret"),
        (StructureKind.GRAMMAR, "start: secret"),
    ],
)
async def test_a_refusal_does_not_quote_what_was_sent(checker, kind, source):
    with pytest.raises(StructureInvalid) as caught:
        await checker.check(Structure(kind, source))
    assert "secret" not in caught.value.message


async def test_a_schema_may_nest_64_levels(checker):
    source = '{"items":' * 63 + "{}" + "}" * 63
    await checker.check(Structure(StructureKind.JSON_SCHEMA, source))


async def test_a_refusal_says_where_json_is_broken(checker):
    with pytest.raises(StructureInvalid, match="line 2, column 10"):
        await checker.check(Structure(StructureKind.JSON_SCHEMA, '{\n "type": oops}'))


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (StructureKind.JSON_SCHEMA, json.dumps({"enum": [f"v{n}" for n in range(5000)]})),
        (StructureKind.REGEX, "((a{1,1000}){1,1000}){1,1000}"),
        (StructureKind.REGEX, "(a|b)*a(a|b){40}"),
        (StructureKind.GRAMMAR, 'root ::= "yes" | "no"'),
        (StructureKind.GRAMMAR, 'start: "yes" | "no"'),
    ],
)
async def test_what_would_explode_elsewhere_is_compiled(checker, kind, source):
    async with asyncio.timeout(60):  # elsewhere it would not end
        await checker.check(Structure(kind, source))


async def test_choices_may_hold_any_characters(checker):
    await checker.check(Structure(StructureKind.CHOICES, choices=['"\\', "안녕", "🎉", "a|b"]))
