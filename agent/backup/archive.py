"""The file of a backup: a compressed tar of regular files, with the SHA-256 of each in its last member.

The first member says what the file is, so that one which does not fit is refused before anything is read.
Nothing of the file is trusted: names, sizes and kinds are checked before a byte is written. The sums protect
against damage. They do not protect against somebody who can change the file, as the sums are in it, too.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from pydantic import Field, ValidationError

from ..errors import AgentError, invalid_request
from ..model.base import Model, Time

FORMAT = 1
HEADER, SUMS = "backup.json", "sha256.json"
STATE, CONFIG = "state", "config"  # the two directories of members

LEVEL = 3  # of gzip; artifacts are often compressed already
CHUNK = 2**20
MAX_HEADER = 2**16
MAX_SUMS = 2**28
MAX_NAME = 4000  # bytes
MAX_PART = 255  # bytes of a name between slashes
MAX_BETWEEN = 2**20  # bytes of tar between the contents of two members
KEPT_BITS = 0o755

Progress = Callable[[int], None]  # is told the bytes of contents so far


class Readable(Protocol):
    """What is asked of an open file."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end."""


class Header(Model):
    """What a backup is. `bytes` and `files` are the most that its members have together.

    `record` names the database's history, `head` is the audit's. `state_directory` is where the account's
    configuration puts the state, if it says so.
    """

    format: int
    version: str
    db_schema: int
    made_at: Time
    host: str = Field(max_length=255)
    record: str = Field(max_length=64)
    head: str = Field(max_length=100)
    results: bool
    bytes: int = Field(ge=0)
    files: int = Field(ge=0)
    state_directory: str | None = Field(default=None, max_length=4096)


