"""System tests look at the pages as the frontend's own tests do."""

from tests.frontend.conftest import browser_context, chromium, page, pages

__all__ = ["browser_context", "chromium", "page", "pages"]
