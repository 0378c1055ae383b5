"""The lines of a log: their numbers, the gaps, and which lines are the job's own."""

import re
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import FieldError, invalid_request
from ..model.log import GapCause, LogSource, LogStream
from .entries import JOURNALD_STARTED, JOURNALD_STOPPED, SUPPRESSED, Fields, boot_of

# The closing entry, which units/ml-job-ended writes when no other process of the unit is left.
ENDED = b"8f0b3d2b5c5c4a0f9d1c5c1f6f0f3a61"
# A log is closed by that entry. If its hook was killed, systemd's last message about the unit does it
# (SD_MESSAGE_UNIT_SUCCESS, SD_MESSAGE_UNIT_FAILURE_RESULT).
CLOSINGS = frozenset((ENDED, b"7ad2d189f7e94e70a38c781354912448", b"d9b373ed55a64feb8242e02dbe79a49c"))
# systemd's first message about a unit (SD_MESSAGE_UNIT_STARTING, or _STARTED for types that do not wait). It
# says _STARTED also of a unit that it skips for its condition: of a job that somebody restarts by hand.
STARTING = b"7d4958e842da4a758f6c1cdc7b36dcc5"
BEGINNINGS = frozenset((STARTING, b"39f53479d3a045ac8e11786248231fbf"))
RUNTIME_COMMANDS = frozenset((b"podman", b"conmon", b"crun", b"systemd-cat"))
# A process can give itself any name. Those of the container are in a cgroup of their own, libpod-payload-ID,
# which they cannot leave.
RUNTIME_CGROUP = re.compile(rb"^(?!.*/libpod-).*/ml-job@[a-z2-7]+\.service(/runtime)?$")
CONTAINER_ID = re.compile(rb"[0-9a-f]{64}")
# systemd-cat(1) gives stdout and stderr of a job a stream to journald each, whose priorities tell them apart.
SYSTEMD_CAT = "/usr/bin/systemd-cat --level-prefix=false --priority=info --stderr-priority=notice"
STDERR_PRIORITY = b"5"  # notice
# journald's cursor, as sd_journal_get_cursor(3) prints it: sequence number id, sequence number, boot id,
# monotonic and realtime timestamps, hash.
CURSOR = r"s=[0-9a-f]{32};i=[0-9a-f]{1,16};b=[0-9a-f]{32};m=[0-9a-f]{1,16};t=[0-9a-f]{1,16};x=[0-9a-f]{1,16}"
EVENT_ID = re.compile(rf"([0-9]{{1,18}}):({CURSOR})")


@dataclass(frozen=True)
class Position:
    """A place in a log: the number of the last line up to it, and journald's cursor of the last entry."""

    number: int = 0
    cursor: str = ""

    @classmethod
    def parse(cls, event_id: str) -> "Position":
        """The position that `str` wrote. Raises `AgentError` (invalid-request) for anything else."""
        match = EVENT_ID.fullmatch(event_id)
        if match is None:
            raise invalid_request(
                "The event id does not belong to this stream.",
                "Send the id of the last event that you received, or none to begin at the first line.",
                (FieldError("Last-Event-ID", "must be an id of this stream"),),
            )
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.number}:{self.cursor}"


class Line(NamedTuple):
    """A line: its number from 1, `time` in milliseconds since 1970, and the exact bytes.

    `continued`: journald has cut a long line here, and the next line of the same stream continues it.
    `stream` is None for a line of the system, and in the log that an earlier agent archived.
    """

    number: int
    time: int
    source: LogSource
    text: bytes
    cursor: str
    continued: bool = False
    stream: LogStream | None = None

    @property
    def position(self) -> Position:
        """The position behind the line."""
        return Position(self.number, self.cursor)


class Gap(NamedTuple):
    """Lost lines, behind the line `after`; `dropped` is their count, if it is known; `time` as in `Line`.

    The `cause` is None in the log that an earlier agent archived.
    """

    after: int
    time: int
    cursor: str
    cause: GapCause | None
    dropped: int | None = None

    @property
    def position(self) -> Position:
        """The position behind the gap."""
        return Position(self.after, self.cursor)


Item = Line | Gap
Batches = AsyncGenerator[list[Item]]  # a log, some items at a time


def job_output(items: Iterable[Item]) -> bytes:
    """The job's own lines, byte for byte, with a line feed after each line that journald has not cut."""
    lines = (item for item in items if isinstance(item, Line) and item.source is LogSource.JOB)
    return b"".join([line.text if line.continued else line.text + b"\n" for line in lines])


