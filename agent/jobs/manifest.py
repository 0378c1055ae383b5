"""The record of an attempt's artifacts: one is found, and all are sent, without having them all in memory.

The first line is the head. Each other line is `[artifact,stamp]` in JSON, in the order of their paths.
"""

import asyncio
import json
import os
import tempfile
from bisect import bisect_left
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple, Self

from pydantic import ValidationError

from ..host.files import write_file
from ..model.artifact import Artifact, ArtifactManifest, escape_path
from ..model.base import Model
from ..model.script import LeftOut

MAX_LEFT_OUT = 100  # of what is not published, in the answer
MAX_SHOWN = 300  # characters of a path that is not published, and of one in an error message
PIECE_BYTES = 2**16
IN_MEMORY = 2**18  # bytes of a record that is not kept; a larger one is in a file without a name


class Stamp(NamedTuple):
    """Differs once a file's bytes have changed: only the kernel sets `ctime_ns`, to the current time."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """The stamp that a file has now."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class _Head(Model):
    """The first line: the manifest without its artifacts, and how many bytes follow."""

    bytes: int
    manifest: ArtifactManifest


class _EarlierRecord(Model):
    """What earlier versions have left: one JSON document, in whose paths nothing is escaped."""

    manifest: ArtifactManifest
    stamps: dict[str, Stamp]


@dataclass(frozen=True)
class Record:
    """An open record: `head` is the manifest without artifacts, `start` the place of the first one's line."""

    file: IO[bytes]
    head: ArtifactManifest
    start: int
    end: int

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def find(self, path: str) -> tuple[Artifact, Stamp] | None:
        """The artifact at a path, and the stamp that its file had; None if there is none."""
        # Bisects the bytes of the file: the further the place, the greater is the path of the next line.
        place = bisect_left(range(self.end), (False, path), self.start, key=self._path_from)
        line = self._line_from(place)
        if not line:
            return None
        artifact, stamp = json.loads(line)
        return (Artifact(**artifact), Stamp(*stamp)) if artifact["path"] == path else None

    def _path_from(self, place: int) -> tuple[bool, str]:
        """The path in the first line that begins there or later; behind all paths if there is none."""
        line = self._line_from(place)
        return (False, json.loads(line)[0]["path"]) if line else (True, "")

    def _line_from(self, place: int) -> bytes:
        self.file.seek(place - 1)
        self.file.readline()
        return self.file.readline()

    def inodes(self) -> list[int]:
        """The inodes that the files of all artifacts had."""
        self.file.seek(self.start)
        return [json.loads(line)[1][0] for line in self.file]

    def keep(self, path: Path) -> None:
        """Keeps a record that had no room on the disk before, if there is some now."""
        self.file.seek(0)
        with suppress(OSError):
            write_file(path, self.file.read(), mode=0o600, replace=True, parents=False)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The whole manifest as JSON, in pieces of about 64 KiB."""
        yield self.head.model_dump_json().encode().removesuffix(b"]}")
        self.file.seek(self.start)
        separator = b""
        while lines := await asyncio.to_thread(self.file.readlines, PIECE_BYTES):
            yield separator + b",".join(line[1 : line.rindex(b",[")] for line in lines)
            separator = b","
        yield b"]}"


def open_record(path: Path) -> Record | None:
    """The record that is kept there; None if there is none, or none that can be read."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            first = file.readline()
            head = _Head.model_validate_json(first)
        except OSError:
            return None
        except ValidationError:
            file.seek(0)
            return _convert(path, file.read())
        end = len(first) + head.bytes
        if os.fstat(file.fileno()).st_size != end:
            return None
        stack.pop_all()
        return Record(file, head.manifest, len(first), end)


def write_record(path: Path, manifest: ArtifactManifest, lines: dict[str, bytes], *, keep: bool) -> Record:
    """The record of a manifest with the lines of its artifacts, by their paths.

    With `keep`, it is on the disk, unless that is full.
    """
    size = sum(map(len, lines.values()))
    first = _Head(bytes=size, manifest=manifest).model_dump_json().encode() + b"\n"
    data = b"".join([first, *(lines[path] for path in sorted(lines))])
    return Record(_written(path, data, keep=keep), manifest, len(first), len(data))


def line_of(artifact: Artifact, stamp: Stamp) -> bytes:
    """The line of an artifact in a record."""
    numbers = json.dumps(stamp, separators=(",", ":"))
    return f"[{artifact.model_dump_json()},{numbers}]\n".encode()


def _written(path: Path, data: bytes, *, keep: bool) -> IO[bytes]:
    """An open file with these bytes: without a name if it is not kept, in memory if the disk is full."""
    with suppress(OSError):
        if keep:
            write_file(path, data, mode=0o600, replace=True, parents=False)
            return path.open("rb")
        if len(data) > IN_MEMORY:
            with ExitStack() as stack:
                file = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
                file.write(data)
                file.flush()
                stack.pop_all()
                return file
    return BytesIO(data)


def _convert(path: Path, data: bytes) -> Record | None:
    """The record of an earlier version in the form of this one, kept in its place; None if it is damaged."""
    try:
        earlier = _EarlierRecord.model_validate_json(data)
    except ValidationError:
        return None
    names = earlier.manifest.skipped
    lines = {}
    for artifact in earlier.manifest.artifacts:
        if stamp := earlier.stamps.get(artifact.path):
            escaped = artifact.model_copy(update={"path": escape_path(artifact.path)})
            lines[escaped.path] = line_of(escaped, stamp)
    left_out = [LeftOut(path=name, reason="was not published by an earlier version") for name in names]
    head = head_of(earlier.manifest.job_id, left_out, complete=True)
    return write_record(path, head, lines, keep=True)


def head_of(job_id: str, left_out: Sequence[LeftOut], *, complete: bool) -> ArtifactManifest:
    """A manifest without artifacts, with the first of what is left out."""
    shown = sorted(left_out, key=lambda each: each.path)[:MAX_LEFT_OUT]
    return ArtifactManifest(
        job_id=job_id,
        complete=complete,
        skipped=[each.path for each in shown],
        left_out=shown,
        left_out_count=len(left_out),
        artifacts=[],
    )
