"""Entries of the journal: the fields that are read, and how."""

from typing import Protocol

Fields = dict[str, bytes]

SUPPRESSED = b"a596d6fe7bfa4994828e72309e95d61e"  # journald dropped messages of a unit that wrote too fast
JOURNALD_STARTED = b"f77379a8490b408bbe5f6940505a777b"
JOURNALD_STOPPED = b"d93fb3c9c24d451a97cea615ce59c00b"
# What journald says of itself, in the system's journal, which only members of systemd-journal can read.
JOURNALDS_OWN = (SUPPRESSED, JOURNALD_STARTED, JOURNALD_STOPPED)
# What `LineNumbering` reads of an entry, besides its cursor and time.
FIELDS = ("MESSAGE", "MESSAGE_ID", "_TRANSPORT", "_COMM", "_SYSTEMD_CGROUP", "_LINE_BREAK", "N_DROPPED")
_NAMES = tuple((name, name.encode()) for name in FIELDS)


class EntryReader(Protocol):
    """What is needed of `Entries`."""

    def next(self) -> bool: ...
    def field(self, name: bytes) -> bytes | None: ...
    def cursor(self) -> bytes: ...
    def realtime(self) -> int: ...
    def close(self) -> None: ...


def fields_of(reader: EntryReader) -> Fields:
    """The entry that a reader stands at, as journalctl would export it: its cursor, its time and `FIELDS`."""
    entry = {"__CURSOR": reader.cursor(), "__REALTIME_TIMESTAMP": b"%d" % reader.realtime()}
    for name, field in _NAMES:
        if (value := reader.field(field)) is not None:
            entry[name] = value
    return entry


def sequence_number(cursor: bytes) -> int:
    """journald's number of an entry, which counts over all its files."""
    return int(cursor.partition(b";i=")[2].partition(b";")[0], 16)
