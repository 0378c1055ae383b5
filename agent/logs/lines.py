"""A job's lines: numbers, gaps, and which entries are the job's."""

import re
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import AgentError, FieldError, Problem
from ..model.log import LogSource
from .entries import JOURNALD_STARTED, JOURNALD_STOPPED, SUPPRESSED, Fields

# units/ml-job-ended writes this entry when no other process of the unit is left.
ENDED = b"8f0b3d2b5c5c4a0f9d1c5c1f6f0f3a61"
# What systemd says first of a unit (SD_MESSAGE_UNIT_STARTING and, of the types that do not wait, _STARTED).
BEGINNINGS = frozenset((b"7d4958e842da4a758f6c1cdc7b36dcc5", b"39f53479d3a045ac8e11786248231fbf"))
RUNTIME_COMMANDS = frozenset((b"podman", b"conmon", b"crun"))
# A process may call itself anything. The container's are in a cgroup of their own, libpod-payload-ID, which
# they cannot leave.
RUNTIME_CGROUP = re.compile(rb"^(?!.*/libpod-).*/ml-job@[a-z2-7]+\.service(/runtime)?$")
CONTAINER_ID = re.compile(rb"[0-9a-f]{64}")
# journald's cursor, as sd_journal_get_cursor(3) prints it: sequence number id, sequence number, boot id,
# monotonic and realtime timestamps, hash.
CURSOR = r"s=[0-9a-f]{32};i=[0-9a-f]{1,16};b=[0-9a-f]{32};m=[0-9a-f]{1,16};t=[0-9a-f]{1,16};x=[0-9a-f]{1,16}"
EVENT_ID = re.compile(rf"([0-9]{{1,18}}):({CURSOR})")


@dataclass(frozen=True)
class Position:
    """After which entry to go on: the number of the last line seen and journald's cursor of it."""

    number: int = 0
    cursor: str = ""

    @classmethod
    def parse(cls, event_id: str) -> "Position":
        """Reads what `str` wrote. Raises `AgentError` for anything else."""
        match = EVENT_ID.fullmatch(event_id)
        if match is None:
            raise AgentError(
                Problem.INVALID_REQUEST,
                "The event id is not one of this stream.",
                "Send the last id that was received, or none to begin at the first line.",
                (FieldError("Last-Event-ID", "must be an id of this stream"),),
            )
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.number}:{self.cursor}"


class Line(NamedTuple):
    """A line as the journal has it: `time` in milliseconds since 1970, `text` the very bytes.

    `continued`: journald has cut a long line here, and the next one goes on with it.
    """

    number: int
    time: int
    source: LogSource
    text: bytes
    cursor: str
    continued: bool = False

    @property
    def position(self) -> Position:
        """Where one is that has read it."""
        return Position(self.number, self.cursor)


class Gap(NamedTuple):
    """Lines that are lost, after line `after`; `dropped` of them where that is known; `time` as in `Line`."""

    after: int
    time: int
    cursor: str
    dropped: int | None = None

    @property
    def position(self) -> Position:
        """Where one is that was told of it."""
        return Position(self.after, self.cursor)


Item = Line | Gap
Batches = AsyncGenerator[list[Item]]  # a log, some items at a time


def job_output(items: Iterable[Item]) -> bytes:
    """The job's own lines, byte for byte, with a line feed after each line that journald has not cut."""
    lines = (item for item in items if isinstance(item, Line) and item.source is LogSource.JOB)
    return b"".join([line.text if line.continued else line.text + b"\n" for line in lines])


class LineNumbering:
    """Turns a unit's journal entries, in their order, into numbered lines and gaps."""

    def __init__(self, position: Position) -> None:
        self._number, self._cursor = position.number, position.cursor
        self._missing_since: str | None = None
        self._begun = bool(position.cursor)
        self._journald_stopped = False
        self.closed = False

    @property
    def position(self) -> Position:
        """Behind the last entry that was taken."""
        return Position(self._number, self._cursor)

    def go_to(self, item: Item) -> None:
        """Goes on behind an item that was read elsewhere."""
        self._number, self._cursor = item.position.number, item.cursor

    def missing(self, time: int) -> list[Item]:
        """A gap of unknown size after the last entry, unless it was told already."""
        if self._missing_since == self._cursor:
            return []
        self._missing_since = self._cursor
        return [Gap(self._number, time, self._cursor)]

    def damaged(self, entry: Fields) -> list[Item]:
        """A gap in the place of an entry that cannot be read."""
        self._cursor = entry["__CURSOR"].decode("ascii", "replace")
        return [Gap(self._number, time_of(entry), self._cursor)]

    def take(self, entries: Iterable[Fields]) -> list[Item]:
        """The entries as a client sees them, without the bookkeeping that is no part of the log."""
        return [item for entry in entries if (item := self._take(entry)) is not None]

    def _take(self, entry: Fields) -> Item | None:
        message_id = entry.get("MESSAGE_ID")
        if message_id in (JOURNALD_STARTED, JOURNALD_STOPPED):
            return self._restarted(entry)
        self._cursor = entry.get("__CURSOR", b"").decode("ascii", "replace")
        if message_id is not None:
            # A job that is tried again begins again.
            if message_id in BEGINNINGS:
                self._begun, self.closed = True, False
            elif message_id == ENDED:
                self.closed = True
            elif message_id == SUPPRESSED:
                count = entry.get("N_DROPPED", b"")
                return Gap(
                    self._number, time_of(entry), self._cursor, int(count) if count.isdigit() else None
                )
        source = _source(entry)
        if source is None:
            return None
        self._number += 1
        continued = entry.get("_LINE_BREAK") == b"line-max"
        return Line(self._number, time_of(entry), source, entry.get("MESSAGE", b""), self._cursor, continued)

    def _restarted(self, entry: Fields) -> Item | None:
        """journald has stopped, or started. One that was killed may have lost what it had not written yet."""
        stopped, self._journald_stopped = self._journald_stopped, entry["MESSAGE_ID"] == JOURNALD_STOPPED
        if self._journald_stopped or stopped or not self._begun or self.closed:
            return None
        cursor = entry.get("__CURSOR", b"").decode("ascii", "replace")
        # At the next boot, what had not ended has.
        self._begun = _boot(cursor) == _boot(self._cursor)
        self._cursor = self._missing_since = cursor
        return Gap(self._number, time_of(entry), cursor)


def _boot(cursor: str) -> str:
    return cursor.partition(";b=")[2].partition(";")[0]


def time_of(entry: Fields) -> int:
    """When journald took the entry, in milliseconds since 1970."""
    return int(entry.get("__REALTIME_TIMESTAMP", b"0")) // 1000


def _source(entry: Fields) -> LogSource | None:
    """Whose line it is: the job's own output comes over the unit's stdout stream, not from its runtime."""
    if entry.get("_COMM") in RUNTIME_COMMANDS and RUNTIME_CGROUP.search(entry.get("_SYSTEMD_CGROUP", b"")):
        # `podman run --detach` prints the new container's id; its errors matter.
        if CONTAINER_ID.fullmatch(entry.get("MESSAGE", b"").strip()):
            return None
        return LogSource.SYSTEM
    return LogSource.JOB if entry.get("_TRANSPORT") == b"stdout" else LogSource.SYSTEM
