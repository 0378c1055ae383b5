"""Artifacts: the walk that lists and hashes the regular files in /artifacts, and the files themselves.

The program that fills the directory may be hostile and may still be running. The walk goes from one directory
descriptor to the next and follows no link. A file is read only if it is a regular file once it is open.
"""

import asyncio
import hashlib
import os
import stat
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import quote

from ..errors import AgentError, Problem
from ..host.tasks import StoppedError, in_thread
from ..host.trees import opened, taken
from ..log import log
from ..model.artifact import Artifact, escape_name, unescape_name
from ..model.paths import AttemptPaths
from ..model.script import LeftOut
from .manifest import MAX_SHOWN, Record, Stamp, head_of, line_of, open_record, write_record
from .quota import MAX_DEPTH, delete_others

MAX_ENTRIES = 10_000  # names of any kind
MAX_PATH_BYTES = 4 * 2**20  # of all paths: bounds the list of a job
MAX_ADDRESS = 8000  # bytes of a path in a URL: the server reads a request line of 8190
MAX_TOTAL_BYTES = 64 * 2**30  # hashed per manifest; a sparse file is made in no time and hashed in hours
CHUNK_BYTES = 2**20
READ_BYTES = 2**16  # of a file at once, for a client

# Hashing has threads of its own, since large files take long. A job's end does not wait for requests.
REQUESTS = ThreadPoolExecutor(2, "artifacts")
ENDS = ThreadPoolExecutor(2, "artifacts-at-ends")

OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

DEFAULT_MEDIA_TYPE = "application/octet-stream"
MEDIA_TYPES = {
    ".csv": "text/csv",
    ".gz": "application/gzip",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".zip": "application/zip",
}


