"""The newest entries of the account's journal, read once for all who follow a unit.

journald announces what it writes late (up to 250 ms), so one thread looks every few milliseconds, for as long
as anybody follows. It reads by sd-journal(3), hands each entry to those who follow its unit, and never waits
for one of them.
"""

import asyncio
import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ..errors import AgentError, Problem
from .entries import JOURNALDS_OWN, EntryReader, Fields, fields_of, sequence_number
from .journal_files import all_there, files
from .sdjournal import JournalError, NewEntries

log = logging.getLogger("ml-agent")

LOOK_INTERVAL = 0.003  # seconds between two looks at the journal; 1 % of a CPU
QUEUE_ENTRIES = 2000  # entries that wait for one follower; one that has more reads them from the journal
QUEUE_BYTES = 1 << 20  # bytes of those entries' messages
BATCH_ENTRIES = 500  # entries that are handed over at once
WRITING_LOOKS = 20  # at an entry without a message
WRITING_PAUSE = 0.002  # seconds between two of them
REOPEN_DELAY = 1.0  # seconds before a journal that could not be read is opened again


class Reader(EntryReader, Protocol):
    """What is needed of `NewEntries`."""

    fd: int

    def process(self) -> bool: ...


OpenReader = Callable[..., Reader]


class Subscription:
    """One follower's queue: bounded, and filled from the moment that it was made or `renew`ed."""

    def __init__(self) -> None:
        self._entries: deque[Fields] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self.lost = False

    def put(self, entries: list[Fields]) -> None:
        """Takes entries, or none of them and what follows: then they are `lost`, and still in the journal."""
        if self.lost:
            return
        size = sum(len(entry.get("MESSAGE", b"")) for entry in entries)
        if len(self._entries) + len(entries) > QUEUE_ENTRIES or self._bytes + size > QUEUE_BYTES:
            self.lose()
            return
        self._entries.extend(entries)
        self._bytes += size
        self._changed.set()

    def lose(self) -> None:
        """From here on, entries are missing. Those before are still handed out."""
        self.lost = True
        self._changed.set()

    def renew(self) -> None:
        """Forgets what is queued and begins anew; what was written until now is to be read elsewhere."""
        self._entries.clear()
        self._bytes = 0
        self.lost = False
        self._changed.clear()

    def wake(self) -> None:
        """Lets `get` return although nothing has come."""
        self._changed.set()

    async def get(self, patience: float | None = None) -> list[Fields] | None:
        """What has come since the last call; waits for it, or for `wake`; None after `patience` seconds.

        Empty, and `lost` set, where entries are missing from here on.
        """
        if not self._entries and not self.lost:
            try:
                async with asyncio.timeout(patience):
                    await self._changed.wait()
            except TimeoutError:
                return None
        self._changed.clear()
        entries = list(self._entries)
        self._entries.clear()
        self._bytes = 0
        return entries


class Tail:
    """Hands new entries to subscribers. `open_reader` makes a reader of the entries with the given field."""

    def __init__(self, open_reader: OpenReader = NewEntries) -> None:
        self._open_reader = open_reader
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._reading: _Reading | None = None

    @contextlib.asynccontextmanager
    async def subscribe(self, unit: str) -> AsyncIterator[Subscription]:
        """Yields when whatever is written about the unit from then on will come.

        Raises `AgentError` (host) where the journal cannot be read.
        """
        subscription = Subscription()
        self._subscriptions.setdefault(unit, set()).add(subscription)
        if self._reading is None:
            self._reading = _Reading(self._open_reader, self._subscriptions)
            self._reading.start()
        reading = self._reading
        try:
            await asyncio.shield(reading.begun)
            yield subscription
        finally:
            followers = self._subscriptions[unit]
            followers.discard(subscription)
            if not followers:
                del self._subscriptions[unit]
            # After a reading that failed, the next follower makes one of its own.
            if self._reading is reading and (reading.failed or not self._subscriptions):
                reading.stop()
                self._reading = None


@dataclass(frozen=True)
class _Found:
    """An entry, whose it is, and journald's number of it, by which entries of all files are in order.

    Without a unit it is everybody's.
    """

    sequence: int
    unit: str
    entry: Fields


