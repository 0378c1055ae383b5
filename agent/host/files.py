"""Files that appear whole or not at all, and directories as locks."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import AgentError, misconfigured
from .trees import opened

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def write_file(
    path: Path, data: bytes, *, mode: int, replace: bool = False, durable: bool = True, parents: bool = True
) -> None:
    """Writes a file that appears whole or not at all, with `mode` from its first byte.

    With `durable`, it is on the disk when this returns. With `parents`, missing directories are made. Raises
    `AgentError` (configuration) if the file exists and `replace` is not set, and `OSError`.
    """
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
        publish(temporary, path, replace=replace, durable=durable)
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path, *, replace: bool = True, durable: bool = True) -> None:
    """Gives a complete file of the same directory its name. Options and errors are those of `write_file`."""
    if durable:
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    if replace:
        temporary.replace(path)
    else:
        try:
            path.hardlink_to(temporary)  # unlike a rename, a link never replaces a file
        except FileExistsError as error:
            raise _exists(path) from error
        temporary.unlink()
    if durable:
        sync(path.parent)


def refuse_to_overwrite(*paths: Path) -> None:
    """Raises `AgentError` (configuration) naming the first of these files that exists."""
    for path in paths:
        if path.exists():
            raise _exists(path)


def _exists(path: Path) -> AgentError:
    return misconfigured(f"{path} exists and is not overwritten.", "Move it away first.")


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Holds the lock of a directory (flock(2)) against all processes and threads. Raises `OSError`."""
    with opened(directory, flags=DIRECTORY) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def sync(directory: Path) -> None:
    """Puts on the disk what has been created, renamed or removed in a directory. Raises `OSError`."""
    with opened(directory, flags=DIRECTORY) as descriptor:
        os.fsync(descriptor)
