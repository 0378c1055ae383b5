import asyncio
import hashlib
import os
import socket
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from agent.errors import AgentError, Problem
from agent.jobs import artifacts
from agent.jobs.artifacts import manifest, open_artifact
from agent.model.paths import AttemptPaths
from tests.support.descriptors import opened_below

JOB = "abcdefgh2345"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "job" / "artifacts"
    path.mkdir(parents=True)
    return path


def at(directory: Path) -> AttemptPaths:
    """The attempt whose artifacts are in `directory`."""
    return AttemptPaths(directory.parent, runtime_directory=Path("/nonexistent"), claim="")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


async def listed(directory: Path) -> tuple[list[str], list[str]]:
    found = await manifest(JOB, at(directory), complete=False)
    return [artifact.path for artifact in found.artifacts], found.skipped


async def read(directory: Path, path: str) -> bytes:
    published = await open_artifact(at(directory), path)
    with published.file:
        data = published.file.read()
    assert (published.size, published.sha256) == (len(data), sha256(data))
    return data


async def refused(directory: Path, path: str) -> str:
    with pytest.raises(AgentError) as caught:
        await open_artifact(at(directory), path)
    assert caught.value.problem is Problem.ARTIFACT_NOT_FOUND
    return caught.value.message


async def test_manifest_lists_files_by_path_with_size_digest_and_media_type(
    directory: Path,
) -> None:
    (directory / "sub").mkdir()
    (directory / "sub/metrics.JSON").write_bytes(b"{}")
    (directory / "model.joblib").write_bytes(b"model")
    (directory / "empty").touch()
    found = await manifest(JOB, at(directory), complete=False)
    assert [(a.path, a.size, a.sha256, a.media_type) for a in found.artifacts] == [
        ("empty", 0, sha256(b""), "application/octet-stream"),
        ("model.joblib", 5, sha256(b"model"), "application/octet-stream"),
        ("sub/metrics.JSON", 2, sha256(b"{}"), "application/json"),
    ]
    assert (found.job_id, found.complete, found.skipped) == (JOB, False, [])


async def test_manifest_of_a_missing_directory_is_empty(tmp_path: Path) -> None:
    found = await manifest(JOB, at(tmp_path / "job/artifacts"), complete=True)
    assert (found.complete, found.artifacts, found.skipped) == (True, [], [])
    await refused(tmp_path / "job/artifacts", "model")


async def test_links_fifos_and_sockets_are_skipped_and_not_served(directory: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password")
    (directory / "file").write_text("kept")
    (directory / "link").symlink_to(secret)
    (directory / "inner").symlink_to("file")
    (directory / "up").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(directory / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "socket"))
    assert await listed(directory) == (["file"], ["fifo", "inner", "link", "socket", "up"])
    for path in ("link", "inner", "up", "up/secret", "fifo", "socket"):
        await refused(directory, path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
async def test_devices_are_skipped_and_not_served(directory: Path) -> None:
    try:
        os.mknod(directory / "zero", 0o020666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this machine lets nobody make device nodes")
    assert await listed(directory) == ([], ["zero"])
    await refused(directory, "zero")


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/",
        "/etc/passwd",
        "../secret",
        "sub/../file",
        "sub/../../secret",
        "sub//file",
        "./file",
        "file/",
        "sub",
        "file/file",
        "file\0",
        "file\n",
        "\udcff",
        "file\ud800",
        "..\\secret",
        "%2e%2e/secret",
        "FILE",
        "a/" * 5000 + "a",
        "a" * 5000,
    ],
)
async def test_only_the_exact_path_of_the_manifest_is_served(directory: Path, path: str) -> None:
    (directory.parent / "secret").write_text("password")
    (directory / "sub").mkdir()
    (directory / "file").write_text("x")
    (directory / "sub/file").write_text("y")
    await refused(directory, path)
    assert await read(directory, "sub/file") == b"y"


async def test_unprintable_names_are_skipped_and_shown_escaped(directory: Path) -> None:
    for name in (b"plain \xc3\xa9", b"line\nbreak", b"\x1b[31mred", b"\xff\xfe", "left\u202eright".encode()):
        (directory / os.fsdecode(name)).touch()
    assert await listed(directory) == (
        ["plain é"],
        sorted([r"line\nbreak", r"\x1b[31mred", r"\udcff\udcfe", r"left\u202eright"]),
    )
    await refused(directory, "line\nbreak")


async def test_directories_beyond_the_depth_limit_are_named_and_skipped(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "MAX_DEPTH", 3)
    (directory / "a/b/c/d").mkdir(parents=True)
    (directory / "a/b/file").touch()
    (directory / "a/b/c/file").touch()
    assert await listed(directory) == (["a/b/file"], ["a/b/c/"])


async def test_too_many_files_end_the_walk_and_the_manifest_names_the_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "MAX_ENTRIES", 5)
    for number in range(9):
        (directory / str(number)).touch()
    paths, skipped = await listed(directory)
    assert (len(paths), skipped) == (5, ["./"])


