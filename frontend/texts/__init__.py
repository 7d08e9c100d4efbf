"""Every string that people see, in each language."""

from collections.abc import Mapping
from types import MappingProxyType

from frontend.texts import en, ko

CATALOGUES: Mapping[str, Mapping[str, str]] = MappingProxyType({"ko": ko.TEXTS, "en": en.TEXTS})
"""By language; all with the same keys."""

NAMES: Mapping[str, str] = MappingProxyType({"ko": "한국어", "en": "English"})
"""What each language calls itself."""


class Texts:
    """The strings of one language.

    Args:
        wanted: A language tag such as `ko-KR`, or an `Accept-Language` header.
    """

    def __init__(self, wanted: str) -> None:
        self.language = _best(wanted)
        self._catalogue = CATALOGUES[self.language]

    def __call__(self, key: str, **figures: object) -> str:
        """The text of a key, with its figures filled in."""
        return self._catalogue[key].format_map(figures)

    def __contains__(self, key: str) -> bool:
        return key in self._catalogue


def _best(wanted: str) -> str:
    """The first language asked for that there is; English where there is none."""
    for choice in wanted.split(","):
        language = choice.split(";")[0].strip().split("-")[0].lower()
        if language in CATALOGUES:
            return language
    return "en"
