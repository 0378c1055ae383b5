"""How much room a file system has."""

import os
from pathlib import Path

import pytest

from agent.host.room import Room, room


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
