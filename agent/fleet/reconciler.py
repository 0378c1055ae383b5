"""Publishes the tickets that are missing: those of a front that died, or of a broker that lost its queues."""

import asyncio
import logging
from typing import Protocol

from ..errors import AgentError

log = logging.getLogger("ml-fleet")

INTERVAL = 2.0  # seconds between two looks
TURN = 10  # seconds that a front is the only one to look, after its last look
BATCH = 1000  # tickets of one look: the next one sees how many of them were taken


class Counts(Protocol):
    """What the reconciler asks of the record."""

    async def elect(self, front: str, seconds: int) -> bool: ...
    async def pending(self) -> dict[str, int]: ...


class Queues(Protocol):
    """What the reconciler asks of the broker."""

    async def declare(self, needs: list[str]) -> None: ...
    async def publish(self, need: str) -> None: ...
    async def ready(self, need: str) -> int | None: ...


class Reconciler:
    """Of the fleet's fronts, one at a time compares what waits with the tickets for it."""

    def __init__(self, front: str, record: Counts, queues: Queues) -> None:
        self._front = front
        self._record = record
        self._queues = queues

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            try:
                await self.look()
            except AgentError as error:
                log.info("tickets cannot be compared: %s", error)
            await asyncio.sleep(INTERVAL)

    async def look(self) -> int:
        """Publishes what is missing, if it is this front's turn; returns how many tickets that were.

        Tickets that hosts hold at this moment are not ready, so a few may be published in vain. A ticket too
        many costs one look of one host, and a ticket too few a job that nobody is told of.
        """
        if not await self._record.elect(self._front, TURN):
            return 0
        published = 0
        for need, pending in (await self._record.pending()).items():
            if pending > 0:
                published += await self._fill(need, pending)
        return published

    async def _fill(self, need: str, pending: int) -> int:
        ready = await self._queues.ready(need)
        if ready is None:
            log.warning("the broker has no queue for %s, which jobs need", need)
            await self._queues.declare([need])
        missing = min(pending - (ready or 0), BATCH)
        for _ in range(missing):
            await self._queues.publish(need)
        return max(0, missing)
