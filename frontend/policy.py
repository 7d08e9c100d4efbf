"""Security headers on every response.

The browser runs no script but Streamlit's own and fetches nothing from elsewhere, whatever a model
writes: no image in an answer can carry away what was said. No other site may frame the pages.
"""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@cache
def headers() -> dict[str, str]:
    """The headers, by name."""
    directives = {
        "default-src": "'self'",
        # Components come as blobs.
        "script-src": f"'self' blob: {_hashes_of_inline_scripts()}",
        # Streamlit styles its elements in place.
        "style-src": "'self' 'unsafe-inline'",
        "font-src": "'self' data:",
        "img-src": "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "connect-src": "'self' ws: wss:",
        "worker-src": "'self' blob:",
        "frame-ancestors": "'self'",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{key} {value}" for key, value in directives.items()),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _hashes_of_inline_scripts() -> str:
    """What allows the scripts that Streamlit's page holds, and no others."""
    page = files("streamlit").joinpath("static/index.html").read_text(encoding="utf-8")
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE_SCRIPT.findall(page))
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


class SecurityHeaders:
    """ASGI middleware that adds the headers.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers())
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


MIDDLEWARE = (Middleware(SecurityHeaders),)
