"""Journal entries: the fields that the agent reads, and how (systemd.journal-fields(7))."""

from typing import Protocol

Fields = dict[str, bytes]

SUPPRESSED = b"a596d6fe7bfa4994828e72309e95d61e"  # journald dropped messages of a unit that wrote too fast
JOURNALD_STARTED = b"f77379a8490b408bbe5f6940505a777b"
JOURNALD_STOPPED = b"d93fb3c9c24d451a97cea615ce59c00b"
# journald's messages about itself, in the system's journal, which only members of systemd-journal can read.
JOURNALDS_OWN = (SUPPRESSED, JOURNALD_STARTED, JOURNALD_STOPPED)
# The fields that `LineNumbering` reads, besides cursor and time.
FIELDS = (
    *("MESSAGE", "MESSAGE_ID", "PRIORITY", "N_DROPPED", "USER_INVOCATION_ID"),
    *("_TRANSPORT", "_COMM", "_SYSTEMD_CGROUP", "_LINE_BREAK"),
)
_NAMES = tuple((name, name.encode()) for name in FIELDS)


class EntryReader(Protocol):
    """What `sdjournal.Entries` offers."""

    def next(self) -> bool: ...
    def field(self, name: bytes) -> bytes | None: ...
    def cursor(self) -> bytes: ...
    def realtime(self) -> int: ...
    def close(self) -> None: ...


def fields_of(reader: EntryReader) -> Fields:
    """The entry that a reader is at, as journalctl would export it: its cursor, its time and `FIELDS`."""
    entry = {"__CURSOR": reader.cursor(), "__REALTIME_TIMESTAMP": b"%d" % reader.realtime()}
    for name, field in _NAMES:
        if (value := reader.field(field)) is not None:
            entry[name] = value
    return entry


def sequence_number(cursor: bytes) -> int:
    """journald's number of an entry, which counts across all its files."""
    return _number(cursor, b";i=")


def is_newer(cursor: bytes, other: bytes) -> bool:
    """Whether one entry came after another: by journald's number, or by time if the numbers started again."""
    part = b";i=" if cursor.partition(b";")[0] == other.partition(b";")[0] else b";t="
    return _number(cursor, part) > _number(other, part)


def boot_of(cursor: str) -> str:
    """The id of the boot in which journald received an entry; empty without a cursor."""
    return cursor.partition(";b=")[2].partition(";")[0]


def _number(cursor: bytes, part: bytes) -> int:
    return int(cursor.partition(part)[2].partition(b";")[0], 16)
