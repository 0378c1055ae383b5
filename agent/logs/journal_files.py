"""The journal's files on the disk, and whether one has been deleted.

journald's vacuum deletes a file and deallocates its blocks even while others have it open
(`unlinkat_deallocate` in systemd's src/basic/fs-util.c). A reader then reads zeros, takes the file for a
damaged one, and silently goes on with the next.
"""

import os
from collections.abc import Iterator
from pathlib import Path

DIRECTORIES = (Path("/var/log/journal"), Path("/run/log/journal"))  # systemd-journald.service(8)


def files() -> dict[str, int]:
    """The inode of each file, by path."""
    return dict(_files())


def all_there(before: dict[str, int]) -> bool:
    """Whether none of these files has been deleted since. A file may have been renamed.

    If so, everything that was read of them until now is good.
    """
    return set(before.values()) <= {inode for _, inode in _files()}


def _files() -> Iterator[tuple[str, int]]:
    for directory in DIRECTORIES:
        for machine in _listed(directory):
            yield from ((entry.path, entry.inode()) for entry in _listed(machine))


def _listed(directory: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """The entries of a directory; none if it cannot be listed, such as the `lost+found` of a mount."""
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []
