"""Trees as jobs may leave them: measured by blocks, and removed whatever is in them."""

import os
import socket
import stat
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from agent.host.tasks import StoppedError
from agent.host.trees import measure, remove

MANY = 1_000_000


def blocks(*paths: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in paths)


def sized(root: Path) -> int:
    size, _ = measure(root, threading.Event())
    return size


def counted(root: Path) -> int:
    _, files = measure(root, threading.Event())
    return files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "job"
    (path / "artifacts").mkdir(parents=True)
    return path


def deep(root: Path, levels: int) -> None:
    """A file below so many directories that no path can name it."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 100, dir_fd=here)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_a_tree_takes_the_sum_of_its_blocks(root: Path) -> None:
    (root / "artifacts/model").write_bytes(b"x" * 100_000)
    with (root / "artifacts/sparse").open("wb") as file:
        file.truncate(10 * 2**30)
    files = [root / "artifacts/model", root / "artifacts/sparse"]
    assert sized(root) == blocks(root, root / "artifacts", *files)
    assert sized(root) < 2**20
    assert counted(root) == 4


def test_a_file_with_two_names_counts_once(root: Path) -> None:
    (root / "artifacts/one").write_bytes(b"x" * 100_000)
    before = sized(root), counted(root)
    (root / "artifacts/two").hardlink_to(root / "artifacts/one")
    assert (sized(root), counted(root)) == before


def test_a_missing_tree_takes_nothing_and_counts_as_removed(tmp_path: Path) -> None:
    assert sized(tmp_path / "absent") == counted(tmp_path / "absent") == 0
    assert remove(tmp_path / "absent", MANY)


def test_closed_directories_are_measured_and_stay_closed(root: Path) -> None:
    closed = root / "artifacts/closed"
    (closed / "inner").mkdir(parents=True)
    (closed / "inner/model").write_bytes(b"x" * 1_000_000)
    expected = sized(root)
    for path in (closed / "inner", closed, root / "artifacts"):
        path.chmod(0)
    assert sized(root) == expected > 1_000_000
    assert counted(root) == 5
    assert stat.S_IMODE((root / "artifacts").stat().st_mode) == 0
    (root / "artifacts").chmod(0o700)
    assert stat.S_IMODE(closed.stat().st_mode) == 0


def test_a_tree_too_deep_for_a_path_is_measured_and_removed(root: Path) -> None:
    deep(root / "artifacts", 300)
    assert sized(root) >= 300 * blocks(root / "artifacts")
    assert counted(root) == 303
    while not remove(root, MANY):
        pass
    assert not root.exists()


def test_measuring_stops_on_request(root: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        measure(root, stop)


def test_removal_follows_no_link_and_opens_no_file(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (root / "artifacts/link").symlink_to(outside)
    (root / "link").symlink_to(outside)
    (root / "artifacts/twice").hardlink_to(outside / "kept")
    os.mkfifo(root / "artifacts/fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "artifacts/socket"))
    (root / "artifacts" / os.fsdecode(b"\xff\n")).write_text("")
    (root / "artifacts/closed/inner").mkdir(parents=True)
    (root / "artifacts/closed/inner/file").write_text("")
    for path in (root / "artifacts/closed/inner", root / "artifacts/closed", root / "artifacts"):
        path.chmod(0)
    before = stat.S_IMODE(outside.stat().st_mode)
    while not remove(root, MANY):
        pass
    assert not root.exists()
    assert [path.read_text() for path in outside.iterdir()] == ["kept"]
    assert stat.S_IMODE(outside.stat().st_mode) == before


def test_a_link_in_place_of_a_tree_is_removed_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "job").symlink_to(tmp_path / "elsewhere")
    assert sized(tmp_path / "job") == blocks(tmp_path / "job")
    assert remove(tmp_path / "job", MANY)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_each_call_removes_about_the_limit_and_the_next_goes_on(root: Path) -> None:
    for number in range(20):
        (root / f"artifacts/{number}").mkdir()
        for name in "abc":
            (root / f"artifacts/{number}/{name}").touch()
    calls, left = 0, [sum(1 for _ in root.rglob("*"))]
    while not remove(root, 10):
        calls += 1
        left.append(sum(1 for _ in root.rglob("*")))
    assert calls >= 8
    assert all(before - after <= 12 for before, after in pairwise(left))
