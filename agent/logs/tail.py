"""The newest entries of the account's journal, read once for all followers, each of whom has a queue.

journald announces new entries up to 250 ms late. So one thread looks every few milliseconds while there are
followers. It reads with sd-journal(3), hands each entry to the followers of its unit, and waits for none of
them.
"""

import asyncio
import contextlib
import itertools
import os
import select
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass

from ..errors import AgentError, host_failed
from ..log import log
from .entries import JOURNALDS_OWN, Fields, all_there, fields_of, files, sequence_number
from .sdjournal import JournalError, NewEntries

QUEUE_ENTRIES = 2000  # entries that wait for one follower; a follower with more reads them from the journal
QUEUE_BYTES = 1 << 20  # bytes of those entries' messages
ENTRY_SIZE = 1024  # bytes that an entry takes besides its message

LOOK_INTERVAL = 0.003  # seconds between two looks at the journal; 1 % of a CPU
BATCH_ENTRIES = 500  # entries that are handed over together
WRITING_LOOKS = 20  # how often an entry without a message is tried
WRITING_PAUSE = 0.002  # seconds between two tries
JOURNALDS_MESSAGES = tuple(b"MESSAGE_ID=" + each for each in JOURNALDS_OWN)
MAX_WAITING = 32 << 20  # bytes that the entries in all queues take; then the largest queue is emptied
REOPEN_DELAY = 1.0  # seconds before a journal that could not be read is opened again


@dataclass
class Waiting:
    """Bytes of memory that the entries in several queues take."""

    size: int = 0


class Subscription:
    """One follower's queue of entries. It is bounded, and fills from its creation or last `renew` on.

    `size` is what its entries take, in bytes; all queues of a `Waiting` add up there. `looks` counts how
    often all that journald had written was in the queues.
    """

    def __init__(self, waiting: Waiting | None = None, looks: Callable[[], int] | None = None) -> None:
        self.looks = looks or itertools.count().__next__
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


OpenReader = Callable[..., NewEntries]


class Tail:
    """Hands new entries to subscribers. `open_reader` opens a reader of new entries with all given fields."""

    def __init__(self, open_reader: OpenReader = NewEntries) -> None:
        self._open_reader = open_reader
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._waiting = Waiting()
        self._reading: _Reading | None = None

    @property
    def units(self) -> Collection[str]:
        """The units that are followed."""
        return self._subscriptions.keys()

    @contextlib.asynccontextmanager
    async def subscribe(self, unit: str) -> AsyncIterator[Subscription]:
        """A queue that gets every entry about the unit that journald writes from now on.

        Raises `AgentError` (host) if the journal cannot be read.
        """
        subscription = Subscription(self._waiting, lambda: self._reading.looks if self._reading else 0)
        self._subscriptions.setdefault(unit, set()).add(subscription)
        if self._reading is None:
            self._reading = _Reading(self._open_reader, self._subscriptions, self._waiting)
            self._reading.start()
        reading = self._reading
        try:
            await asyncio.shield(reading.ready)
            yield subscription
        finally:
            followers = self._subscriptions[unit]
            followers.discard(subscription)
            subscription.drop()
            if not followers:
                del self._subscriptions[unit]
            # The next follower after a failure starts a reading of its own.
            if self._reading is reading and (reading.failed or not self._subscriptions):
                reading.stop()
                self._reading = None


@dataclass(frozen=True)
class _Found:
    """An entry, its unit, and journald's number of it, which orders the entries of all files.

    The unit is empty if the entry concerns every unit.
    """

    sequence: int
    unit: str
    entry: Fields