class Writer:
    """Writes members, then `finish`. Raises `OSError`."""

    def __init__(self, out: BinaryIO, header: Header, progress: Progress) -> None:
        self._zip = gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=LEVEL, mtime=0)
        self._tar = tarfile.open(fileobj=self._zip, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._sums: dict[str, tuple[int, str]] = {}
        self._progress, self._done = progress, 0
        self.add_bytes(HEADER, header.model_dump_json().encode())

    def add_bytes(self, name: str, data: bytes, *, mode: int = 0o600, mtime: float = 0) -> None:
        """A member with that content."""
        self.add(name, io.BytesIO(data), len(data), mode=mode, mtime=mtime)

    def add(self, name: str, file: Readable, size: int, *, mode: int = 0o600, mtime: float = 0) -> None:
        """A member with the first `size` bytes of a file. Raises `OSError` where it has fewer."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, mode & KEPT_BITS, int(mtime)
        hashed = _Hashed(file, self._count)
        self._tar.addfile(info, hashed)  # type: ignore[arg-type]  # which only reads
        self._sums[name] = (size, hashed.digest.hexdigest())

    def finish(self) -> None:
        """Adds the sums and ends the file."""
        data = json.dumps(self._sums).encode()
        if len(data) > MAX_SUMS:
            raise invalid_request("There are too many files for one backup.", "Leave out --results.")
        info = tarfile.TarInfo(SUMS)
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))
        self._tar.close()
        self._zip.close()

    def _count(self, more: int) -> None:
        self._done += more
        self._progress(self._done)


@dataclass
class _Hashed:
    file: Readable
    count: Callable[[int], None]
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def read(self, size: int, /) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        self.count(len(data))
        return data


@dataclass
class _Counted:
    """A stream of which a parser may read only so much at once, such as the headers of a tar."""

    stream: Readable
    left: int = MAX_BETWEEN

    def read(self, size: int, /) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise damaged("what is between two of its files is too long")
        return data


class Reader:
    """Reads the header; then `extract` writes the members below a directory, and checks all sums.

    Raises `AgentError` (invalid-request) where the file is damaged or is no backup.
    """

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._zip = gzip.GzipFile(fileobj=file, mode="rb")
        self._counted = _Counted(self._zip)
        self._progress, self._done = progress, 0
        self._sums: dict[str, list[object]] = {}
        with damage():
            self._tar: tarfile.TarFile = tarfile.open(fileobj=self._counted, mode="r|")  # type: ignore[call-overload]  # noqa: SIM115
            member = self._next()
            if member is None or member.name != HEADER:
                raise damaged("it is no backup of an agent")
            data = self._small(member, MAX_HEADER)
        self.header = _header(data)

    def extract(self, directory: Path) -> None:
        """Writes every member below an empty directory of ours. Where this raises, the caller removes it."""
        with damage():
            while (member := self._next()) is not None:
                if member.name == SUMS:
                    self._compare(json.loads(self._small(member, MAX_SUMS)))
                    self._end()
                    return
                self._write(member, directory)
        raise damaged("its end is missing")

    def _next(self) -> tarfile.TarInfo | None:
        self._counted.left = MAX_BETWEEN
        member: tarfile.TarInfo | None = self._tar.next()
        if member is not None and (member.type != tarfile.REGTYPE or member.issparse() or member.size < 0):
            raise damaged(f"{member.name!r} is no regular file")
        return member

    def _contents(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        file = self._tar.extractfile(member)
        assert file is not None
        left = member.size
        while left:
            self._counted.left = 2 * CHUNK
            if not (data := file.read(min(CHUNK, left))):
                raise damaged("it ends too early")
            left -= len(data)
            yield data

    def _small(self, member: tarfile.TarInfo, limit: int) -> bytes:
        if member.size > limit:
            raise damaged(f"{member.name} is too long")
        data = b"".join(self._contents(member))
        if member.name != SUMS:
            self._sums[member.name] = [len(data), hashlib.sha256(data).hexdigest()]
        return data

    def _write(self, member: tarfile.TarInfo, directory: Path) -> None:
        name = checked(member.name)
        if name in self._sums:
            raise damaged(f"{name!r} is in it twice")
        if len(self._sums) > self.header.files or self._done + member.size > self.header.bytes:
            raise damaged("it has more than it says")
        path, digest = directory / name, hashlib.sha256()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = member.mode & KEPT_BITS | 0o600
        # The directory is ours, and nothing but files and directories is made in it: no link is followed.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as out:
            for data in self._contents(member):
                digest.update(data)
                out.write(data)
                self._done += len(data)
                self._progress(self._done)
            out.flush()
            os.utime(out.fileno(), (member.mtime, member.mtime))
            os.fsync(out.fileno())
        self._sums[name] = [member.size, digest.hexdigest()]

    def _compare(self, wanted: object) -> None:
        if not isinstance(wanted, dict):
            raise damaged("its list of sums is none")
        for name in sorted(wanted.keys() | self._sums.keys()):
            if name not in self._sums or wanted.get(name) != self._sums[name]:
                raise damaged(f"{name!r} is missing, too much, or differs from its SHA-256")

    def _end(self) -> None:
        """Reads what follows the last member, so that gzip checks its own sum."""
        self._counted.left = MAX_BETWEEN
        if self._tar.next() is not None:
            raise damaged("something follows its end")
        while self._counted.read(CHUNK):
            pass


def checked(name: str) -> str:
    """The name of a member, if it can only be below the directory. Raises `AgentError`."""
    parts = name.split("/")
    encoded = [part.encode("utf-8", "surrogateescape") for part in parts]
    wrong = (
        len(parts) < 2
        or parts[0] not in (STATE, CONFIG)
        or any(part in ("", ".", "..") or "\0" in part for part in parts)
        or any(len(part) > MAX_PART for part in encoded)
        or sum(map(len, encoded)) + len(parts) > MAX_NAME
    )
    if wrong:
        raise damaged(f"{name[:100]!r} is no name of a file in a backup")
    return name


def _header(data: bytes) -> Header:
    try:
        told = json.loads(data)
        if isinstance(told, dict) and told.get("format", FORMAT) != FORMAT:
            raise invalid_request(
                f"The backup has format {told['format']!r}; this agent reads format {FORMAT}.",
                "Install the agent version that made it, or a newer one.",
            )
        return Header.model_validate(told)
    except (ValueError, ValidationError) as error:
        raise damaged("its first file cannot be read") from error


def damaged(why: str) -> AgentError:
    """For a file that is not as a backup was written."""
    return invalid_request(f"The backup is damaged: {why}.", "Nothing was changed. Use another copy of it.")


@contextmanager
def damage() -> Iterator[None]:
    """Turns what the decoders raise into `AgentError`. An error of the disk stays what it is."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(f"it cannot be decoded ({error or 'it ends too early'})") from error
    except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise damaged("one name in it is that of a file and of a directory") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise damaged(f"it cannot be decoded ({error})") from error
