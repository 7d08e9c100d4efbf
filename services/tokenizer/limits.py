"""How much one request may hold."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.runtime.errors import InvalidArgument

MOST_ITEMS = 4096
"""Texts or sequences in one request."""

MOST_SPAN_BYTES = 1 << 20
"""UTF-8 bytes of text whose spans are wanted: each takes some 250 bytes of memory on its way."""

MOST_MESSAGES = 10_000
"""Messages in one request."""


class TextTooLarge(InvalidArgument):
    """The texts of a request have more bytes than the service takes."""

    reason = "TEXT_TOO_LARGE"


class TooManyTokenIds(InvalidArgument):
    """A request has more token ids than the service takes."""

    reason = "TOO_MANY_TOKEN_IDS"


@dataclass(frozen=True)
class Limits:
    """What one request may hold."""

    max_text_bytes: int
    """UTF-8 bytes, all texts together."""

    max_token_ids: int
    """Ids, all sequences together."""

    def check_texts(self, texts: Sequence[str], field: str, most: int = MOST_ITEMS) -> int:
        """The bytes of all texts together.

        Raises:
            InvalidArgument: There are none, or more than `most`.
            TextTooLarge: They have too many bytes.
        """
        _check_count(len(texts), field, most)
        text_bytes = sum(len(text.encode()) for text in texts)
        self.check_bytes(text_bytes, field)
        return text_bytes

    def check_bytes(self, text_bytes: int, field: str) -> None:
        """Refuses too many bytes.

        Raises:
            TextTooLarge: There are.
        """
        _check_bytes(text_bytes, self.max_text_bytes, field)

    def check_span_bytes(self, text_bytes: int, field: str) -> None:
        """Refuses too many bytes of text whose spans are wanted.

        Raises:
            TextTooLarge: There are.
        """
        _check_bytes(text_bytes, min(MOST_SPAN_BYTES, self.max_text_bytes), field)

    def check_sequences(self, lengths: Sequence[int], field: str) -> None:
        """Refuses too many sequences, or too many ids in all of them together.

        Raises:
            InvalidArgument: There are none, or too many.
            TooManyTokenIds: They have too many ids.
        """
        _check_count(len(lengths), field, MOST_ITEMS)
        if (token_ids := sum(lengths)) > self.max_token_ids:
            raise TooManyTokenIds(
                f"{field} has {token_ids} ids, but one request may have at most "
                f"{self.max_token_ids}; send less at once",
                field=field,
                token_ids=token_ids,
                max_token_ids=self.max_token_ids,
            )


def _check_bytes(text_bytes: int, most: int, field: str) -> None:
    if text_bytes > most:
        raise TextTooLarge(
            f"{field} has {text_bytes} bytes of text, but one such request may have at most "
            f"{most}; send less at once",
            field=field,
            text_bytes=text_bytes,
            max_text_bytes=most,
        )


def _check_count(count: int, field: str, most: int) -> None:
    if not 1 <= count <= most:
        raise InvalidArgument(
            f"{field} has {count} items, but must have 1 to {most}",
            field=field,
            count=count,
            max_count=most,
        )
