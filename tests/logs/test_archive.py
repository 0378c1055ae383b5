"""Archived logs: the same lines with the same numbers, wherever a reader continues."""

import asyncio
import gzip
import json
import random
import threading
import tracemalloc
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.logs import archive
from agent.logs.lines import Gap, Item, Line, Position
from agent.model.log import GapCause, LogSource, LogStream

TIME = 1767225600123


def line(number: int, text: str | bytes = "text", source: LogSource = LogSource.JOB) -> Line:
    text = text.encode() if isinstance(text, str) else text
    return Line(number, TIME, source, text, f"line-{number}")


def gap(after: int, dropped: int | None = None, name: str = "gap") -> Gap:
    return Gap(after, TIME, f"{name}-{after}", GapCause.RATE_LIMIT, dropped)


async def each(items: list[Item]) -> AsyncGenerator[list[Item]]:
    for start in range(0, len(items), 2):
        yield items[start : start + 2]


async def read(path: Path, after: Position | None = None, newest: int | None = None) -> list[Item]:
    batches = archive.read(path, after or Position(), newest=newest)
    return [item async for items in batches for item in items]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "BLOCK_ITEMS", 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.gz"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 10])
async def test_what_is_written_can_be_read(path: Path, count: int) -> None:
    items: list[Item] = [line(number) for number in range(1, count + 1)]
    await archive.write(path, each(items))
    assert await read(path) == items
    assert [each.name for each in path.parent.iterdir()] == [path.name]


async def test_any_text_survives(path: Path) -> None:
    texts = [
        "",
        " ",
        "\x1b[31mred",
        "a\rb",
        "\ufffd",
        "line\u2028separator",
        "😀",
        '"after":1',
        "x" * 100_000,
    ]
    items: list[Item] = [line(number, text) for number, text in enumerate(texts, 1)]
    items.append(line(len(items) + 1, b"\xff\xfe \xc3\xa4 \xed\xb3\xbf")._replace(continued=True))
    items += [line(len(items) + 1)._replace(stream=stream) for stream in LogStream]
    await archive.write(path, each([gap(0), *items, gap(len(texts), 7)]))
    assert await read(path) == [gap(0), *items, gap(len(texts), 7)]


async def test_zcat_shows_the_lines(path: Path) -> None:
    await archive.write(path, each([line(number, f"line {number}") for number in range(1, 8)]))
    shown = [json.loads(text) for text in gzip.decompress(path.read_bytes()).splitlines()]
    assert [(each["number"], each["text"]) for each in shown] == [(n, f"line {n}") for n in range(1, 8)]


async def test_every_event_id_continues_with_the_very_next_item(path: Path) -> None:
    items: list[Item] = [gap(0), line(1), line(2), gap(2, 5), gap(2, 6, "another"), line(3), line(4), gap(4)]
    await archive.write(path, each(items))
    for index, item in enumerate(items):
        assert await read(path, item.position) == items[index + 1 :]


@pytest.mark.parametrize("before", [2, 3, 4])  # in the block's middle, at its end, at the next one's
@pytest.mark.parametrize("more", [0, 1])
async def test_a_gap_with_the_id_of_the_item_before_it_follows_that_id(
    path: Path, before: int, more: int
) -> None:
    lines: list[Item] = [line(number) for number in range(1, before + more + 1)]
    missing = Gap(before, TIME, lines[before - 1].cursor, GapCause.REMOVED)
    await archive.write(path, each([*lines[:before], missing, *lines[before:]]))
    assert await read(path, lines[before - 1].position) == [missing, *lines[before:]]
    # The same behind what journald dropped.
    dropped = gap(before, 5)
    missing = missing._replace(cursor=dropped.cursor)
    await archive.write(path, each([*lines[:before], dropped, missing, *lines[before:]]))
    assert await read(path, lines[before - 1].position) == [dropped, missing, *lines[before:]]
    assert await read(path, dropped.position) == [missing, *lines[before:]]


