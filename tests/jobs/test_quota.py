"""What a job has in /artifacts: counted however it is hidden, and never past its quota."""

import os
import threading
from pathlib import Path

import pytest

from agent.host.tasks import StoppedError
from agent.jobs import quota
from agent.jobs.quota import Taken, measure
from agent.model.inputs import ResolvedLimits

MIB = 2**20
LIMITS = ResolvedLimits(
    memory_bytes=MIB,
    cpus=1,
    tasks=1,
    run_time_seconds=1,
    grace_seconds=None,
    artifact_bytes=8 * MIB,
    artifact_files=20,
)


def taken(directory: Path, of: ResolvedLimits = LIMITS) -> Taken:
    return measure(directory, of, threading.Event())


def limits(artifact_bytes: int, artifact_files: int) -> ResolvedLimits:
    return LIMITS.model_copy(update={"artifact_bytes": artifact_bytes, "artifact_files": artifact_files})


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_a_directory_that_is_not_there_or_is_empty_takes_nothing(tmp_path: Path) -> None:
    assert taken(tmp_path / "absent") == Taken()
    assert taken(tmp_path) == Taken()


def test_files_directories_and_links_count_as_names_and_files_by_their_size(tmp_path: Path) -> None:
    write(tmp_path / "a", MIB)
    write(tmp_path / "b/c", MIB)
    (tmp_path / "link").symlink_to("/usr")
    os.mkfifo(tmp_path / "fifo")
    found = taken(tmp_path)
    assert (found.files, found.excess) == (5, "")
    assert 2 * MIB <= found.bytes < 3 * MIB


@pytest.mark.parametrize(("size", "excess"), [(2 * MIB, False), (2 * MIB + 1, True)])
def test_the_quota_is_exceeded_by_one_byte_and_not_by_none(tmp_path: Path, size: int, excess: bool) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(size)
    assert bool(taken(tmp_path, limits(2 * MIB, 1)).excess) is excess


def test_a_sparse_file_counts_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    assert taken(tmp_path).excess == f"The job left more than {8 * MIB} bytes in /artifacts."


def test_a_file_with_several_names_counts_with_each(tmp_path: Path) -> None:
    write(tmp_path / "a", 3 * MIB)
    for name in ("b", "c"):
        os.link(tmp_path / "a", tmp_path / name)
    assert "bytes" in taken(tmp_path).excess


def test_too_many_names_are_an_excess_and_are_not_all_looked_at(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"directory-{number}").mkdir()
    found = taken(tmp_path)
    assert found.excess == "The job left more than 20 files in /artifacts."
    assert found.files == 21


def test_what_is_in_a_closed_directory_counts_and_it_is_closed_again(tmp_path: Path) -> None:
    write(tmp_path / "closed/inside", 9 * MIB)
    for mode in (0, 0o300, 0o400):
        (tmp_path / "closed").chmod(mode)
        assert "bytes" in taken(tmp_path).excess
        assert (tmp_path / "closed").stat().st_mode & 0o777 == mode
    (tmp_path / "closed").chmod(0o700)


def test_directories_that_are_nested_too_deep_are_an_excess(tmp_path: Path) -> None:
    place = tmp_path
    for _ in range(quota.MAX_DEPTH + 1):
        place = place / "d"
    place.mkdir(parents=True)
    assert "nested" in taken(tmp_path, limits(2**30, 1000)).excess


def test_a_link_in_the_place_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/file", 9 * MIB)
    (tmp_path / "artifacts").symlink_to("elsewhere")
    found = taken(tmp_path / "artifacts")
    assert (found.bytes, found.files) == (0, 0)
    assert "cannot be counted" in found.excess


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    write(tmp_path / "a/b/c/d", 9 * MIB)
    before = os.listdir("/proc/self/fd")
    taken(tmp_path)
    assert os.listdir("/proc/self/fd") == before


def test_the_count_ends_when_nobody_waits_for_it(tmp_path: Path) -> None:
    write(tmp_path / "a", 1)
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        measure(tmp_path, LIMITS, stop)