class LineNumbering:
    """Turns a unit's journal entries, in order, into numbered lines and gaps."""

    def __init__(self, position: Position, *, not_first: Collection[str] = ()) -> None:
        """`not_first` are invocations of the unit that others preceded."""
        self.not_first = not_first
        self.resumed = bool(position.cursor)  # it has not seen the entries before its position
        self._number, self._cursor = position.number, position.cursor
        self._missing_since: str | None = None
        self._begun = bool(position.cursor)
        self._journald_stopped = False
        self.closed = False

    @property
    def position(self) -> Position:
        """The position behind the last entry."""
        return Position(self._number, self._cursor)

    def go_to(self, position: Position) -> None:
        """Continues behind a position that was found elsewhere."""
        self._number, self._cursor = position.number, position.cursor
        self.resumed = self.resumed or bool(position.cursor)
        self._begun = self._begun or bool(position.cursor)

    def missing(self, time: int, cause: GapCause) -> list[Item]:
        """A gap of unknown size behind the last entry, unless there was one already."""
        if self._missing_since == self._cursor:
            return []
        self._missing_since = self._cursor
        return [Gap(self._number, time, self._cursor, cause)]

    def damaged(self, entry: Fields) -> list[Item]:
        """A gap in place of an entry that cannot be read."""
        self._cursor = entry["__CURSOR"].decode("ascii", "replace")
        return [Gap(self._number, time_of(entry), self._cursor, GapCause.DAMAGED)]

    def number(self, entries: Iterable[Fields]) -> list[Item]:
        """The lines and gaps of the next entries. Some entries are bookkeeping and give none."""
        return [item for entry in entries if (item := self._item_of(entry)) is not None]

    def _item_of(self, entry: Fields) -> Item | None:
        message_id = entry.get("MESSAGE_ID")
        if message_id in (JOURNALD_STARTED, JOURNALD_STOPPED):
            return self._restarted(entry)
        self._cursor = entry.get("__CURSOR", b"").decode("ascii", "replace")
        if message_id is not None:
            self._begun = self._begun or message_id in BEGINNINGS
            if message_id == STARTING:
                self.closed = False  # another attempt of the job begins
            elif message_id in CLOSINGS:
                self.closed = True
            elif message_id == SUPPRESSED:
                count = entry.get("N_DROPPED", b"")
                dropped = int(count) if count.isdigit() else None
                return Gap(self._number, time_of(entry), self._cursor, GapCause.RATE_LIMIT, dropped)
        source = source_of(entry.get)
        if source is None:
            return None
        self._number += 1
        continued = entry.get("_LINE_BREAK") == b"line-max"
        text, stream = entry.get("MESSAGE", b""), None
        if source is LogSource.JOB:
            stream = LogStream.STDERR if entry.get("PRIORITY") == STDERR_PRIORITY else LogStream.STDOUT
        return Line(self._number, time_of(entry), source, text, self._cursor, continued, stream)

    def _restarted(self, entry: Fields) -> Item | None:
        """A gap if journald was killed: it may have lost what it had not written yet."""
        stopped, self._journald_stopped = self._journald_stopped, entry["MESSAGE_ID"] == JOURNALD_STOPPED
        if self._journald_stopped or stopped or not self._begun or self.closed:
            return None
        cursor = entry.get("__CURSOR", b"").decode("ascii", "replace")
        # A boot ends every unit.
        self._begun = boot_of(cursor) == boot_of(self._cursor)
        self._cursor = self._missing_since = cursor
        return Gap(self._number, time_of(entry), cursor, GapCause.JOURNALD_KILLED)


def time_of(entry: Fields) -> int:
    """When journald received the entry, in milliseconds since 1970."""
    return int(entry.get("__REALTIME_TIMESTAMP", b"0")) // 1000


def source_of(field: Callable[[str], bytes | None]) -> LogSource | None:
    """Who wrote the line of an entry, of which `field` gives the fields; None if the entry is no line.

    The job's output comes over the unit's stdout, and not from the container runtime.
    """
    if field("_COMM") in RUNTIME_COMMANDS and RUNTIME_CGROUP.search(field("_SYSTEMD_CGROUP") or b""):
        # `podman run --detach` prints the new container's id, which no client needs. Its errors are shown.
        if CONTAINER_ID.fullmatch((field("MESSAGE") or b"").strip()):
            return None
        return LogSource.SYSTEM
    return LogSource.JOB if field("_TRANSPORT") == b"stdout" else LogSource.SYSTEM
