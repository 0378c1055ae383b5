"""How much a job has in /artifacts, while it may still write, move and hide files there.

A rootless account cannot set a quota on a directory, because the job's files belong to the account itself. So
the agent counts them again and again. Each count stops where the quota is exceeded, however much there is.
"""

import os
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..host.tasks import StoppedError
from ..host.trees import BLOCK, entered, statuses
from ..model.inputs import ResolvedLimits

MAX_DEPTH = 64  # directories; each level of a walk holds two descriptors


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
        """Counts one name. A sparse file counts with its size, because so many bytes are hashed and sent."""
        if self._stop.is_set():
            raise StoppedError
        directory = stat.S_ISDIR(status.st_mode)
        self.files += 1
        self.bytes += max(status.st_blocks * BLOCK, 0 if directory else status.st_size)
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
