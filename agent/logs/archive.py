"""The archived log of a job that has ended: a file of its own, which outlives the journal's rotation.

The file is gzip (RFC 1952) of JSON lines, and `zcat` shows it. It consists of independent members. A subfield
`ml` in a member's header tells the member's length and which lines it has, so that a reader finds any line
without decompressing the members before it.
"""

import asyncio
import json
import os
import re
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import AgentError, host_failed
from ..host.files import publish
from ..model.base import format_milliseconds
from ..model.log import GapCause, LogSource, LogStream
from .lines import Gap, Item, Line, Position

BLOCK_ITEMS = 4096
BLOCK_BYTES = 1 << 20
PORTION = 1 << 16  # bytes of a member that are read, and of its text, at a time

# A member's header: magic, deflate, FEXTRA; no time; no flags; unknown system; then one subfield with the
# member's length in bytes, the number of its last line, and how many lines in it are the job's own.
HEADER = struct.Struct("<4sIBBH2sHIQI")
MAGIC = b"\x1f\x8b\x08\x04"
SUBFIELD = (b"ml", struct.calcsize("<IQI"))
TRAILER = struct.Struct("<II")
SURROGATE = re.compile("[\udc80-\udcff]")  # half of a pair, in place of a byte


@dataclass(frozen=True)
class Block:
    """A member: its place in bytes, the number of the last line up to its end, and its count of job lines."""

    offset: int
    size: int
    last: int
    job_lines: int


