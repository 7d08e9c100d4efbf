"""Opaque page tokens: where a list goes on, bound to what was listed."""

import base64
import binascii
import hashlib
import json

from services.runtime.errors import InvalidArgument


class PageTokenInvalid(InvalidArgument):
    """The page token was not made by this list with these filters."""

    reason = "PAGE_TOKEN_INVALID"


def encode(position: list[str | int], scope: str) -> str:
    """A token for the page after `position`.

    Args:
        position: Sort keys of the page's last item.
        scope: What is listed: the method and its filters.
    """
    body = json.dumps([_digest(position, scope), *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def decode(token: str, scope: str) -> list[str | int] | None:
    """The position in a token, or None for the first page.

    Raises:
        PageTokenInvalid: The token is damaged, or of another list or other filters.
    """
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        digest, *keys = json.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        digest, keys = None, []
    position: list[str | int] = [key for key in keys if isinstance(key, str | int)]
    if len(position) < len(keys) or digest != _digest(position, scope):
        raise PageTokenInvalid(
            "page_token is not one of this list; leave it empty to begin at the first page",
            field="page_token",
        )
    return position


def size(requested: int, default: int, most: int) -> int:
    """The page size to use: the default for 0.

    Raises:
        InvalidArgument: It is not in [0, most].
    """
    if not 0 <= requested <= most:
        raise InvalidArgument(f"page_size must be in [1, {most}]", field="page_size", most=most)
    return requested or default


def _digest(position: list[str | int], scope: str) -> str:
    return hashlib.sha256(json.dumps([scope, *position]).encode()).hexdigest()[:12]
