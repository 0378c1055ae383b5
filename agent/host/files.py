"""A directory as a lock, and its entries on the disk."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import AgentError, Problem


def write_file(path: Path, data: bytes, *, mode: int, replace: bool = False) -> None:
    """Writes a file whole or not at all, durably, and with `mode` from its first byte.

    Raises `AgentError` (configuration) where the file exists and `replace` was not asked for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # unlike a rename, this refuses to take another file's place
    except FileExistsError as error:
        raise _exists(path) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def refuse_to_overwrite(*paths: Path) -> None:
    """Raises `AgentError` (configuration) naming the first of these files that is there."""
    for path in paths:
        if path.exists():
            raise _exists(path)


def _exists(path: Path) -> AgentError:
    return AgentError(Problem.CONFIGURATION, f"{path} exists and is not overwritten.", "Move it away first.")


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Waits until no other process or thread is in here with that directory (flock(2)). Raises `OSError`."""
    with _opened(directory) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def sync(directory: Path) -> None:
    """Makes durable what has been put into a directory, renamed or removed there. Raises `OSError`."""
    with _opened(directory) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
