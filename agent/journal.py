"""journald as the log: one unit's entries, as numbered lines, from a place on and live.

Read through journalctl(1) in the Journal Export Format (systemd.io/JOURNAL_EXPORT_FORMATS): the only
serialisation that is exact for any bytes.
"""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from .errors import AgentError, FieldError, Problem
from .models import LogGap, LogLine, LogSource

Fields = dict[str, bytes]

READ_SIZE = 1 << 16  # bytes
MAX_ENTRY = 4 << 20  # bytes of one entry; journald's own limit for a line is 48 KiB by default
SETTLE_INTERVAL = 0.1  # seconds between two looks at the journal of a unit that has ended
SETTLE_LIMIT = 5.0  # seconds after which a log counts as whole even without its closing entry

# The fields that are read; asking for fewer makes journalctl three times faster.
FIELDS = ("MESSAGE", "MESSAGE_ID", "_TRANSPORT", "_COMM", "N_DROPPED")

# units/ml-job-ended writes this entry when no other process of the unit is left.
ENDED = b"8f0b3d2b5c5c4a0f9d1c5c1f6f0f3a61"
SUPPRESSED = b"a596d6fe7bfa4994828e72309e95d61e"  # journald dropped messages of a unit that wrote too fast
RUNTIME_COMMANDS = frozenset((b"podman", b"conmon", b"crun"))
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


class ExportParser:
    """Cuts a byte stream in the Journal Export Format into entries."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._offset = 0
        self._entry: Fields = {}

    def feed(self, data: bytes) -> list[Fields]:
        """The entries that are complete now, each a map of field names to their (last) value."""
        self._buffer += data
        if len(self._buffer) > MAX_ENTRY + READ_SIZE:
            raise AgentError(Problem.HOST, "A journal entry is too long to be read.")
        entries = []
        while (field := self._next_field()) is not None:
            name, value = field
            if name:
                self._entry[name] = value
            elif self._entry:
                entries.append(self._entry)
                self._entry = {}
        del self._buffer[: self._offset]
        self._offset = 0
        return entries

    def _next_field(self) -> tuple[str, bytes] | None:
        """The next field, `("", b"")` for the blank line after an entry, or None until more has come."""
        end = self._buffer.find(b"\n", self._offset)
        if end < 0:
            return None
        line = bytes(self._buffer[self._offset : end])
        name, separator, value = line.partition(b"=")
        if separator or not line:
            self._offset = end + 1
            return name.decode("ascii", "replace"), value
        size_end = end + 1 + 8
        if len(self._buffer) < size_end:
            return None
        data_end = size_end + int.from_bytes(self._buffer[end + 1 : size_end], "little")
        if len(self._buffer) < data_end + 1:
            return None
        self._offset = data_end + 1
        return line.decode("ascii", "replace"), bytes(self._buffer[size_end:data_end])


class LineNumbering:
    """Turns a unit's journal entries, in their order, into numbered lines and gaps."""

    def __init__(self, position: Position) -> None:
        self.position = position
        self.closed = False

    def take(self, entry: Fields) -> LogLine | LogGap | None:
        """The entry as a client sees it, or None for bookkeeping that is no part of the log."""
        cursor = entry.get("__CURSOR", b"").decode("ascii", "replace")
        number = self.position.number
        time = datetime.fromtimestamp(int(entry.get("__REALTIME_TIMESTAMP", b"0")) / 1e6, UTC)
        message_id = entry.get("MESSAGE_ID", b"")
        self.closed = self.closed or message_id == ENDED
        if message_id == SUPPRESSED:
            self.position = Position(number, cursor)
            count = entry.get("N_DROPPED", b"")
            return LogGap(
                after=number, count=int(count) if count.isdigit() else None, time=time, cursor=cursor
            )
        source = _source(entry)
        if source is None:
            self.position = Position(number, cursor)
            return None
        self.position = Position(number + 1, cursor)
        text = entry.get("MESSAGE", b"").decode("utf-8", "replace")
        return LogLine(number=number + 1, time=time, source=source, text=text, cursor=cursor)


def _source(entry: Fields) -> LogSource | None:
    """Whose line it is: the job's own output comes over the unit's stdout stream, not from its runtime."""
    if entry.get("_COMM") in RUNTIME_COMMANDS:
        # `podman run --detach` prints the new container's id; its errors matter.
        if CONTAINER_ID.fullmatch(entry.get("MESSAGE", b"").strip()):
            return None
        return LogSource.SYSTEM
    return LogSource.JOB if entry.get("_TRANSPORT") == b"stdout" else LogSource.SYSTEM


