"""The room of a file system, what programs of the host say, and its clocks."""

import asyncio
import os
from pathlib import Path

import pytest

from agent.host import machine
from agent.host.machine import Room, room
from tests.support.ml_agent import put_on_path


@pytest.mark.parametrize(
    ("left", "needed", "lacks"),
    [
        (Room(10, 10), Room(10, 10), False),
        (Room(9, 10), Room(10, 10), True),
        (Room(10, 9), Room(10, 10), True),
        (Room(10, None), Room(10, 10), False),
        (Room(9, None), Room(10, 10), True),
        (Room(10, 0), Room(10, None), False),
    ],
)
def test_room_is_lacking_if_bytes_or_inodes_are(left: Room, needed: Room, lacks: bool) -> None:
    assert left.lacks(needed) == lacks


def test_room_is_that_of_the_file_system(tmp_path: Path) -> None:
    before = os.statvfs(tmp_path)
    found = room(tmp_path / "not/there/yet")
    assert 0 < found.bytes <= before.f_blocks * before.f_frsize
    assert found.inodes is None or 0 < found.inodes <= before.f_files


def test_room_is_shown_in_words() -> None:
    assert str(Room(3 * 2**19, 7)) == "1.5 MiB and 7 inodes"
    assert str(Room(0, None)) == "0.0 MiB"


def test_a_program_that_is_missing_or_too_slow_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "bin", "slow", "echo begun; exec sleep 60", monkeypatch)
    put_on_path(tmp_path / "bin", "failing", "echo said; echo why >&2; exit 3", monkeypatch)
    monkeypatch.setattr(machine, "TIMEOUT", 0.2)
    assert asyncio.run(machine.output("slow")) == ""
    assert asyncio.run(machine.output("not-a-program")) == ""
    assert asyncio.run(machine.output("failing")) == "said\n"
    assert asyncio.run(machine.output("failing", errors=True)) == "said\nwhy\n"


@pytest.mark.parametrize(("said", "follows"), [("yes", True), ("no", False), ("", None), ("n/a", None)])
def test_the_clock_is_synchronised_only_if_systemd_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, follows: bool | None
) -> None:
    put_on_path(
        tmp_path / "bin",
        "timedatectl",
        f'[ "$2" = --property=NTPSynchronized ] && echo "{said}"',
        monkeypatch,
    )
    assert asyncio.run(machine.synchronised()) is follows
    assert asyncio.run(machine.read_clocks()).synchronised is (follows is True)
    assert asyncio.run(machine.read_clocks(ask=False)).synchronised is False
