"""Keeps what has come of running turns every second, so that a crash loses no more than that."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from uuid import UUID

from services.gateway.turn_store import TurnStore
from services.gateway.turns import Turn
from services.runtime.database import DatabaseUnavailable

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 1.0


async def checkpoint(turn_store: TurnStore, running: Callable[[], Iterable[Turn]]) -> None:
    """Saves the texts that grew, in one transaction a second, until it is cancelled.

    Args:
        turn_store: Keeps them.
        running: The turns that run in this process.
    """
    saved: dict[UUID, int] = {}
    while True:
        await asyncio.sleep(CHECKPOINT_SECONDS)
        lengths = {turn.message_id: (turn, turn.length) for turn in running()}
        grown = {
            message_id: turn.text
            for message_id, (turn, length) in lengths.items()
            if length > saved.get(message_id, 0)
        }
        if grown:
            try:
                await turn_store.checkpoint(grown)
            except DatabaseUnavailable:
                continue  # `Ownership` says so
        saved = {message_id: length for message_id, (_, length) in lengths.items()}
