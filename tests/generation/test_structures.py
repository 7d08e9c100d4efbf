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
        (StructureKind.JSON_SCHEMA, json.dumps({"enum": [f"v{n}" for n in range(5000)]})),
        (StructureKind.REGEX, "((a{1,1000}){1,1000}){1,1000}"),
        (StructureKind.REGEX, "(a|b)*a(a|b){40}"),
        (StructureKind.GRAMMAR, 'root ::= "yes" | "no"'),
        (StructureKind.GRAMMAR, 'start: "yes" | "no"'),
    ],
)
@pytest.mark.timeout(10)
async def test_what_would_explode_elsewhere_is_compiled_in_time(checker, kind, source):
    await checker.check(Structure(kind, source))


async def test_choices_may_hold_any_characters(checker):
    await checker.check(Structure(StructureKind.CHOICES, choices=['"\\', "안녕", "🎉", "a|b"]))
