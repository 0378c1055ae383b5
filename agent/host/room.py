"""How much room a file system has left (statvfs(3))."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Room:
    """Free bytes and inodes for an account without privileges; `inodes` is None where they are unlimited."""

    bytes: int
    inodes: int | None

    def lacks(self, needed: "Room") -> bool:
        """Whether this is less than what is needed."""
        short = self.inodes is not None and needed.inodes is not None and self.inodes < needed.inodes
        return short or self.bytes < needed.bytes

    def __str__(self) -> str:
        inodes = "" if self.inodes is None else f" and {self.inodes} inodes"
        return f"{self.bytes / 2**20:.1f} MiB{inodes}"


def room(path: Path) -> Room:
    """What the file system of a path, or of its first parent that exists, has left. Raises `OSError`."""
    status = os.statvfs(next(each for each in (path, *path.parents) if each.exists()))
    return Room(status.f_bavail * status.f_frsize, status.f_favail if status.f_files else None)


# What the runtime directory must have for the files of a job's unit and container, which are a few hundred
# kilobytes. It is in memory, and shared by all programs of the account.
RUNTIME_ROOM = Room(bytes=16 * 2**20, inodes=1000)
