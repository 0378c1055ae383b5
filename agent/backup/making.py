"""What a backup has: the database, authorities and keys, the account's configuration, results on wish."""

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .. import __version__
from ..config import Settings, default_state_directory, user_file
from ..errors import AgentError, Problem, misconfigured
from ..host.files import publish, refuse_to_overwrite
from ..host.machine import room
from ..identity import rotation
from ..model.base import now
from ..store.copies import Identity, copy_database
from .archive import CONFIG, FORMAT, STATE, Header, Progress, Writer

DATABASE = "jobs.db"
MAX_SMALL = 2**20  # bytes of a key, a certificate, a file of the configuration
POLICY = "ml-job@.container.d"
FOR_THE_TAR = 2**20, 2048  # bytes that a tar has, and those of it for each file


@dataclass(frozen=True)
class Result:
    """A file that a job has left."""

    path: Path
    name: str
    size: int


@dataclass(frozen=True)
class Made:
    """What was written, and the files of results that could not be read."""

    header: Header
    skipped: list[str]


def write_backup(
    settings: Settings, out: BinaryIO, scratch: Path, *, results: bool, progress: Progress
) -> Made:
    """Writes a backup into an open file; `scratch` is where the database is copied to first.

    Raises `AgentError`: configuration without a database, storage-full where scratch has no room, host.
    """
    database = settings.database
    if not database.exists():
        raise misconfigured(f"There is no {database}, and nothing to back up.", "`ml-agent init` makes it.")
    demand_room(scratch, database.stat().st_size + _wal(database))
    with tempfile.TemporaryDirectory(prefix=".ml-agent-backup-", dir=scratch) as private:
        copy = Path(private, DATABASE)
        small, identity = _copied(settings, copy)
        left = list(_results(settings)) if results else []
        size = copy.stat().st_size
        header = _header(settings, identity, small, size, left, results=results)
        if (at := _directory_of(out)) is not None:
            demand_room(at, header.bytes + header.files * FOR_THE_TAR[1] + FOR_THE_TAR[0])
        writer = Writer(out, header, progress)
        for name, (data, mode) in small.items():
            writer.add_bytes(name, data, mode=mode)
        with copy.open("rb") as file:
            writer.add(f"{STATE}/{DATABASE}", file, size)
        skipped = [each.name for each in left if not _add(writer, each)]
        writer.finish()
    return Made(header, skipped)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file with mode 0600 that has its name once it is whole. Raises `AgentError` where it exists."""
    refuse_to_overwrite(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:
            yield file
        publish(temporary, path, replace=False)
    finally:
        temporary.unlink(missing_ok=True)


def demand_room(directory: Path, needed: int) -> None:
    """Raises `AgentError` (storage-full) where a directory's file system has less than that."""
    left = room(directory)
    if left.bytes < needed:
        raise AgentError(
            Problem.STORAGE_FULL,
            f"The disk of {directory} is full or almost full: this needs up to {needed / 2**20:.1f} MiB,"
            f" and {left.bytes / 2**20:.1f} MiB are free.",
            "Make room there, or choose another place.",
        )


def _wal(database: Path) -> int:
    wal = database.with_name(database.name + "-wal")
    return wal.stat().st_size if wal.exists() else 0


def _directory_of(out: BinaryIO) -> Path | None:
    """Where a regular file is written; None for a pipe."""
    status = os.fstat(out.fileno())
    return Path(f"/proc/self/fd/{out.fileno()}").resolve().parent if stat.S_ISREG(status.st_mode) else None


def _copied(settings: Settings, copy: Path) -> tuple[dict[str, tuple[bytes, int]], Identity]:
    """Keys and configuration by their names in the backup, each with its mode; and the copied database."""
    small: dict[str, tuple[bytes, int]] = {}
    config = user_file()
    for path in (config, *sorted((config.parent / POLICY).glob("*.conf"))):
        if path.is_file():
            small[f"{CONFIG}/{path.relative_to(config.parent)}"] = _read(path)
    with ExitStack() as stack:
        pki = settings.pki_directory
        if pki.is_dir():  # no command replaces a key between the files, or between them and the record
            stack.enter_context(rotation.exclusive(pki))
        for path in sorted(settings.state_directory.iterdir()) + sorted(pki.rglob("*")):
            ours = not path.name.startswith((".", DATABASE))
            if ours and path.is_file() and not path.is_symlink():
                small[f"{STATE}/{path.relative_to(settings.state_directory)}"] = _read(path)
        return small, copy_database(settings.database, copy)


def _read(path: Path) -> tuple[bytes, int]:
    if path.stat().st_size > MAX_SMALL:
        raise misconfigured(f"{path} is too large to be one of the agent's files.", "Move it away.")
    return path.read_bytes(), stat.S_IMODE(path.stat().st_mode)


def _results(settings: Settings) -> Iterator[Result]:
    """Every regular file of the jobs' directories; what else jobs have left, such as links, is left out."""
    root = settings.state_directory / "jobs"
    for directory, _, names, descriptor in os.fwalk(root, follow_symlinks=False):
        for name in names:
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue  # retention has removed it meanwhile
            if stat.S_ISREG(status.st_mode):
                path = Path(directory, name)
                yield Result(path, f"{STATE}/jobs/{path.relative_to(root)}", status.st_size)


def _header(
    settings: Settings,
    identity: Identity,
    small: dict[str, tuple[bytes, int]],
    size: int,
    left: list[Result],
    *,
    results: bool,
) -> Header:
    state = settings.state_directory
    return Header(
        format=FORMAT,
        version=__version__,
        db_schema=identity.db_schema,
        made_at=now(),
        host=socket.gethostname()[:255],
        record=identity.record,
        head=identity.head,
        results=results,
        bytes=sum(len(data) for data, _ in small.values()) + size + sum(each.size for each in left),
        files=len(small) + 1 + len(left),
        state_directory=None if state == default_state_directory() else str(state),
    )


def _add(writer: Writer, result: Result) -> bool:
    """Adds a file, with no more than it had; False if its job has made it unreadable.

    One that retention has removed meanwhile is left out.
    """
    try:
        descriptor = os.open(result.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except PermissionError:
        return False
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        size = min(status.st_size, result.size)
        writer.add(result.name, file, size, mode=status.st_mode, mtime=status.st_mtime)
    return True
