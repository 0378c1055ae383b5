"""How much a job has in /artifacts, while it may still write, move and hide files there; and what is free.

A rootless account cannot set a quota on a directory, because the job's files belong to the account itself. So
the agent counts them again and again. Each count stops where the quota is exceeded, however much there is.
What is too much when the job has ended is deleted.
"""

import os
import stat
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..config import Settings
from ..host.machine import Room, room
from ..host.tasks import StoppedError
from ..host.trees import entered, remove, statuses, taken
from ..model.inputs import ResolvedLimits

MAX_DEPTH = 64  # directories; each level of a walk holds two descriptors
REMOVED_AT_ONCE = 10_000  # names of a tree


@dataclass(frozen=True)
class Taken:
    """What was counted. `excess` says in a sentence which quota is exceeded; the count stopped there."""

    bytes: int = 0
    files: int = 0
    excess: str = ""


class _ExcessError(Exception):
    """The quota is exceeded; the message says which."""


class _Count:
    def __init__(self, limits: ResolvedLimits, stop: threading.Event) -> None:
        self.max_bytes, self.max_files = limits.artifact_bytes, limits.artifact_files
        self.bytes, self.files = 0, 0
        self._stop = stop

    def add(self, status: os.stat_result) -> None:
        """Counts one name."""
        _check(self._stop)
        self.files += 1
        self.bytes += taken(status)
        if self.bytes > self.max_bytes:
            raise _ExcessError(f"The job left more than {self.max_bytes} bytes in /artifacts.")
        if self.files > self.max_files:
            raise _ExcessError(f"The job left more than {self.max_files} files in /artifacts.")

    def descend(self, parent: int | None, name: Path | str, depth: int = 0) -> None:
        """Counts the content of a directory, opened relative to its parent: no link leads out of the tree."""
        if depth > MAX_DEPTH:
            raise _ExcessError(f"The job left directories in /artifacts that are nested {MAX_DEPTH} deep.")
        with entered(name, parent) as directory:
            inner = []
            for name, status in statuses(directory):
                self.add(status)
                if stat.S_ISDIR(status.st_mode):
                    inner.append(name)
            for name in inner:
                with suppress(FileNotFoundError, NotADirectoryError):  # deleted or replaced meanwhile
                    self.descend(directory, name, depth + 1)


def measure(directory: Path, limits: ResolvedLimits, stop: threading.Event) -> Taken:
    """Counts the content of `directory` up to the limits. Follows no link. A missing directory is empty.

    A directory that cannot be counted is an excess, too. Raises `StoppedError` soon after `stop` is set.
    """
    count = _Count(limits, stop)
    try:
        count.descend(None, directory)
    except FileNotFoundError:
        pass
    except _ExcessError as error:
        return Taken(count.bytes, count.files, str(error))
    except OSError as error:
        why = f"What the job left in /artifacts cannot be counted: {error.strerror}."
        return Taken(count.bytes, count.files, why)
    return Taken(count.bytes, count.files)


def delete_others(directory: Path, inodes: Collection[int], stop: threading.Event) -> None:
    """Deletes everything below `directory` but the files with these inodes. No job writes there any more.

    Raises `OSError`, for example where something belongs to another user, and `StoppedError` soon after
    `stop` is set.
    """
    with suppress(FileNotFoundError), entered(directory) as top:
        _delete_others(top, frozenset(inodes), stop, 0)


def _delete_others(directory: int, inodes: frozenset[int], stop: threading.Event, depth: int) -> None:
    inner: set[str] = set()
    again = True
    while again:  # a directory that changes may hide a name from whoever reads it
        again = False
        for name, status in statuses(directory):
            if name in inner or status.st_ino in inodes:
                continue
            if stat.S_ISDIR(status.st_mode) and depth < MAX_DEPTH:
                inner.add(name)
                continue
            while not remove(Path(f"/proc/self/fd/{directory}/{name}"), REMOVED_AT_ONCE):
                _check(stop)
            _check(stop)
            again = True
    for name in inner:
        with entered(name, directory) as below:
            _delete_others(below, inodes, stop, depth + 1)
        with suppress(OSError):  # it is not empty
            os.rmdir(name, dir_fd=directory)


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise StoppedError


def room_left(settings: Settings) -> tuple[Room, Room]:
    """What is free on the state's file system, and what jobs must leave free of it."""
    system = os.statvfs(settings.state_directory)
    total = system.f_blocks * system.f_frsize
    floor = Room(settings.jobs.free_floor(total), settings.jobs.free_inode_floor(system.f_files))
    return room(settings.state_directory), floor
