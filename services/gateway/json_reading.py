"""Reading JSON that somebody else wrote: every value is looked at with its place in hand."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from services.runtime.errors import InvalidArgument

MAX_VALUES = 8_000_000
"""Values of one document. A small one may hold so many that it fills the memory when parsed."""

MILLISECONDS_FROM = 1e11
"""Times above this, which is the year 5138 in seconds, are taken as milliseconds."""


class ImportInvalid(InvalidArgument):
    """The document cannot be imported; says where and why."""

    reason = "IMPORT_INVALID"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}", field="chunk", path=path)


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the document and its place."""

    path: str
    """Such as `$[0].chat.title`."""

    it: object
    """As `json` gives it; None also for what is not there."""

    def __getitem__(self, name: str) -> "Value":
        """A field of an object; any other value has none."""
        path = f"{self.path}.{name}" if name.isidentifier() else f"{self.path}[{json.dumps(name)}]"
        return Value(path, self.it.get(name) if isinstance(self.it, dict) else None)

    def __contains__(self, name: str) -> bool:
        return isinstance(self.it, dict) and name in self.it

    def items(self) -> Iterator["Value"]:
        """The items of a list.

        Raises:
            ImportInvalid: It is none.
        """
        if not isinstance(self.it, list):
            raise ImportInvalid(self.path, "must be a list")
        for place, item in enumerate(self.it):
            yield Value(f"{self.path}[{place}]", item)

    def names(self) -> Iterator[str]:
        """The names of an object's fields.

        Raises:
            ImportInvalid: It is no object.
        """
        if not isinstance(self.it, dict):
            raise ImportInvalid(self.path, "must be an object")
        yield from self.it

    def text(self, default: str | None = None) -> str:
        """A text.

        Args:
            default: For what is not there; None: it must be there.

        Raises:
            ImportInvalid: It is none, or holds what cannot be kept.
        """
        if self.it is None and default is not None:
            return default
        if not isinstance(self.it, str):
            raise ImportInvalid(self.path, "must be a text")
        if "\0" in self.it:
            raise ImportInvalid(self.path, "must not hold NUL characters")
        try:
            self.it.encode()
        except UnicodeEncodeError:
            raise ImportInvalid(self.path, "holds half a character (a lone surrogate)") from None
        return self.it

    def number(self) -> float:
        """A finite number.

        Raises:
            ImportInvalid: It is none.
        """
        if isinstance(self.it, bool) or not isinstance(self.it, int | float):
            raise ImportInvalid(self.path, "must be a number")
        if not abs(self.it) < 2**53:
            raise ImportInvalid(self.path, "is too large a number")
        return self.it

    def time(self) -> datetime | None:
        """A time in seconds or milliseconds since 1970, or as ISO 8601 with its zone.

        Raises:
            ImportInvalid: It is none.
        """
        if self.it is None:
            return None
        try:
            if isinstance(self.it, str):
                return datetime.fromisoformat(self.it).astimezone(UTC)
            number = self.number()
            seconds = number / 1000 if number > MILLISECONDS_FROM else number
            return datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            raise ImportInvalid(self.path, "is not a time") from None


def parse(document: bytes) -> Value:
    """The whole document.

    Raises:
        ImportInvalid: It is not JSON, or too much of it.
    """
    if sum(map(document.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ImportInvalid("$", f"has more than {MAX_VALUES} values; import it in parts")
    try:
        return Value("$", json.loads(document, parse_constant=_refuse))
    except UnicodeDecodeError as error:
        raise ImportInvalid("$", f"is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ImportInvalid(
            "$", f"is not JSON at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise ImportInvalid("$", "is nested too deeply") from None
    except ValueError:
        raise ImportInvalid("$", "holds a number that is none") from None


def _refuse(_: str) -> object:
    raise ValueError