class _Reading(threading.Thread):
    """The thread that reads, from the first follower to the last."""

    def __init__(self, open_reader: OpenReader, subscriptions: dict[str, set[Subscription]]) -> None:
        super().__init__(name="journal", daemon=True)
        self._open_reader = open_reader
        self._subscriptions = subscriptions  # changed by the event loop; the thread asks for single keys
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._taken = threading.Event()
        self._held: list[_Found] = []
        self._files: dict[
            str, int
        ] = {}  # when it last took up new ones, until the others are read to their end
        self.begun: asyncio.Future[None] = self._loop.create_future()
        self.failed = False

    def stop(self) -> None:
        """Ends the thread within a look."""
        self._stopped.set()
        self._taken.set()

    def run(self) -> None:
        """Reads until it is stopped. A journal that fails is opened again; what came meanwhile is lost."""
        while not self._stopped.is_set():
            try:
                with self._readers() as (own, dropped):
                    self._call(self._begin)
                    self._read(own, dropped)
            except Exception as error:
                # What nobody foresaw must not leave followers waiting for ever.
                foreseen = isinstance(error, JournalError | AgentError)
                log.warning("the journal is opened again: %s", error, exc_info=None if foreseen else error)
                self._call(self._fail, str(error))
                self._stopped.wait(REOPEN_DELAY)

    @contextlib.contextmanager
    def _readers(self) -> Iterator[tuple[Reader, Reader]]:
        """The account's own entries, and journald's word on what it lost, which is in another file.

        One reader of both would pass over an entry of one file where it has read a later one of the other.
        """
        with contextlib.ExitStack() as stack:
            own = self._open_reader(b"_UID=%d" % os.getuid())
            stack.callback(own.close)
            dropped = self._open_reader(b"_UID=0", *(b"MESSAGE_ID=" + each for each in JOURNALDS_OWN))
            stack.callback(dropped.close)
            yield own, dropped

    def _read(self, own: Reader, dropped: Reader) -> None:
        changed: set[int] = set()
        while not self._stopped.is_set():
            if self._look(own, dropped):
                continue
            # Not before all was read: it lets go of files that were deleted. What was written to one of them
            # since is gone: each follower learns from the journal whether that is so where it stands.
            if changed:
                self._files = files()
            for reader in (own, dropped):
                if reader.fd in changed and not reader.process():
                    self._call(self._lose)
            changed = set(select.select([own.fd, dropped.fd], [], [], LOOK_INTERVAL)[0])

    def _look(self, own: Reader, dropped: Reader) -> bool:
        """Hands over what is new; whether there may be more at once."""
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
            # The reader may have gone from a file that was deleted before its end straight to a new one.
            self._files = {}
            self._call(self._lose)
            return not drained
        if drained:
            self._files = {}
        if found:
            self._taken.clear()
            self._call(self._deliver, found)
            # An event loop that is busy is not flooded.
            self._taken.wait()
        return not drained

    def _unit(self, own: Reader) -> str | None:
        """The followed unit that the entry is about, as its output or as the user manager's message."""
        identifier = (own.field(b"SYSLOG_IDENTIFIER") or b"").decode("ascii", "replace")
        unit = f"{identifier}.service"
        if unit in self._subscriptions:
            return unit
        unit = (own.field(b"USER_UNIT") or b"").decode("ascii", "replace")
        return unit if unit in self._subscriptions else None

    def _with_dropped(self, found: list[_Found], dropped: Reader, *, drained: bool) -> list[_Found]:
        """Puts in what journald dropped, before the first entry that came after it.

        One that is newer than all that was found waits for the next look, which sees what came before it.
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
        except RuntimeError:  # the event loop is closed: the agent ends
            self.stop()

    # In the event loop

    def _begin(self) -> None:
        if not self.begun.done():
            self.begun.set_result(None)
        else:
            self._lose()

    def _lose(self) -> None:
        for followers in self._subscriptions.values():
            for each in followers:
                each.lose()

    def _fail(self, why: str) -> None:
        if not self.begun.done():
            self.failed = True
            self.begun.set_exception(
                AgentError(Problem.HOST, f"The journal cannot be read: {why}.", "See `ml-agent doctor`.")
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
        self._taken.set()


def _found(reader: Reader, unit: str) -> _Found:
    for _ in range(WRITING_LOOKS):
        # journald may be just writing it: then what is new in it cannot be read yet.
        if reader.field(b"MESSAGE") is not None:
            break
        time.sleep(WRITING_PAUSE)
    entry = fields_of(reader)
    return _Found(sequence_number(entry["__CURSOR"]), unit, entry)