class Journal:
    """The calling user's journal."""

    async def history(self, unit: str, numbering: LineNumbering) -> AsyncGenerator[LogLine | LogGap]:
        """What the journal holds of the unit after the numbering's position; ends there."""
        async with contextlib.aclosing(self._read(unit, numbering)) as items:
            async for item in items:
                yield item

    async def follow(
        self, unit: str, numbering: LineNumbering, ended: Callable[[], Awaitable[None]]
    ) -> AsyncGenerator[LogLine | LogGap]:
        """As `history`, then live, until the unit has ended and its last line has been read.

        `ended` returns when the unit has ended, or had. Raises `AgentError` (host) where journalctl fails, or
        stops following before that.
        """
        async with contextlib.aclosing(self._read(unit, numbering, until=ended)) as items:
            async for item in items:
                yield item
        async with contextlib.aclosing(self.rest(unit, numbering)) as items:
            async for item in items:
                yield item

    async def rest(self, unit: str, numbering: LineNumbering) -> AsyncGenerator[LogLine | LogGap]:
        """What is still to come of a unit that has ended.

        journald reads a unit's output and its closing entry from two sockets, in no promised order: the log
        is whole when that entry is there and a further look finds nothing new.
        """
        deadline = asyncio.get_running_loop().time() + SETTLE_LIMIT
        while True:
            before = numbering.position.number
            async with contextlib.aclosing(self._read(unit, numbering)) as items:
                async for item in items:
                    yield item
            quiet = numbering.position.number == before
            late = asyncio.get_running_loop().time() > deadline
            if quiet and (numbering.closed or late):
                return
            await asyncio.sleep(SETTLE_INTERVAL)

    async def _read(
        self, unit: str, numbering: LineNumbering, until: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncGenerator[LogLine | LogGap]:
        """Entries after the numbering's position; with `until`, follows the journal until that returns."""
        position = numbering.position
        process = await asyncio.create_subprocess_exec(
            *_journalctl(unit, position, follow=until is not None),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stopper = asyncio.create_task(_stop_after(process, until)) if until else None
        try:
            async with contextlib.aclosing(_items(process, numbering, position)) as items:
                async for item in items:
                    yield item
            if stopper and stopper.done():
                await stopper
            await _check_exit(process, asked=stopper is None or stopper.done())
        finally:
            if stopper:
                stopper.cancel()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # Reads what is left in the pipes: an unread pipe would stay open.
            await process.communicate()


async def _items(
    process: asyncio.subprocess.Process, numbering: LineNumbering, position: Position
) -> AsyncGenerator[LogLine | LogGap]:
    assert process.stdout is not None
    parser, first = ExportParser(), bool(position.cursor)
    while data := await process.stdout.read(READ_SIZE):
        for entry in parser.feed(data):
            if first:
                # --cursor= seeks to the nearest entry: where it is another, what was between is gone.
                first = False
                if entry.get("__CURSOR") == position.cursor.encode():
                    continue
                yield LogGap(after=position.number, time=datetime.now(UTC), cursor=position.cursor)
            item = numbering.take(entry)
            if item is not None:
                yield item


async def _stop_after(process: asyncio.subprocess.Process, until: Callable[[], Awaitable[None]]) -> None:
    try:
        await until()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()


def _journalctl(unit: str, position: Position, *, follow: bool) -> list[str]:
    """The job's output, by its identifier, and what the user manager and journald say about the unit.

    Not --user-unit=: journald learns a line's unit from the process that wrote it, and where that process has
    ended meanwhile, the line has none. The identifier belongs to the stream and stays.
    """
    command = ["journalctl", "--quiet", "--no-pager", "--all", "--output=export"]
    command.append(f"--output-fields={','.join(FIELDS)}")
    if position.cursor:
        command.append(f"--cursor={position.cursor}")
    if follow:
        command += ["--follow", "--no-tail"]
    mine = f"_UID={os.getuid()}"
    output = [f"SYSLOG_IDENTIFIER={unit.removesuffix('.service')}", mine]
    lifecycle = [f"USER_UNIT={unit}", mine]
    # Only members of systemd-journal can read these; `ml-agent doctor` says so.
    dropped = [f"MESSAGE_ID={SUPPRESSED.decode()}", f"OBJECT_SYSTEMD_USER_UNIT={unit}"]
    return [*command, *output, "+", *lifecycle, "+", *dropped]


async def _check_exit(process: asyncio.subprocess.Process, *, asked: bool) -> None:
    """Raises `AgentError` (host) where journalctl failed, or stopped following before it was `asked` to."""
    assert process.stderr is not None
    said = (await process.stderr.read(READ_SIZE)).decode("utf-8", "replace").strip()
    if await process.wait() not in (0, -signal.SIGTERM) or not asked:
        raise AgentError(Problem.HOST, f"journalctl failed: {said or 'it printed nothing'}.")
