"""The queue of one follower of the journal."""

import asyncio
from collections import deque
from dataclasses import dataclass

from .entries import Fields

QUEUE_ENTRIES = 2000  # entries that wait for one follower; a follower with more reads them from the journal
QUEUE_BYTES = 1 << 20  # bytes of those entries' messages
ENTRY_SIZE = 1024  # bytes that an entry takes besides its message


@dataclass
class Waiting:
    """Bytes of memory that the entries in several queues take."""

    size: int = 0


class Subscription:
    """One follower's queue of entries. It is bounded, and fills from its creation or last `renew` on.

    `size` is what its entries take, in bytes; all queues of a `Waiting` add up there.
    """

    def __init__(self, waiting: Waiting | None = None) -> None:
        self._entries: deque[Fields] = deque()
        self._bytes = 0
        self._waiting = waiting or Waiting()
        self._changed = asyncio.Event()
        self.lost = False

    def put(self, entries: list[Fields]) -> None:
        """Queues entries. If they do not fit, these and all later ones are `lost`; the journal has them."""
        if self.lost:
            return
        size = sum(len(entry.get("MESSAGE", b"")) for entry in entries)
        if len(self._entries) + len(entries) > QUEUE_ENTRIES or self._bytes + size > QUEUE_BYTES:
            self.lose()
            return
        self._entries.extend(entries)
        self._bytes += size
        self._waiting.size += size + len(entries) * ENTRY_SIZE
        self._changed.set()

    def lose(self) -> None:
        """Marks that entries are missing from here on. Those before are still handed out."""
        self.lost = True
        self._changed.set()

    @property
    def size(self) -> int:
        """See the class."""
        return self._bytes + len(self._entries) * ENTRY_SIZE

    def drop(self) -> None:
        """Empties the queue, and marks that entries are missing."""
        self._take()
        self.lose()

    def renew(self) -> None:
        """Empties the queue and starts again. The follower must read the journal for what came before."""
        self._take()
        self.lost = False
        self._changed.clear()

    def wake(self) -> None:
        """Makes `get` return although nothing came."""
        self._changed.set()

    async def get(self, patience: float | None = None) -> list[Fields] | None:
        """What came since the last call. Waits for entries or `wake`; returns None after `patience` seconds.

        Empty, with `lost` set, if entries are missing from here on.
        """
        if not self._entries and not self.lost:
            try:
                async with asyncio.timeout(patience):
                    await self._changed.wait()
            except TimeoutError:
                return None
        self._changed.clear()
        return self._take()

    def _take(self) -> list[Fields]:
        self._waiting.size -= self.size
        entries = list(self._entries)
        self._entries.clear()
        self._bytes = 0
        return entries