async def write(path: Path, batches: AsyncIterator[list[Item]]) -> None:
    """Writes a log, which appears whole and durably or not at all. Raises `OSError`, as for a full disk."""
    partial = path.with_name(f"{path.name}.new")
    gathered: list[Item] = []
    size = last = 0
    mode = "wb"
    try:
        async for items in batches:
            for item in items:
                gathered.append(item)
                size += len(item.text) if isinstance(item, Line) else 0
                last = item.position.number
                if len(gathered) >= BLOCK_ITEMS or size >= BLOCK_BYTES:
                    await asyncio.to_thread(_append, partial, mode, gathered, last)
                    # "r+b" never creates the file: the thread of a cancelled writer could do so afterwards.
                    gathered, size, mode = [], 0, "r+b"
        await asyncio.to_thread(_append, partial, mode, gathered, last, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


async def read(path: Path, after: Position, *, newest: int | None = None) -> AsyncGenerator[list[Item]]:
    """The log behind a position, which may come from the journal: the numbers are the same.

    With `newest`, members before the last `newest` job lines are skipped. Raises `FileNotFoundError`, and
    `AgentError` (host) if the file is damaged.
    """
    behind = _Behind(after)
    with path.open("rb") as file:
        for block in await asyncio.to_thread(_wanted, file, after.number, newest):
            await asyncio.to_thread(_check, file, block)
            portions = _portions(file, block)
            while (items := await asyncio.to_thread(next, portions, None)) is not None:
                yield behind.select(items)
    yield behind.held


class _Behind:
    """Selects the items of a log that are behind a position.

    A gap at a forgotten beginning has the number 0 and no cursor, like the position of a new reader.
    """

    def __init__(self, after: Position) -> None:
        self._after = after
        self._met = False
        self.held: list[Item] = []  # gaps: whether they are behind the position depends on what follows

    def select(self, items: list[Item]) -> list[Item]:
        """The next items, without those before the position and those that are held."""
        number = self._after.number
        if items and items[0].position.number > number:
            found = self.held + items
            self.held = []
            return found
        found = []
        for item in items:
            if item.position.number > number:
                found += [*self.held, item]
                self.held = []
            elif self._after.cursor and item.position == self._after and not self._met:
                self._met = True
                self.held = []
            elif item.position.number == number and isinstance(item, Gap):
                # A gap has the number of the line before it, so only the cursor tells which one was seen. A
                # gap at the end, or where the journal was vacuumed, even has the cursor of that line.
                self.held.append(item)
        return found


def _append(partial: Path, mode: str, items: list[Item], last: int, path: Path | None = None) -> None:
    """Appends a member. If `path` is given, it is the last one, and the file is published there."""
    text = "".join(_encoded(item) for item in items).encode()
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = compressor.compress(text) + compressor.flush()
    size = HEADER.size + len(body) + TRAILER.size
    job_lines = sum(isinstance(item, Line) and item.source is LogSource.JOB for item in items)
    extra = SUBFIELD[1] + 4  # with the subfield's own name and length
    with partial.open(mode) as file:
        file.seek(0, os.SEEK_END)
        file.write(HEADER.pack(MAGIC, 0, 0, 255, extra, *SUBFIELD, size, last, job_lines))
        file.write(body)
        file.write(TRAILER.pack(zlib.crc32(text), len(text) & 0xFFFFFFFF))
    if path is not None:
        publish(partial, path)


def _encoded(item: Item) -> str:
    """One JSON line. Bytes that are not UTF-8 become lone surrogates (PEP 383), which restores them."""
    values: dict[str, Any]
    if isinstance(item, Line):
        text = item.text.decode("utf-8", "surrogateescape")
        values = {"number": item.number, "time": format_milliseconds(item.time), "source": item.source}
        values |= {"stream": item.stream} if item.stream else {}
        values |= {"text": text, "continued": True} if item.continued else {"text": text}
    else:
        values = {"after": item.after, "time": format_milliseconds(item.time)}
        values |= {} if item.dropped is None else {"count": item.dropped}
        values |= {} if item.cause is None else {"cause": item.cause}
    values["cursor"] = item.cursor
    ascii_only = SURROGATE.search(values.get("text", "")) is not None
    return json.dumps(values, separators=(",", ":"), ensure_ascii=ascii_only) + "\n"


def _decoded(values: dict[str, Any]) -> Item:
    time = round(datetime.fromisoformat(values["time"]).timestamp() * 1000)
    if "after" in values:
        cause = GapCause(values["cause"]) if values.get("cause") in list(GapCause) else None
        return Gap(values["after"], time, values["cursor"], cause, values.get("count"))
    text = values["text"].encode("utf-8", "surrogateescape")
    source, continued = LogSource(values["source"]), values.get("continued", False)
    stream = LogStream(values["stream"]) if "stream" in values else None
    return Line(values["number"], time, source, text, values["cursor"], continued, stream)


def _wanted(file: BinaryIO, number: int, newest: int | None) -> list[Block]:
    blocks = list(_blocks(file))
    if newest is not None:
        counted, first = 0, len(blocks)
        while first and counted < newest:
            first -= 1
            counted += blocks[first].job_lines
        blocks = blocks[first:]
    return [block for block in blocks if block.last >= number]


def _blocks(file: BinaryIO) -> Iterator[Block]:
    offset = 0
    end = file.seek(0, os.SEEK_END)
    while offset < end:
        file.seek(offset)
        header = file.read(HEADER.size)
        if len(header) < HEADER.size or not header.startswith(MAGIC):
            raise _damaged(file)
        *_, size, last, job_lines = HEADER.unpack(header)
        if size <= HEADER.size + TRAILER.size or offset + size > end:
            raise _damaged(file)
        yield Block(offset, size, last, job_lines)
        offset += size


def _check(file: BinaryIO, block: Block) -> None:
    """Raises `AgentError` if the member's checksum is not that of its text: no line of it is read then."""
    for _ in _texts(file, block):
        pass


def _portions(file: BinaryIO, block: Block) -> Iterator[list[Item]]:
    """A member's items, some at a time: what a client does not read is not in memory."""
    rest = b""
    for text in _texts(file, block):
        whole, newline, rest = (rest + text).rpartition(b"\n")
        try:
            if newline:
                yield [_decoded(values) for values in json.loads(b"[%s]" % whole.replace(b"\n", b","))]
        except (ValueError, LookupError) as error:
            raise _damaged(file) from error
    if rest:
        raise _damaged(file)


def _texts(file: BinaryIO, block: Block) -> Iterator[bytes]:
    """A member's text, at most `PORTION` bytes at a time."""
    file.seek(block.offset)
    left, decompressor = block.size, zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        while not decompressor.eof:
            data = decompressor.unconsumed_tail or file.read(min(left, PORTION))
            left -= 0 if decompressor.unconsumed_tail else len(data)
            text = decompressor.decompress(data, PORTION)
            if not (data or text):
                raise _damaged(file)
            yield text
    except zlib.error as error:
        raise _damaged(file) from error


def _damaged(file: BinaryIO) -> AgentError:
    return host_failed(f"The archived log {file.name} is damaged.", "Restore the file from a backup.")
