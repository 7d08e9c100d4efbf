"""frontend/texts, and that every string of the pages is in it."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

from frontend.texts import NAMES, Texts, catalogue
from frontend.views.rating import REASONS
from services.runtime import errors as service_errors

REPOSITORY = Path(__file__).parents[2]
VIEWS = sorted((REPOSITORY / "frontend" / "views").glob("*.py"))
PAGES = [*VIEWS, REPOSITORY / "frontend" / "app.py", REPOSITORY / "frontend" / "errors.py"]

NOT_FROM_A_PAGE = {
    # Calls that no page makes: token ids, adapters, batches, templates.
    "ADAPTERS_DISABLED",
    "ADAPTERS_FULL",
    "ADAPTER_INVALID",
    "TEMPLATE_OPTION_RESERVED",
    "TOKEN_ID_OUT_OF_RANGE",
    "TOO_MANY_TOKEN_IDS",
}


@pytest.fixture(params=NAMES)
def texts(request) -> Texts:
    return Texts(request.param)


def figures(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_language_has_the_same_keys():
    assert set(catalogue("ko")) == set(catalogue("en"))


def test_every_language_names_the_same_figures():
    for key, text in catalogue("en").items():
        assert figures(catalogue("ko")[key]) == figures(text), key


def test_korean_texts_are_korean():
    hangul = re.compile("[가-힣]")
    same = {"pager.position", "settings.top_p", "settings.top_k", "settings.min_p"}
    same |= {f"field.sampling.{name}" for name in ("top_p", "top_k", "min_p")}
    assert [key for key, text in catalogue("ko").items() if not hangul.search(text)] == sorted(
        same & set(catalogue("ko")), key=list(catalogue("ko")).index
    )


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ("ko-KR", "ko"),
        ("ko", "ko"),
        ("en-GB", "en"),
        ("fr-FR", "en"),
        ("", "en"),
        ("fr;q=1, ko;q=0.8, en;q=0.5", "ko"),
    ],
)
def test_the_first_language_there_is_of_those_wanted_is_taken(wanted, language):
    assert Texts(wanted).language == language


def test_every_key_that_a_page_names_is_there_and_every_text_is_used(texts):
    named: set[str] = set()
    patterns: list[str] = []
    for path in PAGES:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        formatted = [node for node in nodes if isinstance(node, ast.JoinedStr)]
        pieces = {id(part) for node in formatted for part in node.values}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= {node.value} if id(node) not in pieces else set()
        patterns += [
            "".join(
                re.escape(part.value) if isinstance(part, ast.Constant) else r"[\w.]+"
                for part in node.values
            )
            for node in formatted
        ]
    tables = {key.partition(".")[0] for key in catalogue("en")}
    keys = {name for name in named if re.fullmatch(r"[a-z]+\.[a-z_]+", name)}
    assert {key for key in keys if key.partition(".")[0] in tables} <= set(catalogue("en"))
    unused = [
        key
        for key in catalogue("en")
        if key not in named
        and not any(re.fullmatch(pattern, key) for pattern in patterns)
        and not key.startswith(("error.", "field."))
    ]
    assert unused == []


def test_every_reason_of_a_rating_has_a_name(texts):
    for reason in [reason for reasons in REASONS.values() for reason in reasons]:
        assert f"reason.{reason}" in texts


def test_every_reason_that_a_service_gives_has_a_sentence():
    pattern = re.compile(r'^    reason(?:: [^=]+)? = "([A-Z_0-9]+)"', re.MULTILINE)
    reasons = {
        reason
        for path in (REPOSITORY / "services").rglob("*.py")
        for reason in pattern.findall(path.read_text(encoding="utf-8"))
    }
    assert service_errors.ServiceError.reason in reasons
    texts = Texts("en")
    missing = {reason for reason in reasons if not texts.variants(f"error.{reason}")}
    assert missing <= NOT_FROM_A_PAGE


@pytest.mark.parametrize("path", VIEWS, ids=lambda path: path.name)
def test_no_view_has_a_string_for_people_of_its_own(path):
    """What is passed to Streamlit to be read comes from the catalogue."""
    read = {"label", "help", "placeholder", "text", "body", "title", "page_title"}
    literal = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "st"):
            continue
        if node.func.attr == "html":  # markup, whose texts are checked by being keys
            continue
        shown = [*node.args[:1], *(word.value for word in node.keywords if word.arg in read)]
        literal += [
            ast.unparse(part)
            for part in shown
            if isinstance(part, ast.Constant)
            and isinstance(part.value, str)
            and any(sign.isalpha() for sign in part.value)
        ]
    assert literal == []
