"""journalctl(1) as a child process, and the Journal Export Format that it prints.

The format (systemd.io/JOURNAL_EXPORT_FORMATS) is the only one that is exact for any bytes. Matches say which
entries belong to a unit, also for sd_journal_add_match(3): those that have all fields of one of the groups.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncGenerator, Sequence

from ..errors import AgentError, host_failed
from ..host.tasks import finish, to_its_end
from .entries import FIELDS, JOURNALDS_OWN, SUPPRESSED, Fields, all_there, files
from .lines import RUNTIME_COMMANDS

READ_SIZE = 1 << 16  # bytes
MAX_ENTRY = 4 << 20  # bytes of one entry; journald's own limit for a line is 48 KiB by default
NICE = 10  # a long log for one client must not slow down everything else
STARTS = 20  # how often journalctl is started while the journal's files change
START_PAUSE = 0.1  # seconds between two starts

# Set in an entry that journalctl began to print and could not read to its end.
TORN = "__TORN"
# The start of an entry, and then the fields that were asked for, if none has control characters.
USUAL_ENTRY = re.compile(
    rb"__CURSOR=([^\n]*)\n__REALTIME_TIMESTAMP=([0-9]+)\n(?:__[^\n]*\n)*_BOOT_ID=[^\n]*\n"
    rb"((?:[A-Z_]+=[^\n]*\n)+)\n"
)
NAMES = {name.encode(): name for name in FIELDS}


class JournalChangedError(Exception):
    """A file of the journal was deleted while it was read."""


class ExportParser:
    """Splits a byte stream in the Journal Export Format into entries."""

    def __init__(self) -> None:
        self._buffer = b""
        self._offset = 0

    def feed(self, data: bytes) -> list[Fields]:
        """The entries that are complete now, each a map of field names to their last value."""
        self._buffer = self._buffer[self._offset :] + data
        self._offset = 0
        entries = []
        while (entry := self._usual_entry() or self._entry()) is not None:
            if entry:
                entries.append(entry)
        if len(self._buffer) - self._offset > MAX_ENTRY + READ_SIZE:
            raise host_failed("A journal entry is too long to be read.")
        return entries

    def end(self) -> list[Fields]:
        """What there is of an incomplete entry at the end of the stream."""
        entry: Fields = {}
        while (field := self._next_field()) is not None:
            entry[field[0]] = field[1]
        return [entry | {TORN: b""}] if "__CURSOR" in entry else []

    def _usual_entry(self) -> Fields | None:
        """The next entry, if it is complete and has only text values and known names. Fast."""
        match = USUAL_ENTRY.match(self._buffer, self._offset)
        if match is None:
            return None
        entry = {"__CURSOR": match[1], "__REALTIME_TIMESTAMP": match[2]}
        for line in match[3][:-1].split(b"\n"):
            name, _, value = line.partition(b"=")
            if (known := NAMES.get(name)) is None:
                return None
            entry[known] = value
        self._offset = match.end()
        return entry

    def _entry(self) -> Fields | None:
        """The next entry of any kind; None until it is complete."""
        entry: Fields = {}
        start = before = self._offset
        while (field := self._next_field()) is not None:
            name, value = field
            if not name:
                return entry
            if name == "__CURSOR" and entry:
                # There was no blank line before this one. journald may be just writing the entry, and
                # journalctl goes on with the next one if it cannot read all of it.
                self._offset = before
                return entry | {TORN: b""}
            entry[name] = value
            before = self._offset
        self._offset = start
        return None

    def _next_field(self) -> tuple[str, bytes] | None:
        """The next field, `("", b"")` for the blank line behind an entry, or None until it is complete."""
        end = self._buffer.find(b"\n", self._offset)
        if end < 0:
            return None
        line = self._buffer[self._offset : end]
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
        return line.decode("ascii", "replace"), self._buffer[size_end:data_end]


async def journalctl(arguments: Sequence[str]) -> AsyncGenerator[bytes]:
    """What journalctl prints. Raises `AgentError` (host) if it fails.

    Raises `JournalChangedError` if a file was deleted meanwhile: what was yielded until then is good, and the
    rest must be read again.
    """
    for _ in range(STARTS):
        before = files()
        async with contextlib.aclosing(_printed(arguments)) as chunks:
            # journalctl opens the files one by one before it prints anything. It may miss a file that is
            # rotated or deleted at that moment. Then it is started again.
            data = await anext(chunks, b"")
            if files() == before:
                while data:
                    yield data
                    data = await anext(chunks, b"")
                    if not all_there(before):
                        raise JournalChangedError
                return
        await asyncio.sleep(START_PAUSE)
    raise _unsettled()


async def read_entries(arguments: Sequence[str]) -> list[Fields]:
    """All entries that journalctl prints, in memory: ask for few. Raises `AgentError` (host)."""
    for _ in range(STARTS):
        with contextlib.suppress(JournalChangedError):
            async with contextlib.aclosing(journalctl(["--output=export", *arguments])) as chunks:
                return ExportParser().feed(b"".join([chunk async for chunk in chunks]))
    raise _unsettled()


def _unsettled() -> AgentError:
    return host_failed("The journal's files change too fast to be read.", "Try again later.")


async def _printed(arguments: Sequence[str]) -> AsyncGenerator[bytes]:
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *("journalctl", "--quiet", "--no-pager", "--all", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=READ_SIZE,
        )
    )
    try:
        # A start that is cancelled half-way would leave its pipes open.
        try:
            process = await to_its_end(starting)
        except OSError as error:
            raise host_failed(
                f"journalctl cannot be started: {error.strerror}.", "Try again later."
            ) from error
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
        assert process.stdout is not None
        while data := await process.stdout.read(READ_SIZE):
            yield data
        assert process.stderr is not None
        said = (await process.stderr.read(READ_SIZE)).decode("utf-8", "replace").strip()
        if await process.wait():
            raise host_failed(f"journalctl failed: {said or 'it printed nothing'}.")
    finally:
        await finish(_end(starting))


async def _end(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    try:
        process = await starting
    except OSError:
        return
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    # Reads the rest of the pipes: an unread pipe would stay open.
    await process.communicate()


def of_unit(unit: str) -> list[list[str]]:
    """The job's output, and what the user manager and journald say about the unit.

    The output is matched by its identifier. --user-unit= would miss lines: journald learns a line's unit
    from the process that wrote the line, and finds none if the process has ended meanwhile.
    """
    return [
        *of_lines(unit),
        # Only members of systemd-journal can read these two; `ml-agent doctor` checks that.
        [f"MESSAGE_ID={SUPPRESSED.decode()}", f"OBJECT_SYSTEMD_USER_UNIT={unit}", "_UID=0"],
        [*(f"MESSAGE_ID={each.decode()}" for each in JOURNALDS_OWN if each != SUPPRESSED), "_UID=0"],
    ]


def of_lines(unit: str) -> list[list[str]]:
    """The same without what journald says about itself: the lines of the unit's log."""
    mine = f"_UID={os.getuid()}"
    return [[_identifier(unit), mine], [f"USER_UNIT={unit}", mine]]


def of_output(unit: str) -> list[str]:
    """What came over the unit's stdout and stderr."""
    return [_identifier(unit), f"_UID={os.getuid()}", "_TRANSPORT=stdout"]


def of_cut_output(unit: str) -> list[list[str]]:
    """What of that is no whole line of the job's: lines that journald has cut, and those of the runtime."""
    output = of_output(unit)
    runtime = [f"_COMM={name.decode()}" for name in sorted(RUNTIME_COMMANDS)]
    return [[*output, *runtime], [*output, "_LINE_BREAK=line-max"]]


def _identifier(unit: str) -> str:
    return f"SYSLOG_IDENTIFIER={unit.removesuffix('.service')}"
