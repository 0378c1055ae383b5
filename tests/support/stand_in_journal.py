"""Stands in for sd-journal(3): entries that a test writes, and faults that the real one shows too rarely."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.logs.sdjournal import Entries, JournalError, NewEntries


def cursor(number: int) -> str:
    """journald's cursor of the entry with that number."""
    return f"s={'a' * 32};i={number:x};b={'b' * 32};m=1;t=1;x=1"


def entry(number: int, text: bytes, unit: str = "ml-job@x.service", **fields: bytes) -> dict[str, bytes]:
    """A line of a unit's output."""
    identifier = unit.removesuffix(".service").encode()
    values = {"_TRANSPORT": b"stdout", "SYSLOG_IDENTIFIER": identifier, "MESSAGE": text} | fields
    return {"__CURSOR": cursor(number).encode(), "__REALTIME_TIMESTAMP": b"%d" % (number * 10**6)} | values


class StandInEntries(Entries):
    """Entries of a source, which is asked for all there are at each look."""

    def __init__(self, source: Callable[[], list[dict[str, bytes]]]) -> None:
        self._source = source
        self._position = 0
        self._entry: dict[str, bytes] = {}

    def next(self) -> bool:
        """As `Entries.next`; the others as well."""
        entries = self._source()
        if self._position >= len(entries):
            return False
        self._entry = entries[self._position]
        self._position += 1
        return True

    def go_to(self, cursor: bytes) -> bool:
        while self.next():
            if self.cursor() == cursor:
                return True
        return False

    def field(self, name: bytes) -> bytes | None:
        return self._entry.get(name.decode())

    def cursor(self) -> bytes:
        return self._entry["__CURSOR"]

    def realtime(self) -> int:
        return int(self._entry["__REALTIME_TIMESTAMP"])

    def close(self) -> None:
        pass


class StandInReader(StandInEntries, NewEntries):
    """New ones."""

    def __init__(self, source: Callable[[], list[dict[str, bytes]]]) -> None:
        super().__init__(source)
        self._position = len(source())
        self._pipe = os.pipe()
        self.fd = self._pipe[0]

    def process(self) -> bool:
        os.read(self.fd, 1)
        return False

    def delete_file(self) -> None:
        """The file of the last entry goes, and with it what was not read of it yet."""
        self._position = len(self._source())
        os.write(self._pipe[1], b"x")

    def close(self) -> None:
        for descriptor in self._pipe:
            os.close(descriptor)


class StandInJournal:
    """Two lists of entries: the account's own, and journald's word on what it dropped."""

    def __init__(self) -> None:
        self.own: list[dict[str, bytes]] = []
        self.dropped: list[dict[str, bytes]] = []
        self.failures: list[str] = []
        self.opened = 0
        self.open_now = 0
        self.reader: StandInReader  # of the account's own entries

    def open(self, *matches: bytes) -> "StandInReader":
        """A reader of what comes from now on."""
        self.opened += 1
        dropped = len(matches) > 1
        reader = self._counted(StandInReader(lambda: self._look(dropped=dropped)))
        if not dropped:
            self.reader = reader
        return reader

    def _look(self, *, dropped: bool) -> list[dict[str, bytes]]:
        with contextlib.suppress(IndexError):
            raise JournalError(self.failures.pop())
        return self.dropped if dropped else self.own

    def _counted(self, reader: StandInReader) -> StandInReader:
        self.open_now += 1
        close = reader.close

        def closing() -> None:
            self.open_now -= 1
            close()

        reader.close = closing  # type: ignore[method-assign]
        return reader


class JournalFile:
    """The file that the stand-in for journalctl reads, as what the followed unit writes."""

    def __init__(self, path: Path, units: Callable[[], Iterator[str]]) -> None:
        self._path = path
        self._units = units
        self.open_now = 0

    def open(self, *matches: bytes) -> StandInReader:
        """A reader of what comes from now on."""
        file = self

        class Counted(StandInReader):
            def close(self) -> None:
                file.open_now -= 1
                super().close()

        self.open_now += 1
        return Counted(lambda: [] if len(matches) > 1 else self._entries())

    def _entries(self) -> list[dict[str, bytes]]:
        unit = next(self._units(), "none")
        entries = []
        for number, line in enumerate(self._path.read_bytes().splitlines(), 1):
            fields = {"MESSAGE_ID": b"8f0b3d2b5c5c4a0f9d1c5c1f6f0f3a61", "_TRANSPORT": b"journal"}
            entries.append(entry(number, line, unit, **(fields if line == b"END" else {})))
        return entries


def exported(entry: dict[str, bytes]) -> bytes:
    """An entry as journald serialises it (systemd.io/JOURNAL_EXPORT_FORMATS)."""
    fields = []
    for name, value in entry.items():
        try:
            plain = all(character >= " " or character == "\t" for character in value.decode())
        except UnicodeDecodeError:
            plain = False
        if plain:
            fields.append(name.encode() + b"=" + value + b"\n")
        else:
            fields.append(name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n")
    return b"".join(fields) + b"\n"
