"""What a job has in /artifacts: counted however it is hidden, and never past its quota."""

import os
import threading
from pathlib import Path

import pytest

from agent.host.tasks import StoppedError
from agent.jobs import quota
from agent.jobs.quota import Taken, measure
from agent.model.inputs import ResolvedLimits
from tests.support.descriptors import opened_below

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


def test_missing_and_empty_directories_count_as_nothing(tmp_path: Path) -> None:
    assert taken(tmp_path / "absent") == Taken()
    assert taken(tmp_path) == Taken()


def test_every_name_counts_and_files_count_with_their_size(tmp_path: Path) -> None:
    write(tmp_path / "a", MIB)
    write(tmp_path / "b/c", MIB)
    (tmp_path / "link").symlink_to("/usr")
    os.mkfifo(tmp_path / "fifo")
    found = taken(tmp_path)
    assert (found.files, found.excess) == (5, "")
    assert 2 * MIB <= found.bytes < 3 * MIB


@pytest.mark.parametrize(("size", "excess"), [(2 * MIB, False), (2 * MIB + 1, True)])
def test_the_quota_is_exceeded_by_its_first_byte_too_many(tmp_path: Path, size: int, excess: bool) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(size)
    assert bool(taken(tmp_path, limits(2 * MIB, 1)).excess) is excess


def test_a_sparse_file_counts_with_its_size(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    assert taken(tmp_path).excess == f"The job left more than {8 * MIB} bytes in /artifacts."


def test_a_file_counts_once_for_each_of_its_names(tmp_path: Path) -> None:
    write(tmp_path / "a", 3 * MIB)
    for name in ("b", "c"):
        os.link(tmp_path / "a", tmp_path / name)
    assert "bytes" in taken(tmp_path).excess


def test_the_count_of_names_stops_at_the_limit(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"directory-{number}").mkdir()
    found = taken(tmp_path)
    assert found.excess == "The job left more than 20 files in /artifacts."
    assert found.files == 21


def test_directories_without_permissions_are_counted_and_keep_their_mode(tmp_path: Path) -> None:
    write(tmp_path / "closed/inside", 9 * MIB)
    for mode in (0, 0o300, 0o400):
        (tmp_path / "closed").chmod(mode)
        assert "bytes" in taken(tmp_path).excess
        assert (tmp_path / "closed").stat().st_mode & 0o777 == mode
    (tmp_path / "closed").chmod(0o700)


def test_directories_nested_too_deep_are_an_excess(tmp_path: Path) -> None:
    place = tmp_path
    for _ in range(quota.MAX_DEPTH + 1):
        place = place / "d"
    place.mkdir(parents=True)
    assert "nested" in taken(tmp_path, limits(2**30, 1000)).excess


def test_a_link_that_replaces_the_directory_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/file", 9 * MIB)
    (tmp_path / "artifacts").symlink_to("elsewhere")
    found = taken(tmp_path / "artifacts")
    assert (found.bytes, found.files) == (0, 0)
    assert "cannot be counted" in found.excess


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    write(tmp_path / "a/b/c/d", 9 * MIB)
    taken(tmp_path)
    assert opened_below(tmp_path) == []


def test_the_count_ends_when_it_is_told_to_stop(tmp_path: Path) -> None:
    write(tmp_path / "a", 1)
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        measure(tmp_path, LIMITS, stop)
