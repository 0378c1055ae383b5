"""The journal's files on the disk.

Whoever reads them has to know when one goes. journald's vacuum deletes a file and then punches it out, also
under those who have it open (`unlinkat_deallocate` in systemd's src/basic/fs-util.c): they read zeros, take
that for a damaged file, and go on with the next one, which looks like its neighbour.
"""

import os
from collections.abc import Iterator
from pathlib import Path

DIRECTORIES = (Path("/var/log/journal"), Path("/run/log/journal"))  # systemd-journald.service(8)


def files() -> dict[str, int]:
    """Every file's inode by its path."""
    return dict(_files())


def all_there(before: dict[str, int]) -> bool:
    """Whether none of these files has been deleted since; one may have another name by now.

    What was read of them until then is what was written to them.
    """
    return set(before.values()) <= {inode for _, inode in _files()}


def _files() -> Iterator[tuple[str, int]]:
    for directory in DIRECTORIES:
        for machine in _listed(directory):
            yield from ((entry.path, entry.inode()) for entry in _listed(machine))


def _listed(directory: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """What is in it. What cannot be listed, as a mount point's `lost+found`, has nothing of the journal's."""
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []
