"""The log of a job that has ended, in a file of its own, so that it outlives the journal's rotation.

The file is gzip (RFC 1952) of JSON lines: `zcat` shows it. It is made of independent members, each with a
subfield `ml` in its header that says how long the member is and what is in it, so that a reader finds any
line, and the last ones, without decompressing what is before them.
"""

import asyncio
import json
import os
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from .errors import AgentError, Problem
from .journal import Position
from .models import LogGap, LogLine, LogSource

Item = LogLine | LogGap

NAME = "log.gz"  # in the job's directory, beside its artifacts
BLOCK_ITEMS = 4096
BLOCK_CHARACTERS = 1 << 20

# A member's header: magic, deflate, FEXTRA; no time; no flags; unknown system; then one subfield with the
# member's length in bytes, the number of its last line (of all lines so far), and its count of job lines.
HEADER = struct.Struct("<4sIBBH2sHIQI")
MAGIC = b"\x1f\x8b\x08\x04"
SUBFIELD = (b"ml", struct.calcsize("<IQI"))
TRAILER = struct.Struct("<II")


@dataclass(frozen=True)
class Block:
    """Where a member is, the number of the last line in it or before it, and how many job lines it has."""

    offset: int
    size: int
    last: int
    job_lines: int


async def write(path: Path, items: AsyncIterator[Item]) -> None:
    """Keeps a log, which appears whole and synced, or not at all. Raises `OSError`, as for a full disk."""
    partial = path.with_name(f"{path.name}.new")
    try:
        with partial.open("wb") as file:
            gathered: list[Item] = []
            characters = last = 0
            async for item in items:
                gathered.append(item)
                characters += len(item.text) if isinstance(item, LogLine) else 0
                last = _number(item)
                if len(gathered) >= BLOCK_ITEMS or characters >= BLOCK_CHARACTERS:
                    await asyncio.to_thread(_append, file, gathered, last)
                    gathered, characters = [], 0
            await asyncio.to_thread(_append, file, gathered, last)
            await asyncio.to_thread(_publish, file, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


async def read(path: Path, after: Position, *, newest: int | None = None) -> AsyncGenerator[Item]:
    """What is behind a position, whose line may have been read from the journal: numbers are the same.

    With `newest`, what can be left out without leaving out one of so many last job lines is left out. Raises
    `FileNotFoundError` where there is no such file, `AgentError` (host) where it is damaged.
    """
    held: list[Item] = []
    with path.open("rb") as file:
        for block in await asyncio.to_thread(_wanted, file, after.number, newest):
            for item in await asyncio.to_thread(_items, file, block):
                number = _number(item)
                if number > after.number:
                    for one in held:
                        yield one
                    held = []
                    yield item
                elif number == after.number and item.cursor == after.cursor:
                    held = []
                elif number == after.number and isinstance(item, LogGap):
                    # Gaps share the number of the line before them: only the cursor tells which was seen.
                    held.append(item)
    for one in held:
        yield one


def _number(item: Item) -> int:
    return item.number if isinstance(item, LogLine) else item.after


def _append(file: BinaryIO, items: list[Item], last: int) -> None:
    text = "".join(_encoded(item) for item in items).encode()
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = compressor.compress(text) + compressor.flush()
    size = HEADER.size + len(body) + TRAILER.size
    job_lines = sum(isinstance(item, LogLine) and item.source is LogSource.JOB for item in items)
    extra = SUBFIELD[1] + 4  # with the subfield's own name and length
    file.write(HEADER.pack(MAGIC, 0, 0, 255, extra, *SUBFIELD, size, last, job_lines))
    file.write(body)
    file.write(TRAILER.pack(zlib.crc32(text), len(text) & 0xFFFFFFFF))


def _encoded(item: Item) -> str:
    values = item.model_dump(mode="json", exclude_none=True) | {"cursor": item.cursor}
    return json.dumps(values, separators=(",", ":")) + "\n"


def _publish(file: BinaryIO, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    os.replace(file.name, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


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


def _items(file: BinaryIO, block: Block) -> list[Item]:
    file.seek(block.offset)
    member = file.read(block.size)
    try:
        lines = zlib.decompress(member, wbits=zlib.MAX_WBITS | 16).splitlines()
        return [(LogGap if b'"after":' in line[:16] else LogLine).model_validate_json(line) for line in lines]
    except (zlib.error, ValidationError) as error:
        raise _damaged(file) from error


def _damaged(file: BinaryIO) -> AgentError:
    return AgentError(
        Problem.HOST, f"The log that was kept in {file.name} is damaged.", "Restore the file from a backup."
    )
