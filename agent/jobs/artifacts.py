"""Artifacts: the manifest of the regular files in /artifacts with their SHA-256, and the files themselves.

The program that fills the directory may be hostile and may still be running. The walk goes from one directory
descriptor to the next and follows no link. A file is read only if it is a regular file once it is open.
"""

import asyncio
import hashlib
import logging
import os
import stat
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from pydantic import ValidationError

from ..errors import AgentError, Problem
from ..host.files import write_file
from ..host.tasks import StoppedError, in_thread
from ..host.trees import opened, taken
from ..model.artifact import Artifact, ArtifactManifest
from ..model.base import Model
from ..model.paths import AttemptPaths
from .quota import delete_others

log = logging.getLogger("ml-agent")

MAX_ENTRIES = 10_000  # names of any kind
MAX_DEPTH = 32  # directories; each level of a walk holds a descriptor
MAX_CHARACTERS = 4 * 2**20  # of all paths; without this bound a manifest could have 80 MB
MAX_TOTAL_BYTES = 64 * 2**30  # hashed per manifest; a sparse file is made in no time and hashed in hours
CHUNK_BYTES = 2**20
READ_BYTES = 2**16  # of a file at once, for a client
MAX_SHOWN = 200  # characters of a path in an error message

# Hashing has threads of its own, since large files take long. A job's end does not wait for requests.
REQUESTS = ThreadPoolExecutor(2, "artifacts")
ENDS = ThreadPoolExecutor(2, "artifacts-at-ends")

OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

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


class Stamp(NamedTuple):
    """Differs once a file's bytes have changed: only the kernel sets `ctime_ns`, to the current time."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class Published:
    """An open artifact: `size` bytes of `file`, which hash to `sha256`. The caller closes the file."""

    file: BinaryIO
    size: int
    sha256: str
    media_type: str

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` up to `stop`, in chunks; fewer if the file has become shorter."""
        self.file.seek(start)
        while start < stop:
            data = await asyncio.to_thread(self.file.read, min(READ_BYTES, stop - start))
            if not data:
                return
            yield data
            start += len(data)


class _Record(Model):
    """The content of `manifest.json`: the manifest, and the stamp that each file had when it was hashed."""

    manifest: ArtifactManifest
    stamps: dict[str, Stamp]

    def artifact(self, path: str) -> Artifact | None:
        """The artifact at a path, if it is published."""
        return next((artifact for artifact in self.manifest.artifacts if artifact.path == path), None)


@dataclass
class _Survey:
    """A walk in progress. In `skipped`, a `/` at the end marks a directory that was not walked completely.

    With `flush`, the published files are on disk afterwards, before the record says so.
    """

    stop: threading.Event
    flush: bool
    max_bytes: int = MAX_TOTAL_BYTES
    max_files: int = MAX_ENTRIES
    artifacts: list[Artifact] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    entries: int = 0
    characters: int = 0
    total: int = 0

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
) -> ArtifactManifest:
    """The files that the attempt has left so far, sorted by path; final if it has ended (`complete`).

    `skipped` names what is not published: links, devices, FIFOs, sockets, files that cannot be read, names
    that are not printable (escaped), and everything past the bounds. A name that ends in `/` is a directory
    that was not walked completely. A missing directory is empty. At most `max_bytes` are hashed, in `pool`,
    and at most `max_files` names looked at.

    A complete manifest is kept in `manifest.json` and read from there afterwards. While the disk is full, it
    is made again for each request. `delete_others` deletes what it does not have.
    """
    # At a job's end there usually is none, and to look costs less than a thread.
    kept = complete and attempt.manifest.exists()
    if not kept or (record := await asyncio.to_thread(_load, attempt.manifest)) is None:
        bounds = (min(max_bytes, MAX_TOTAL_BYTES), min(max_files, MAX_ENTRIES))
        record = await in_thread(partial(_record, job_id, attempt, complete, *bounds), pool=pool)
    if delete_others:
        await in_thread(partial(_delete_others, attempt, record), pool=pool)
    return record.manifest


async def open_artifact(attempt: AttemptPaths, path: str) -> Published:
    """The artifact at a path, as in the manifest. Raises `AgentError` (artifact-not-found).

    After a job's end, a file that has changed since is not found. While the job runs, the file is hashed as
    it is now.
    """
    # An unchanged file need not be hashed, nor wait for others that are.
    if published := await in_thread(partial(_published, attempt, path, False), discard=_close):
        return published
    published = await in_thread(partial(_published, attempt, path, True), pool=REQUESTS, discard=_close)
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
) -> _Record:
    survey = _Survey(stop, flush=complete, max_bytes=max_bytes, max_files=max_files)
    try:
        with opened(attempt.artifacts) as descriptor:
            _walk(survey, descriptor, PurePosixPath())
    except FileNotFoundError:
        pass  # the job never began
    except OSError:
        survey.skipped.append("./")  # the job may have taken away its permissions
    record = _Record(
        manifest=ArtifactManifest(
            job_id=job_id,
            complete=complete,
            artifacts=sorted(survey.artifacts, key=lambda artifact: artifact.path),
            skipped=sorted(survey.skipped),
        ),
        stamps=survey.stamps,
    )
    if complete and attempt.artifacts.is_dir():
        _keep(attempt.manifest, record)
    return record


