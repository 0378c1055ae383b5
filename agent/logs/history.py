"""What the journal has of a unit: from entries to numbered lines, with gaps where entries are missing."""

import contextlib
import itertools
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator

from ..errors import AgentError
from ..model.comparison import NOT_KNOWN, Consumption
from ..model.log import GapCause, LogSource
from .entries import JOURNALD_STARTED, JOURNALD_STOPPED, Fields, all_there, fields_of, files
from .journalctl import TORN, ExportParser, of_cut_output, of_lines, of_unit
from .lines import BEGINNINGS, CLOSINGS, Batches, Item, LineNumbering, Position, source_of, time_of
from .sdjournal import Entries, JournalError, NewestFirst

CONSUMED = b"ae8f7b866b0347b9af31fe1c80b127c0"  # SD_MESSAGE_UNIT_RESOURCES: what a unit used
SHORT_ENTRIES = 500  # of a log that is read in one go
SHORT_BYTES = 1 << 20  # of their messages


class TornError(Exception):
    """An entry cannot be read: it is damaged, or journald is just writing it."""

    def __init__(self, entry: Fields) -> None:
        super().__init__()
        self.entry = entry


async def batches_of(chunks: AsyncIterator[bytes], numbering: LineNumbering, last: str = "") -> Batches:
    """The lines in journalctl's output, which begins with the entry of the numbering's position.

    Ends with the entry of the cursor `last`. Raises `TornError` behind the last entry that can be read.
    """
    position, end, first = numbering.position, last.encode(), True
    async for entries in _parsed(chunks):
        lost: list[Item] = []
        if first and not position.cursor:
            entries = from_beginning(entries)
        if first and entries:
            first = False
            if not position.cursor:
                lost = forgotten_beginning(entries, numbering)
            elif entries[0].get("__CURSOR") == position.cursor.encode():
                entries.pop(0)
            else:
                # --cursor= seeks to the nearest entry. If that is another one, what was between is gone.
                lost = numbering.missing(time_of(entries[0]), GapCause.REMOVED)
        torn = next((index for index, entry in enumerate(entries) if TORN in entry), None)
        whole = entries[:torn]
        ends = [index for index, entry in enumerate(whole) if entry["__CURSOR"] == end] if end else []
        yield lost + numbering.number(whole[: ends[0] + 1] if ends else whole)
        if ends:
            return
        if torn is not None:
            raise TornError(entries[torn])
    if first and position.cursor:
        yield numbering.missing(time.time_ns() // 1_000_000, GapCause.REMOVED)


def short_log(unit: str, after: str) -> list[Fields] | None:
    """All entries of a unit behind a cursor; None if they are many, or if only journalctl can read them.

    The cursor is empty for the beginning. Blocks.
    """
    before = files()
    groups = [[each.encode() for each in group] for group in of_unit(unit)]
    found: list[Fields] = []
    size = 0
    try:
        with contextlib.closing(Entries(*groups)) as reader:
            if files() != before or (after and not reader.go_to(after.encode())):
                return None
            while reader.next():
                entry = fields_of(reader)
                # An entry without a message is damaged, or journald is just writing it.
                if len(found) >= SHORT_ENTRIES or size > SHORT_BYTES or "MESSAGE" not in entry:
                    return None
                found.append(entry)
                size += len(entry["MESSAGE"])
    except JournalError:
        return None
    return found if all_there(before) else None


def consumption(unit: str, invocation_id: str) -> Consumption:
    """What one invocation of a unit used, from the user manager's entry of its end. Blocks.

    systemd writes no such entry for a unit that used little, such as less than a second of CPU.
    """
    matches = (b"MESSAGE_ID=" + CONSUMED, b"USER_UNIT=" + unit.encode(), b"_UID=%d" % os.getuid())
    try:
        with contextlib.closing(NewestFirst(matches)) as reader:
            while reader.next():
                if reader.field(b"USER_INVOCATION_ID") == invocation_id.encode():
                    cpu, peak = (_count(reader.field(name)) for name in (b"CPU_USAGE_NSEC", b"MEMORY_PEAK"))
                    return Consumption(None if cpu is None else round(cpu / 1e9, 3), peak)
    except (JournalError, AgentError):
        pass  # it cannot be read now; nothing depends on it
    return NOT_KNOWN


def _count(value: bytes | None) -> int | None:
    return int(value) if value and value.isdigit() and len(value) < 19 else None


def last_lines(unit: str, lines: int, end: Position) -> tuple[Position, Position] | None:
    """Where the last `lines` lines that the job itself printed begin, and where the log ends now. Blocks.

    Reads backwards, up to `end`, where the log ended earlier, or to the beginning. None if the log is not
    longer than that, or if the journal is changing.
    """
    before, groups = files(), [[each.encode() for each in group] for group in of_lines(unit)]
    start = newest = b""  # cursors
    own = seen = behind = total = 0
    try:
        with contextlib.closing(NewestFirst(*groups)) as reader:
            if files() != before:
                return None
            while not (start and total) and reader.next():
                source = source_of(lambda name: reader.field(name.encode()))
                if source is None:
                    continue
                if end.cursor and not total and reader.cursor() == end.cursor.encode():
                    total = end.number + seen
                newest = newest or reader.cursor()
                own += source is LogSource.JOB
                if own > lines and not start:
                    start, behind = reader.cursor(), seen
                seen += 1
    except JournalError:
        return None
    if not start or not all_there(before):
        return None
    total = total or seen
    return Position(total - behind, start.decode()), Position(total, newest.decode())


class NewestCut:
    """The newest entry of a unit's output that is no whole line of the job's own.

    journald has cut it, or the runtime wrote it. Each method blocks; all must be called in the same thread.
    """

    def __init__(self, unit: str) -> None:
        self._groups = [[each.encode() for each in group] for group in of_cut_output(unit)]
        self._entries: NewestFirst | None = None
        self._files: dict[str, int] = {}

    def cursor(self) -> str:
        """Its cursor; empty if there is none. Raises `JournalError`."""
        now = files()
        if self._entries is None or now != self._files:
            # An open journal does not see a file that is new.
            self.close()
            self._entries, self._files = NewestFirst(*self._groups), now
        self._entries.start_again()
        return self._entries.cursor().decode() if self._entries.next() else ""

    def close(self) -> None:
        """Closes the journal."""
        if self._entries is not None:
            self._entries.close()
            self._entries = None


def from_beginning(entries: list[Fields]) -> list[Fields]:
    """A unit's entries without what journald said about itself before the unit existed."""
    journalds = (JOURNALD_STARTED, JOURNALD_STOPPED)
    return list(itertools.dropwhile(lambda entry: entry.get("MESSAGE_ID") in journalds, entries))


def forgotten_beginning(entries: list[Fields], numbering: LineNumbering) -> list[Item]:
    """A gap if the first entries of a unit are gone.

    A log begins with systemd's message that the unit starts. Behind a closing entry, that message is about
    the next attempt.
    """
    attempt = itertools.takewhile(lambda entry: entry.get("MESSAGE_ID") not in CLOSINGS, entries)
    begun = next((entry for entry in attempt if entry.get("MESSAGE_ID") in BEGINNINGS), None)
    if not entries or (begun and begun.get("USER_INVOCATION_ID", b"").decode() not in numbering.not_first):
        return []
    return numbering.missing(time_of(entries[0]), GapCause.REMOVED)


async def _parsed(chunks: AsyncIterator[bytes]) -> AsyncGenerator[list[Fields]]:
    parser = ExportParser()
    async for data in chunks:
        yield parser.feed(data)
    if left := parser.end():
        yield left