@pytest.mark.parametrize("name", [b"n" * 100, b"\xff" * 17])
async def test_long_names_end_the_walk_at_the_limit_of_characters(
    directory: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    monkeypatch.setattr(artifacts, "MAX_CHARACTERS", 520)
    for number in range(9):
        (directory / os.fsdecode(name + b"%d" % number)).touch()
    paths, skipped = await listed(directory)
    assert len(paths) + len(skipped) == 6
    assert "./" in skipped


async def test_at_most_max_bytes_are_published(directory: Path) -> None:
    for name in ("a", "b", "c"):
        make_sparse(directory / name, 2**20)
    found = await manifest("abcdefghij23", at(directory), complete=False, max_bytes=2 * 2**20)
    assert (len(found.artifacts), len(found.skipped)) == (2, 1)


async def test_a_huge_sparse_file_is_skipped_and_a_small_one_is_read(directory: Path) -> None:
    for name, size in (("huge", 2**40), ("small", 2**21)):
        make_sparse(directory / name, size)
    assert await listed(directory) == (["small"], ["huge"])
    assert await read(directory, "small") == bytes(2**21)


def test_size_is_the_number_of_hashed_bytes_if_the_file_changes_meanwhile(directory: Path) -> None:
    (directory / "log").write_bytes(b"0123456789")
    stop = threading.Event()
    with open(directory / "log", "rb") as file:
        assert artifacts.hash_file(file, 4, stop) == (4, sha256(b"0123"))
        file.seek(0)
        assert artifacts.hash_file(file, 99, stop) == (10, sha256(b"0123456789"))


async def test_a_link_that_replaces_a_listed_file_is_not_followed(directory: Path) -> None:
    (directory.parent / "secret").write_text("password")
    for number in range(50):
        (directory / f"file{number}").write_text("x")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            (directory / "next").symlink_to("../secret")
            (directory / "next").replace(directory / "file0")
            (directory / "next").write_text("x")
            (directory / "next").replace(directory / "file0")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(100):
            found = await manifest(JOB, at(directory), complete=False)
            digests = {artifact.sha256 for artifact in found.artifacts}
            assert digests <= {sha256(b"x"), sha256(b"")}
    finally:
        done.set()
        swapper.join()


async def test_a_complete_manifest_syncs_its_files(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "sub").mkdir()
    (directory / "sub/model.joblib").write_bytes(b"model")
    flushed: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr("agent.jobs.artifacts.os.fsync", noted)
    await manifest(JOB, at(directory), complete=False)
    assert flushed == []
    await manifest(JOB, at(directory), complete=True)
    assert {str(directory), str(directory / "sub"), str(directory / "sub/model.joblib")} <= set(flushed)


async def test_a_complete_manifest_is_made_once_and_kept(directory: Path) -> None:
    (directory / "model").write_bytes(b"model")
    first = await manifest(JOB, at(directory), complete=True)
    (directory / "late").write_bytes(b"late")
    assert await manifest(JOB, at(directory), complete=True) == first
    assert sorted(path.name for path in directory.parent.iterdir()) == ["artifacts", "manifest.json"]
    await refused(directory, "late")
    assert await read(directory, "model") == b"model"


async def test_a_file_that_changed_after_the_job_ended_is_not_served(directory: Path) -> None:
    (directory / "model").write_bytes(b"model")
    await manifest(JOB, at(directory), complete=True)
    status = (directory / "model").stat()
    (directory / "model").write_bytes(b"MODEL")
    os.utime(directory / "model", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "changed after the job ended" in await refused(directory, "model")


async def test_a_file_restored_with_the_same_bytes_is_served(directory: Path) -> None:
    (directory / "model").write_bytes(b"model")
    await manifest(JOB, at(directory), complete=True)
    (directory / "copy").write_bytes(b"model")
    (directory / "copy").replace(directory / "model")
    assert await read(directory, "model") == b"model"


async def test_a_damaged_manifest_is_made_again(directory: Path) -> None:
    (directory / "model").write_bytes(b"model")
    (at(directory).manifest).write_text('{"manifest": {')
    first = await manifest(JOB, at(directory), complete=True)
    (directory / "late").touch()
    assert await manifest(JOB, at(directory), complete=True) == first


async def test_a_manifest_that_cannot_be_written_is_still_returned(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    (directory / "model").write_bytes(b"model")
    monkeypatch.setattr(os, "fsync", full)
    found = await manifest(JOB, at(directory), complete=True)
    assert [artifact.path for artifact in found.artifacts] == ["model"]
    assert [path.name for path in directory.parent.iterdir()] == ["artifacts"]


async def test_a_file_of_a_running_job_is_served_in_its_current_state(directory: Path) -> None:
    (directory / "log").write_bytes(b"one")
    await manifest(JOB, at(directory), complete=False)
    (directory / "log").write_bytes(b"one two")
    assert await read(directory, "log") == b"one two"


async def test_hashing_stops_when_the_caller_is_cancelled(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sparse(directory / "big", 2**34)
    started, stopped = threading.Event(), threading.Event()
    hash_ = artifacts.hash_file

    def observed(file: BinaryIO, size: int, stop: threading.Event) -> tuple[int, str]:
        started.set()
        try:
            return hash_(file, size, stop)
        finally:
            stopped.set()

    monkeypatch.setattr(artifacts, "hash_file", observed)
    task = asyncio.create_task(open_artifact(at(directory), "big"))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(stopped.wait, 5)


async def test_no_descriptor_is_left_open(directory: Path) -> None:
    (directory / "sub").mkdir()
    (directory / "sub/file").touch()
    (directory / "link").symlink_to("sub")
    for _ in range(3):
        await listed(directory)
        await read(directory, "sub/file")
        for path in ("link/file", "sub", "nothing"):
            await refused(directory, path)
    with (directory / "sub/file").open():
        assert opened_below(directory) == [directory / "sub/file"]
    assert opened_below(directory) == []
