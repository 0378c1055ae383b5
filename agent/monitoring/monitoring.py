"""Answers scrapes of a monitoring system."""

import asyncio
import time

from ..config import Settings
from ..model.monitoring import Live
from ..store.store import Store


class Monitoring:
    """Reads everything anew at each scrape."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    async def exposition(self, accept: str, live: Live | None = None) -> tuple[bytes, str]:
        """All metrics in the format that an Accept header asks for, and its Content-Type.

        `live` is None where no agent runs: then the numbers are missing that only a running one knows.
        """
        # Most agents are never scraped: the library is loaded for the first scrape.
        from . import families

        begun = time.perf_counter()
        tallies = await self._store.tallies.read()
        taken = time.perf_counter() - begun
        return await asyncio.to_thread(families.exposition, accept, self._settings, tallies, taken, live)