def _delete_others(attempt: AttemptPaths, record: _Record, stop: threading.Event) -> None:
    """Deletes what is not published; then there is room for the record, if there was none."""
    try:
        delete_others(attempt.artifacts, [stamp.inode for stamp in record.stamps.values()], stop)
    except OSError as error:
        log.warning("artifacts of job %s: what is too much stays: %s", record.manifest.job_id, error)
    if not attempt.manifest.exists():
        _keep(attempt.manifest, record)


def _walk(survey: _Survey, directory: int, place: PurePosixPath) -> None:
    """Adds everything below an open directory. `place` is its path."""
    with os.scandir(directory) as entries:
        for entry in entries:
            path = place / entry.name
            survey.entries += 1
            survey.characters += len(_escaped(str(path)))
            if survey.entries > survey.max_files or survey.characters > MAX_CHARACTERS:
                survey.skipped.append(f"{place}/")
                return
            if not entry.name.isprintable():
                survey.skipped.append(_escaped(str(path)))
            elif entry.is_dir(follow_symlinks=False):
                _descend(survey, directory, path)
            elif entry.is_file(follow_symlinks=False):
                _add(survey, directory, path)
            else:
                survey.skipped.append(str(path))
    survey.flushed(directory)


def _descend(survey: _Survey, parent: int, path: PurePosixPath) -> None:
    if len(path.parts) >= MAX_DEPTH:
        survey.skipped.append(f"{path}/")
        return
    try:
        with opened(path.name, parent) as descriptor:
            _walk(survey, descriptor, path)
    except FileNotFoundError:
        pass  # deleted meanwhile
    except OSError:
        survey.skipped.append(f"{path}/")


def _add(survey: _Survey, parent: int, path: PurePosixPath) -> None:
    try:
        with _open_regular(path.name, parent) as file:
            status = os.fstat(file.fileno())
            if survey.total + taken(status) > survey.max_bytes:
                survey.skipped.append(str(path))
                return
            size, sha256 = hash_file(file, status.st_size, survey.stop)
            survey.flushed(file.fileno())
    except FileNotFoundError:
        pass  # deleted meanwhile
    except OSError:
        survey.skipped.append(str(path))
    else:
        survey.total += max(size, taken(status))
        survey.stamps[str(path)] = _stamp(status)
        survey.artifacts.append(
            Artifact(path=str(path), size=size, sha256=sha256, media_type=_media_type(path))
        )


def _published(attempt: AttemptPaths, path: str, hashing: bool, stop: threading.Event) -> Published | None:
    """The artifact, or None if it must be hashed and `hashing` is off."""
    record = _load(attempt.manifest)
    kept = record.artifact(path) if record else None
    if record and not kept:
        raise _not_found(path)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_open_beneath(attempt.artifacts, path))
            status = os.fstat(file.fileno())
            if record and kept and record.stamps.get(path) == _stamp(status):
                size, sha256 = kept.size, kept.sha256
            elif not hashing:
                return None
            else:
                # After a restore from a backup, for example, the stamp differs and the bytes do not.
                size, sha256 = hash_file(file, status.st_size, stop)
        except (OSError, ValueError) as error:
            raise _not_found(path) from error
        if kept and sha256 != kept.sha256:
            raise AgentError(
                Problem.ARTIFACT_NOT_FOUND,
                "The file was changed after the job ended.",
                "Run the job again.",
            )
        file.seek(0)
        stack.pop_all()
    return Published(file, size, sha256, _media_type(PurePosixPath(path)))


def _open_beneath(directory: Path, path: str) -> BinaryIO:
    """Opens a regular file by its path, one directory after the other. Raises `OSError` or `ValueError`."""
    *parents, name = path.split("/")
    odd = not path.isprintable() or not {"", ".", ".."}.isdisjoint((*parents, name))
    if odd or len(parents) >= MAX_DEPTH:
        raise ValueError("not a path beneath the directory")
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
    raise OSError("not a regular file")


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


def _load(path: Path) -> _Record | None:
    """The kept record; None if there is none, or none that can be read."""
    try:
        return _Record.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _keep(path: Path, record: _Record) -> None:
    """Keeps a record, unless the disk is full."""
    data = record.model_dump_json(indent=1).encode()
    with suppress(OSError):
        write_file(path, data, mode=0o600, replace=True, parents=False)


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _media_type(path: PurePosixPath) -> str:
    return MEDIA_TYPES.get(path.suffix.lower(), DEFAULT_MEDIA_TYPE)


def _escaped(name: str) -> str:
    """Printable text for any file name, with Python's escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in name
    )


def _not_found(path: str) -> AgentError:
    shown = path if len(path) <= MAX_SHOWN else path[:MAX_SHOWN] + "…"
    return AgentError(
        Problem.ARTIFACT_NOT_FOUND,
        f"There is no artifact {shown!a}.",
        "GET /jobs/{id}/artifacts, or `ml-job artifacts`, shows what there is.",
    )
