"""Every string that people see, in each language: one catalogue per language, `<language>.toml`."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

NAMES: Mapping[str, str] = MappingProxyType({"ko": "한국어", "en": "English"})
"""What each language calls itself."""


class Texts:
    """The strings of one language.

    Args:
        wanted: A language tag such as `ko-KR`, or an `Accept-Language` header.
    """

    def __init__(self, wanted: str) -> None:
        self.language = _best(wanted)
        self._catalogue = catalogue(self.language)

    def __call__(self, key: str, **figures: object) -> str:
        """The text of a key, with its figures filled in."""
        return self._catalogue[key].format_map(figures)

    def __contains__(self, key: str) -> bool:
        return key in self._catalogue

    def variants(self, key: str) -> list[str]:
        """The keys of a text and of those below it, in the catalogue's order."""
        return [one for one in self._catalogue if one == key or one.startswith(f"{key}.")]


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """The texts of a language by `table.key`."""
    path = Path(__file__).with_name(f"{language}.toml")
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return MappingProxyType(
        {f"{name}.{key}": text for name, table in tables.items() for key, text in table.items()}
    )


def _best(wanted: str) -> str:
    """The first language asked for that there is; English where there is none."""
    for choice in wanted.split(","):
        language = choice.split(";")[0].strip().split("-")[0].lower()
        if language in NAMES:
            return language
    return "en"