@pytest.mark.parametrize("cause", ["", '"cause":"of-a-newer-agent",'])
async def test_a_gap_of_another_version_has_no_cause(
    path: Path, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = f'{{"after":0,"time":"2026-01-01T00:00:00.123Z",{cause}"cursor":""}}\n'
    monkeypatch.setattr(archive, "_encoded", lambda item: written)
    await archive.write(path, each([line(1)]))
    assert await read(path) == [Gap(0, TIME, "", None)]


@pytest.mark.parametrize("count", [0, 1, 7])
async def test_a_gap_at_a_forgotten_beginning_is_kept(path: Path, count: int) -> None:
    forgotten = Gap(0, TIME, "", GapCause.REMOVED)
    items: list[Item] = [forgotten, *(line(number) for number in range(1, count + 1))]
    await archive.write(path, each(items))
    assert await read(path) == items
    assert await read(path, newest=100) == items
    if count:
        assert await read(path, line(1).position) == items[2:]


async def test_an_id_with_an_unknown_cursor_continues_by_its_number(path: Path) -> None:
    await archive.write(path, each([line(1), line(2), gap(2), line(3)]))
    assert await read(path, Position(2, "unknown")) == [gap(2), line(3)]


async def test_the_newest_lines_are_read_without_earlier_blocks(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items: list[Item] = [line(number) for number in range(1, 31)]
    items[28] = line(29, source=LogSource.SYSTEM)
    await archive.write(path, each(items))
    assert await read(path, newest=2) == items[27:]
    assert await read(path, newest=3) == items[24:]
    assert await read(path, newest=1000) == items
    assert await read(path, newest=0) == []


async def test_a_log_that_breaks_off_leaves_no_file(path: Path) -> None:
    async def broken() -> AsyncGenerator[list[Item]]:
        for number in range(1, 9):
            yield [line(number)]
        raise AgentError(Problem.HOST, "journalctl failed")

    with pytest.raises(AgentError):
        await archive.write(path, broken())
    assert list(path.parent.iterdir()) == []


async def test_a_cancelled_write_publishes_nothing(path: Path) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    class SlowText(bytes):
        def decode(self, *arguments: str) -> str:
            begun.set()
            cancelled.wait(10)
            return super().decode(*arguments)

    # The last line is in the second block: the first one made the file.
    lines = [*map(line, range(1, 5)), line(5, SlowText(b"text"))]
    writing = asyncio.create_task(archive.write(path, each(lines)))
    assert await asyncio.to_thread(begun.wait, 10)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    cancelled.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert list(path.parent.iterdir()) == []


async def test_a_partial_file_of_a_killed_agent_is_overwritten(path: Path) -> None:
    path.with_name(f"{path.name}.new").write_bytes(b"half a log")
    await archive.write(path, each([line(1)]))
    assert await read(path) == [line(1)]


@pytest.mark.parametrize("portion", [1, 7, 100, 1 << 16])
async def test_a_block_is_read_in_portions_of_any_size(
    path: Path, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BLOCK_ITEMS", 50)
    monkeypatch.setattr(archive, "PORTION", portion)
    items: list[Item] = [gap(0), *(line(number, "ä" * (number % 40)) for number in range(1, 120)), gap(119)]
    await archive.write(path, each(items))
    assert await read(path) == items
    assert await read(path, items[60].position) == items[61:]


async def test_a_reader_that_pauses_holds_no_more_than_a_portion(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BLOCK_ITEMS", 4096)
    text = random.Random(1).randbytes(200).hex()
    await archive.write(path, each([line(number, f"{number} {text}") for number in range(1, 2001)]))
    readers = [archive.read(path, Position()) for _ in range(20)]
    tracemalloc.start()
    try:
        for reader in readers:
            assert await anext(reader)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for reader in readers:
            await reader.aclose()
    # All of the block is 0.8 MB of text, and more than twice that as lines.
    assert held < len(readers) * 6 * archive.PORTION


async def test_no_line_of_a_block_with_a_wrong_checksum_is_read(path: Path) -> None:
    await archive.write(path, each([line(number) for number in range(1, 9)]))
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 1  # in the checksum of the last block
    path.write_bytes(whole)
    seen: list[Item] = []

    async def take() -> None:
        async for items in archive.read(path, Position()):
            seen.extend(items)

    with pytest.raises(AgentError, match="damaged"):
        await take()
    assert [item.position.number for item in seen] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("damage", [b"", b"\x1f", b"x" * 100])
async def test_a_damaged_file_is_an_error(path: Path, damage: bytes) -> None:
    await archive.write(path, each([line(number) for number in range(1, 9)]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] if not damage else whole + damage)
    with pytest.raises(AgentError, match="damaged"):
        await read(path)