@dataclass(frozen=True)
class Published:
    """An open artifact: `size` bytes of `file`, which hash to `sha256`. The caller closes the file.

    `sha256` is None while the job runs, and may write the file anew at any moment.
    """

    file: BinaryIO
    size: int
    sha256: str | None
    media_type: str
    stamp: Stamp

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` up to `stop`, in chunks.

        Fewer if the file has become shorter, or is no longer the one that `sha256` is of.
        """
        self.file.seek(start)
        while start < stop:
            data = await asyncio.to_thread(self._next, min(READ_BYTES, stop - start))
            if not data:
                return
            yield data
            start += len(data)

    def _next(self, size: int) -> bytes:
        data = self.file.read(size)
        changed = self.sha256 is not None and Stamp.of(os.fstat(self.file.fileno())) != self.stamp
        return b"" if changed else data


@dataclass
class _Survey:
    """A walk in progress. With `flush`, what is published is on the disk before the record says so."""

    stop: threading.Event
    flush: bool
    max_bytes: int
    max_files: int
    lines: dict[str, bytes] = field(default_factory=dict)  # of the record, by the path of the artifact
    left_out: list[LeftOut] = field(default_factory=list)
    entries: int = 0
    path_bytes: int = 0
    total: int = 0

    def leave_out(self, path: str, reason: str) -> None:
        """Notes why a path is not published."""
        shown = path if len(path) <= MAX_SHOWN else path[:MAX_SHOWN] + "…"
        self.left_out.append(LeftOut(path=shown, reason=reason))

    def count(self, path: str) -> str | None:
        """Counts a name; why neither it nor what follows is published, if that exceeds a bound."""
        if self.stop.is_set():
            raise StoppedError
        self.entries += 1
        self.path_bytes += len(path.encode())
        if self.entries > self.max_files:
            return f"has more than the {self.max_files} names that are published of a job"
        if self.path_bytes > MAX_PATH_BYTES:
            return f"has more than the {MAX_PATH_BYTES} bytes of paths that are published of a job"
        return None

    def flushed(self, descriptor: int) -> None:
        """Syncs an open file or directory, if this walk does. Where that fails, the digest will tell."""
        if self.flush:
            with suppress(OSError):
                os.fsync(descriptor)


async def manifest(
    job_id: str,
    attempt: AttemptPaths,
    *,
    complete: bool,
    max_bytes: int = MAX_TOTAL_BYTES,
    max_files: int = MAX_ENTRIES,
    delete_others: bool = False,
    pool: Executor = REQUESTS,
) -> Record:
    """The files that the attempt has left so far; final if it has ended (`complete`). The caller closes it.

    Every regular file is published, whatever its name is. What is left out has its reason: links, devices,
    FIFOs, sockets, what cannot be read, and everything past the bounds. A missing directory is empty. At most
    `max_bytes` are hashed, in `pool`, and at most `max_files` names looked at.

    A complete record is kept in `manifest.json` and read from there afterwards. While the disk is full, it is
    made again for each request. `delete_others` deletes what it does not have.
    """
    # At a job's end there usually is none, and to look costs less than a thread.
    kept = complete and attempt.manifest.exists()
    record = await asyncio.to_thread(open_record, attempt.manifest) if kept else None
    if record is None:
        bounds = (min(max_bytes, MAX_TOTAL_BYTES), min(max_files, MAX_ENTRIES))
        survey = partial(_record, job_id, attempt, complete, *bounds)
        record = await in_thread(survey, pool=pool, discard=Record.close)
    with ExitStack() as unless_returned:
        unless_returned.callback(record.close)
        if delete_others:
            await in_thread(partial(_delete_others, attempt, record), pool=pool)
        unless_returned.pop_all()
    return record


async def open_artifact(attempt: AttemptPaths, path: str, *, complete: bool) -> Published:
    """The artifact at a path, as in the manifest. Raises `AgentError` (artifact-not-found).

    `complete`: the job has ended. Then a file that has changed since is not found. Before, it has no digest.
    """
    # An unchanged file need not be hashed, nor wait for others that are.
    look = partial(_published, attempt, path, complete)
    if published := await in_thread(partial(look, False), discard=_close):
        return published
    published = await in_thread(partial(look, True), pool=REQUESTS, discard=_close)
    assert published is not None
    return published


def _close(published: Published | None) -> None:
    if published is not None:
        published.file.close()


def _record(
    job_id: str,
    attempt: AttemptPaths,
    complete: bool,
    max_bytes: int,
    max_files: int,
    stop: threading.Event,
) -> Record:
    survey = _Survey(stop, flush=complete, max_bytes=max_bytes, max_files=max_files)
    try:
        with opened(attempt.artifacts) as descriptor:
            _walk(survey, descriptor, "")
    except FileNotFoundError:
        pass  # the job never began
    except OSError as error:  # the job may have taken away its permissions
        survey.leave_out("./", _unreadable(error))
    return write_record(
        attempt.manifest,
        head_of(job_id, survey.left_out, complete=complete),
        survey.lines,
        keep=complete and attempt.artifacts.is_dir(),
    )


def _delete_others(attempt: AttemptPaths, record: Record, stop: threading.Event) -> None:
    """Deletes what is not published; then there is room for the record, if there was none."""
    try:
        delete_others(attempt.artifacts, record.inodes(), stop)
    except OSError as error:
        log.warning("artifacts of job %s: what is too much stays: %s", record.head.job_id, error)
    if not attempt.manifest.exists():
        record.keep(attempt.manifest)


def _walk(survey: _Survey, directory: int, above: str) -> None:
    """Adds everything below an open directory. `above` begins the paths of what is in it."""
    with os.scandir(directory) as entries:
        names = [entry.name for entry in islice(entries, survey.max_files + 1)]
    for name in names:
        path = above + escape_name(os.fsencode(name))
        if bound := survey.count(path):
            survey.leave_out(above or "./", bound)
            return
        _visit(survey, directory, name, path)
    survey.flushed(directory)


def _visit(survey: _Survey, directory: int, name: str, path: str) -> None:
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            path += "/"
            _descend(survey, directory, name, path)
        elif stat.S_ISREG(mode):
            _add(survey, directory, name, path)
        else:
            survey.leave_out(path, f"is {KINDS.get(stat.S_IFMT(mode), 'no regular file')}")
    except FileNotFoundError:
        pass  # deleted meanwhile
    except OSError as error:
        survey.leave_out(path, _unreadable(error))


def _descend(survey: _Survey, parent: int, name: str, path: str) -> None:
    if path.count("/") > MAX_DEPTH:
        survey.leave_out(path, f"is nested more than {MAX_DEPTH} directories deep")
        return
    with opened(name, parent) as descriptor:
        _walk(survey, descriptor, path)


def _add(survey: _Survey, parent: int, name: str, path: str) -> None:
    if len(quote(path)) > MAX_ADDRESS:
        survey.leave_out(path, f"has a path of more than {MAX_ADDRESS} bytes in a URL")
        return
    with _open_regular(name, parent) as file:
        status = os.fstat(file.fileno())
        if survey.total + taken(status) > survey.max_bytes:
            survey.leave_out(path, f"exceeds the {survey.max_bytes} bytes that are published of a job")
            return
        size, sha256 = hash_file(file, status.st_size, survey.stop)
        survey.flushed(file.fileno())
    survey.total += max(size, taken(status))
    artifact = Artifact(path=path, size=size, sha256=sha256, media_type=_media_type(path))
    survey.lines[path] = line_of(artifact, Stamp.of(status))


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"


def _published(
    attempt: AttemptPaths, path: str, complete: bool, hashing: bool, stop: threading.Event
) -> Published | None:
    """The artifact, or None if it must be hashed and `hashing` is off."""
    kept = None
    if record := open_record(attempt.manifest):
        with closing(record):
            kept = record.find(path)
        if kept is None:
            raise _not_found(path)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_beneath(attempt.artifacts, path))
            stamp = Stamp.of(os.fstat(file.fileno()))
            size, sha256 = stamp.size, None
            if kept and kept[1] == stamp:
                sha256 = kept[0].sha256
            elif kept or complete:
                if not hashing:
                    return None
                # After a restore from a backup, for example, the stamp differs and the bytes do not.
                size, sha256 = hash_file(file, size, stop)
        except (OSError, ValueError) as error:
            raise _not_found(path) from error
        if kept and sha256 != kept[0].sha256:
            raise AgentError(
                Problem.ARTIFACT_NOT_FOUND,
                "The file was changed after the job ended.",
                "Run the job again.",
            )
        file.seek(0)
        stack.pop_all()
    return Published(file, size, sha256, _media_type(path), stamp)


def open_beneath(directory: Path, path: str) -> BinaryIO:
    """Opens a regular file by its path in a list of artifacts, one directory after the other.

    Raises `OSError` or `ValueError`.
    """
    *parents, name = (os.fsdecode(unescape_name(part)) for part in path.split("/", MAX_DEPTH + 1))
    if len(parents) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    with ExitStack() as stack:
        descriptor = stack.enter_context(opened(directory))
        for part in parents:
            descriptor = stack.enter_context(opened(part, descriptor))
        return _open_regular(name, descriptor)


def _open_regular(name: str, parent: int) -> BinaryIO:
    # O_NONBLOCK: opening a FIFO in place of the file must not wait for a writer.
    descriptor = os.open(name, OPEN_FILE, dir_fd=parent)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError("it is no regular file any more")


def hash_file(file: BinaryIO, size: int, stop: threading.Event) -> tuple[int, str]:
    """The number of bytes and the SHA-256 of the first `size` bytes: the file may grow without end."""
    digest = hashlib.sha256()
    done = 0
    while done < size and (chunk := file.read(min(CHUNK_BYTES, size - done))):
        if stop.is_set():
            raise StoppedError
        digest.update(chunk)
        done += len(chunk)
    return done, digest.hexdigest()


def _media_type(path: str) -> str:
    return MEDIA_TYPES.get(PurePosixPath(path).suffix.lower(), DEFAULT_MEDIA_TYPE)


def _not_found(path: str) -> AgentError:
    shown = path if len(path) <= MAX_SHOWN else path[:MAX_SHOWN] + "…"
    return AgentError(
        Problem.ARTIFACT_NOT_FOUND,
        f"There is no artifact {shown!a}.",
        "GET /jobs/{id}/artifacts, or `ml-job artifacts`, shows what there is.",
    )