class _Reading(threading.Thread):
    """The thread that reads. It starts with the first follower and stops after the last."""

    def __init__(
        self, open_reader: OpenReader, subscriptions: dict[str, set[Subscription]], waiting: Waiting
    ) -> None:
        super().__init__(name="journal", daemon=True)
        self._open_reader = open_reader
        self._subscriptions = subscriptions  # the event loop changes it; the thread looks up single keys
        self._waiting = waiting
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._delivered = threading.Event()
        self._held: list[_Found] = []
        # The journal's files as of the last change, until the older ones have been read to their end.
        self._files: dict[str, int] = {}
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.failed = False
        self.looks = 0  # that found the journal read to its end

    def stop(self) -> None:
        """Ends the thread at its next look."""
        self._stopped.set()
        self._delivered.set()

    def run(self) -> None:
        """Reads until it is stopped. A failure loses entries, and the journal is opened again."""
        while not self._stopped.is_set():
            try:
                # journald's messages about itself are in another file. One reader of both would skip an entry
                # of one file after it has read a later one of the other.
                with (
                    contextlib.closing(self._open_reader(b"_UID=%d" % os.getuid())) as own,
                    contextlib.closing(self._open_reader(b"_UID=0", *JOURNALDS_MESSAGES)) as dropped,
                ):
                    self._call(self._begin)
                    self._read(own, dropped)
            except Exception as error:
                # No error may leave followers waiting for ever, not even an unexpected one.
                expected = isinstance(error, JournalError | AgentError)
                log.warning("the journal is opened again: %s", error, exc_info=None if expected else error)
                self._call(self._fail, str(error))
                self._stopped.wait(REOPEN_DELAY)

    def _read(self, own: NewEntries, dropped: NewEntries) -> None:
        changed: set[int] = set()
        while not self._stopped.is_set():
            if self._look(own, dropped):
                continue
            self.looks += 1
            # Only after everything was read, because `process` closes deleted files. Such a file may have got
            # entries meanwhile. Each follower finds out from the journal whether it misses any.
            if changed:
                self._files = files()
            for reader in (own, dropped):
                if reader.fd in changed and not reader.process():
                    self._call(self._lose)
            changed = set(select.select([own.fd, dropped.fd], [], [], LOOK_INTERVAL)[0])

    def _look(self, own: NewEntries, dropped: NewEntries) -> bool:
        """Hands over what is new. Returns whether there may be more right away."""
        found: list[_Found] = []
        drained = False
        for _ in range(BATCH_ENTRIES):
            if not own.next():
                drained = True
                break
            if (unit := self._unit(own)) is not None:
                found.append(_found(own, unit))
        found = self._with_dropped(found, dropped, drained=drained)
        if self._files and not all_there(self._files):
            # The reader may have left a deleted file before its end and gone on to a new one.
            self._files = {}
            self._call(self._lose)
            return not drained
        if drained:
            self._files = {}
        if found:
            self._delivered.clear()
            self._call(self._deliver, found)
            # A busy event loop is not flooded.
            self._delivered.wait()
        return not drained

    def _unit(self, own: NewEntries) -> str | None:
        """The followed unit that an entry is about: its output, or a message of the user manager."""
        identifier = (own.field(b"SYSLOG_IDENTIFIER") or b"").decode("ascii", "replace")
        unit = f"{identifier}.service"
        if unit in self._subscriptions:
            return unit
        unit = (own.field(b"USER_UNIT") or b"").decode("ascii", "replace")
        return unit if unit in self._subscriptions else None

    def _with_dropped(self, found: list[_Found], dropped: NewEntries, *, drained: bool) -> list[_Found]:
        """Inserts journald's own messages in order.

        A message that is newer than all entries found waits for the next look, which finds what came before.
        """
        due: list[_Found] = []
        if drained:
            due, self._held = self._held, []
        while dropped.next():
            unit = (dropped.field(b"OBJECT_SYSTEMD_USER_UNIT") or b"").decode("ascii", "replace")
            if not unit or unit in self._subscriptions:
                self._held.append(_found(dropped, unit))
        if found and self._held:
            due += [each for each in self._held if each.sequence < found[-1].sequence]
            self._held = [each for each in self._held if each.sequence >= found[-1].sequence]
        return sorted([*found, *due], key=lambda each: each.sequence) if due else found

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the event loop is closed, because the agent stops
            self.stop()

    # The following run in the event loop.

    def _begin(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        else:
            self._lose()

    def _lose(self) -> None:
        for followers in self._subscriptions.values():
            for each in followers:
                each.lose()

    def _fail(self, why: str) -> None:
        if not self.ready.done():
            self.failed = True
            self.ready.set_exception(
                host_failed(f"The journal cannot be read: {why}.", "See `ml-agent doctor`.")
            )
            self.stop()

    def _deliver(self, found: list[_Found]) -> None:
        by_unit: dict[str, list[Fields]] = {}
        for each in found:
            for unit in [each.unit] if each.unit else self._subscriptions:
                by_unit.setdefault(unit, []).append(each.entry)
        for unit, entries in by_unit.items():
            for follower in self._subscriptions.get(unit, ()):
                follower.put(entries)
        while self._waiting.size > MAX_WAITING:
            everyone = (each for followers in self._subscriptions.values() for each in followers)
            max(everyone, key=lambda each: each.size).drop()
        self._delivered.set()


def _found(reader: NewEntries, unit: str) -> _Found:
    for _ in range(WRITING_LOOKS):
        # journald may be just writing the entry, and its new fields cannot be read yet.
        if reader.field(b"MESSAGE") is not None:
            break
        time.sleep(WRITING_PAUSE)
    entry = fields_of(reader)
    return _Found(sequence_number(entry["__CURSOR"]), unit, entry)
