"""Journal entries: the fields that the agent reads (systemd.journal-fields(7)), and the files that have them.

journald's vacuum deletes a file and deallocates its blocks even while others have it open
(`unlinkat_deallocate` in systemd's src/basic/fs-util.c). A reader then reads zeros, takes the file for a
damaged one, and silently goes on with the next.
"""

import os
from pathlib import Path

from .sdjournal import Entries

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

DIRECTORIES = (Path("/var/log/journal"), Path("/run/log/journal"))  # systemd-journald.service(8)


def fields_of(reader: Entries) -> Fields:
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


def files() -> dict[str, int]:
    """The inode of each file, by path."""
    machines = (machine for directory in DIRECTORIES for machine in _listed(directory))
    return {entry.path: entry.inode() for machine in machines for entry in _listed(machine)}


def all_there(before: dict[str, int]) -> bool:
    """Whether none of these files has been deleted since. A file may have been renamed.

    If so, everything that was read of them until now is good.
    """
    return set(before.values()) <= set(files().values())


def _listed(directory: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """The entries of a directory; none if it cannot be listed, such as the `lost+found` of a mount."""
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []
