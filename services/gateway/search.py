"""Finds conversations by a text in their titles or messages, whatever its case.

The index (migration 0001) holds the pairs of neighbouring characters of each message. It narrows
the search to messages with all pairs of the query; whether they hold the query itself is then
compared. A query of one character has no pair, and is compared with every message.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text

from services.gateway import rows
from services.gateway.branches import running_messages
from services.gateway.conversations import Conversation
from services.runtime import pages
from services.runtime.database import Database
from services.runtime.errors import InvalidArgument

MAX_QUERY_CHARACTERS = 200
SNIPPET_CHARACTERS = 160

_SEARCH = """
WITH query AS MATERIALIZED (
    SELECT '%' || replace(replace(replace(folded, '\\', '\\\\'), '%', '\\%'), '_', '\\_') || '%'
        AS pattern, gateway.pairs(folded) AS pairs
    FROM (SELECT gateway.fold(:query) AS folded) AS f
),
hits AS (
    SELECT DISTINCT ON (m.conversation_id) m.conversation_id, m.id
    FROM gateway.messages AS m
    WHERE m.state <> 'running'
        AND {narrowed}
        AND m.folded LIKE (SELECT pattern FROM query)
    ORDER BY m.conversation_id, m.number DESC
)
SELECT c.*, hits.id AS message_id, m.content
FROM gateway.conversations AS c
LEFT JOIN hits ON hits.conversation_id = c.id
LEFT JOIN gateway.messages AS m ON m.id = hits.id
WHERE (hits.id IS NOT NULL OR gateway.fold(c.title) LIKE (SELECT pattern FROM query))
    AND {after}
ORDER BY c.update_time DESC, c.id DESC
LIMIT :limit
"""
_NARROWED = "gateway.pairs(m.folded) @> (SELECT pairs FROM query)"
_AFTER = "(c.update_time, c.id) < (CAST(:last_time AS timestamptz), CAST(:last_id AS uuid))"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A conversation that holds the text."""

    conversation: Conversation
    message_id: UUID | None
    """The newest message that holds it; None: only the title does."""

    snippet: str


class Search:
    """Search in schema `gateway`.

    Args:
        database: Where conversations are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, query: str, page_size: int, page_token: str
    ) -> tuple[list[SearchResult], str]:
        """A page of results, the most recently changed conversation first, and the next's token.

        Args:
            query: The text.
            page_size: As the caller asked for.
            page_token: Of the page before.

        Raises:
            InvalidArgument: The query is empty or too long.
        """
        if not query.strip() or len(query) > MAX_QUERY_CHARACTERS:
            raise InvalidArgument(
                f"query must have 1 to {MAX_QUERY_CHARACTERS} characters", field="query"
            )
        limit = pages.size(page_size, default=50, most=200)
        scope = f"SearchConversations {query}"
        parameters: dict[str, Any] = {"query": query, "limit": limit + 1}
        after = "TRUE"
        if position := pages.decode(page_token, scope):
            after = _AFTER
            parameters["last_time"], parameters["last_id"] = position
        narrowed = _NARROWED if len(query) > 1 else "TRUE"
        statement = text(_SEARCH.format(narrowed=narrowed, after=after))
        async with self._database.transaction() as connection:
            found = (await connection.execute(statement, parameters)).all()
            running = await running_messages(connection, [row.id for row in found])
        results = [
            SearchResult(
                conversation=rows.conversation_of(row, running.get(row.id, ())),
                message_id=row.message_id,
                snippet=snippet(row.content if row.message_id else row.title, query),
            )
            for row in found[:limit]
        ]
        if len(found) <= limit:
            return results, ""
        last = results[-1].conversation
        return results, pages.encode([last.update_time.isoformat(), str(last.id)], scope)


def snippet(whole: str, query: str) -> str:
    """The query with some of what stands around it, on one line."""
    composed = unicodedata.normalize("NFC", whole)
    wanted = re.escape(unicodedata.normalize("NFC", query))
    found = re.search(wanted, composed, re.IGNORECASE)
    place = found.start() if found else 0
    start = max(0, place - (SNIPPET_CHARACTERS - len(query)) // 2)
    end = start + max(SNIPPET_CHARACTERS, len(query))
    cut = " ".join(composed[start:end].split())
    return ("…" if start else "") + cut + ("…" if end < len(composed) else "")
