"""The journal's export format, and a journalctl that misbehaves."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Problem
from agent.logs import entries as entries_module
from agent.logs import journalctl as journalctl_module
from agent.logs.entries import Fields
from agent.logs.journalctl import TORN, ExportParser, JournalChangedError
from agent.logs.journalctl import journalctl as run_journalctl
from tests.support.stand_in_journal import exported

names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)
values = st.one_of(st.binary(max_size=200), st.text(max_size=50).map(lambda text: text.encode()))
entries = st.lists(st.dictionaries(names, values, min_size=1, max_size=5), max_size=6)


@given(entries, st.data())
def test_entries_are_parsed_from_any_bytes_in_any_pieces(written: list[Fields], data: st.DataObject) -> None:
    stream = b"".join(map(exported, written))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    parser = ExportParser()
    pieces = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [entry for piece in pieces for entry in parser.feed(piece)] == written


@pytest.mark.parametrize("value", [b"a\nb", b"\n\n", b"a\0b", b"\xff\xfe", b"", b"=", b"x" * 100_000])
def test_a_value_is_read_byte_for_byte(value: bytes) -> None:
    assert ExportParser().feed(exported({"MESSAGE": value})) == [{"MESSAGE": value}]


def test_an_entry_is_returned_when_it_is_complete() -> None:
    parser = ExportParser()
    assert parser.feed(b"MESSAGE=a\n") == []
    assert parser.feed(b"\n") == [{"MESSAGE": b"a"}]


def test_the_size_of_an_entry_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journalctl_module, "MAX_ENTRY", 1000)
    parser = ExportParser()
    parser.feed(b"x" * journalctl_module.READ_SIZE)
    with pytest.raises(AgentError, match="too long"):
        parser.feed(b"x" * journalctl_module.READ_SIZE)


def test_an_incomplete_entry_is_separated_from_the_next() -> None:
    torn = b"__CURSOR=a\n__REALTIME_TIMESTAMP=1\n_BOOT_ID=b\nMESSAGE=half\n"
    usual = b"__CURSOR=c\n__REALTIME_TIMESTAMP=2\n_BOOT_ID=b\nMESSAGE=next\n\n"
    first, second = ExportParser().feed(torn + usual)
    assert (first["__CURSOR"], TORN in first) == (b"a", True)
    assert (second["MESSAGE"], TORN in second) == (b"next", False)


@pytest.mark.parametrize("turns", range(6))
async def test_a_reader_that_is_cancelled_twice_leaves_no_process(
    journalctl: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    journalctl("echo\nexec sleep 60")
    ended: list[bool] = []
    communicate = asyncio.subprocess.Process.communicate

    async def noted(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
        output = await communicate(process)
        ended.append(process.returncode is not None)
        return output

    monkeypatch.setattr(asyncio.subprocess.Process, "communicate", noted)

    async def read() -> None:
        async with contextlib.aclosing(run_journalctl([])) as chunks:
            async for _ in chunks:
                pass

    reading = asyncio.create_task(read())
    for _ in range(turns):
        await asyncio.sleep(0)
    while not reading.done():
        reading.cancel()
        await asyncio.sleep(0)
    assert reading.cancelled()
    assert ended in ([True], []) if turns < 2 else ended == [True]


async def read_all() -> bytes:
    async with contextlib.aclosing(run_journalctl([])) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_a_journalctl_that_cannot_be_started_is_a_host_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AgentError, match="cannot be started: No such file") as caught:
        await read_all()
    assert caught.value.problem is Problem.HOST


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal's directory, with one file."""
    directory = tmp_path / "journal/machine"
    directory.mkdir(parents=True)
    (directory / "old").touch()
    monkeypatch.setattr("agent.logs.entries.DIRECTORIES", (directory.parent, tmp_path / "missing"))
    return directory


def test_a_directory_that_cannot_be_listed_hides_no_other_file(files: Path) -> None:
    # Many: a directory's entries come in no order.
    for number in range(100):
        (files.parent / f"stray-{number}").touch()
    before = entries_module.files()
    assert list(before) == [str(files / "old")]
    (files / "old").unlink()
    assert not entries_module.all_there(before)


@pytest.mark.parametrize("change", ["rm old", "mv old older", "touch new"])
async def test_journalctl_is_started_again_if_files_change_while_it_opens_them(
    change: str,
    files: Path,
    journalctl: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journalctl_module, "START_PAUSE", 0.0)
    journalctl(
        f"""test -e {tmp_path}/again && exec echo whole
        touch {tmp_path}/again
        cd {files} && {change} && echo partial"""
    )
    assert await read_all() == b"whole\n"


async def test_output_after_a_file_was_deleted_is_discarded(
    files: Path, journalctl: Callable[[str], None]
) -> None:
    read: list[bytes] = []
    journalctl(f"echo good; while [ -e {files}/old ]; do sleep 0.01; done; echo maybe")

    async def read_on() -> None:
        async with contextlib.aclosing(run_journalctl([])) as chunks:
            async for chunk in chunks:
                read.append(chunk)
                (files / "old").unlink()

    with pytest.raises(JournalChangedError):
        await read_on()
    assert read == [b"good\n"]


async def test_a_renamed_file_is_not_a_deleted_one(files: Path, journalctl: Callable[[str], None]) -> None:
    journalctl(f"echo good; while [ -e {files}/old ]; do sleep 0.01; done; echo better")
    read: list[bytes] = []
    async with contextlib.aclosing(run_journalctl([])) as chunks:
        async for chunk in chunks:
            read.append(chunk)
            if len(read) == 1:
                (files / "old").rename(files / "older")
                (files / "new").touch()
    assert read == [b"good\n", b"better\n"]


def test_an_incomplete_entry_at_the_end_is_marked() -> None:
    parser = ExportParser()
    assert parser.feed(b"__CURSOR=a\nMESSAGE=one\n\n__CURSOR=b\nMESSAGE=tw") == [
        {"__CURSOR": b"a", "MESSAGE": b"one"}
    ]
    assert parser.end() == [{"__CURSOR": b"b", TORN: b""}]
    assert ExportParser().end() == []


async def test_a_journal_that_changes_all_the_time_is_an_error(
    files: Path, journalctl: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journalctl_module, "START_PAUSE", 0.0)
    monkeypatch.setattr(journalctl_module, "STARTS", 3)
    journalctl(f"mktemp {files}/XXXXXX")
    with pytest.raises(AgentError, match="change too fast"):
        await read_all()


async def test_leaving_a_reader_ends_its_journalctl(journalctl: Callable[[str], None]) -> None:
    journalctl("echo first; exec sleep 60")
    async with contextlib.aclosing(run_journalctl([])) as chunks:
        async for _ in chunks:
            break
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()
    assert not [pid for pid in children if "sleep" in Path(f"/proc/{pid}/cmdline").read_text("ascii")]
