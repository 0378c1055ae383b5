import asyncio
import hashlib
import os
import socket
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from agent.errors import AgentError, Problem
from agent.jobs import artifacts
from agent.jobs.artifacts import open_artifact
from agent.model.artifact import ArtifactManifest
from agent.model.paths import AttemptPaths
from tests.support.artifacts import list_in
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


async def manifest(directory: Path, *, complete: bool = False, **options: Any) -> ArtifactManifest:
    """The list of what is in a directory."""
    return await list_in(await artifacts.manifest(JOB, at(directory), complete=complete, **options))


async def listed(directory: Path) -> tuple[list[str], dict[str, str]]:
    """The paths that are published, and why the others are not."""
    found = await manifest(directory)
    reasons = {each.path: each.reason for each in found.left_out}
    assert (found.skipped, found.left_out_count) == (list(reasons), len(found.left_out))
    return [artifact.path for artifact in found.artifacts], reasons


async def read(directory: Path, path: str, *, complete: bool = True) -> bytes:
    published = await open_artifact(at(directory), path, complete=complete)
    with published.file:
        data = b"".join([chunk async for chunk in published.read(0, published.size)])
    assert published.size == len(data)
    assert published.sha256 == (sha256(data) if complete else None)
    return data


async def refused(directory: Path, path: str) -> str:
    for complete in (False, True):
        with pytest.raises(AgentError) as caught:
            await open_artifact(at(directory), path, complete=complete)
    assert caught.value.problem is Problem.ARTIFACT_NOT_FOUND
    return caught.value.message


async def test_manifest_lists_files_by_path_with_size_digest_and_media_type(
    directory: Path,
) -> None:
    (directory / "sub").mkdir()
    (directory / "sub/metrics.JSON").write_bytes(b"{}")
    (directory / "model.joblib").write_bytes(b"model")
    (directory / "empty").touch()
    found = await manifest(directory)
    assert [(a.path, a.size, a.sha256, a.media_type) for a in found.artifacts] == [
        ("empty", 0, sha256(b""), "application/octet-stream"),
        ("model.joblib", 5, sha256(b"model"), "application/octet-stream"),
        ("sub/metrics.JSON", 2, sha256(b"{}"), "application/json"),
    ]
    assert (found.job_id, found.complete, found.skipped) == (JOB, False, [])


async def test_manifest_of_a_missing_directory_is_empty(tmp_path: Path) -> None:
    found = await manifest(tmp_path / "job/artifacts", complete=True)
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
    reasons = {"fifo": "is a FIFO", "socket": "is a socket"} | dict.fromkeys(
        ("inner", "link", "up"), "is a link"
    )
    assert await listed(directory) == (["file"], reasons)
    for path in ("link", "inner", "up", "up/secret", "fifo", "socket"):
        await refused(directory, path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
async def test_devices_are_skipped_and_not_served(directory: Path) -> None:
    try:
        os.mknod(directory / "zero", 0o020666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this machine lets nobody make device nodes")
    assert await listed(directory) == ([], {"zero": "is a device"})
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


# A name, and how a path has it.
NAMES = {
    b"plain \xc3\xa9": "plain é",
    "ideographic\u3000and\u00a0no-break".encode(): "ideographic\u3000and\u00a0no-break",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467, zwnj\u200cx".encode(): (
        "family \U0001f468\u200d\U0001f469\u200d\U0001f467, zwnj\u200cx"
    ),
    b"line\nbreak": "line%0Abreak",
    b"tab\tx": "tab%09x",
    b"\x1b[31mred": "%1B[31mred",
    b"\xff\xfe": "%FF%FE",
    b"latin\xe9.txt": "latin%E9.txt",
    "left\u202eright".encode(): "left%E2%80%AEright",
    b"per%41cent": "per%2541cent",
    b"100%": "100%",
    b"%e9 %G1 %%": "%e9 %G1 %%",
    b"%\n": "%%0A",
    b"%2\xff": "%2%FF",
    b"%252F": "%25252F",
    b"%2F": "%252F",
    b"%2E%2E": "%252E%252E",
    b"back\\slash": "back\\slash",
    b"..\\..\\x": "..\\..\\x",
    b"..dots": "..dots",
    b"...": "...",
    b" trail. ": " trail. ",
    b" ": " ",
    b"CON": "CON",
    b"a:b*?<>|\"'": "a:b*?<>|\"'",
    b"A.txt": "A.txt",
    b"a.txt": "a.txt",
    "gr\u00f6\u00dfe".encode(): "gr\u00f6\u00dfe",
    "gro\u0308\u00dfe".encode(): "gro\u0308\u00dfe",
    b"-rf": "-rf",
    b".hidden": ".hidden",
    b"n" * 255: "n" * 255,
    b"\xe9" * 255: "%E9" * 255,
}


@pytest.mark.parametrize("complete", [False, True])
async def test_a_file_of_any_name_is_published(directory: Path, complete: bool) -> None:
    (directory / "sub").mkdir()
    for name in NAMES:
        (directory / os.fsdecode(name)).write_bytes(b"1" + name)
        (directory / "sub" / os.fsdecode(name)).write_bytes(b"2" + name)
    found = await manifest(directory, complete=complete)
    paths = [artifact.path for artifact in found.artifacts]
    assert (found.left_out, paths) == (
        [],
        sorted([*NAMES.values(), *(f"sub/{each}" for each in NAMES.values())]),
    )
    for name, path in NAMES.items():
        assert await read(directory, path, complete=complete) == b"1" + name
        assert await read(directory, f"sub/{path}", complete=complete) == b"2" + name


async def test_a_name_has_one_path_alone(directory: Path) -> None:
    (directory / "plain").touch()
    (directory / "line\nbreak").touch()
    (directory / "sub").mkdir()
    (directory / "sub/file").touch()
    for path in (
        "%70lain",
        "line\nbreak",
        "line%0abreak",
        "sub%2Ffile",
        "%2E/plain",
        "plain%00",
        "sub/%2E%2E/plain",
    ):
        await refused(directory, path)


async def test_what_cannot_be_read_is_left_out_with_the_reason(directory: Path) -> None:
    for name in ("closed", "names only"):
        (directory / name).mkdir()
        (directory / name / "in").touch()
    for path in ("000", "write only"):
        (directory / path).touch()
    modes = {"closed": 0, "names only": 0o444, "000": 0, "write only": 0o200}
    for path, mode in modes.items():
        (directory / path).chmod(mode)
    names = ("closed/", "names only/in", "000", "write only")
    expected: tuple[list[str], dict[str, str]] = (
        [],
        dict.fromkeys(sorted(names), "cannot be read: Permission denied"),
    )
    if os.geteuid() == 0:
        expected = (sorted(["closed/in", "names only/in", "000", "write only"]), {})
    try:
        assert await listed(directory) == expected
    finally:
        for path in ("closed", "names only"):
            (directory / path).chmod(0o700)


async def test_a_path_that_is_too_long_for_a_request_is_left_out(directory: Path) -> None:
    above = "/".join(["\xe9" * 120] * 11)
    (directory / above).mkdir(parents=True)
    (directory / above / ("n" * 70)).touch()
    (directory / above / ("n" * 69)).touch()
    paths, reasons = await listed(directory)
    assert paths == [f"{above}/{'n' * 69}"]
    assert list(reasons.values()) == ["has a path of more than 8000 bytes in a URL"]
    assert list(reasons) == [f"{above[:300]}…"]


async def test_the_answer_names_a_hundred_of_what_is_left_out_and_counts_all(directory: Path) -> None:
    for number in range(130):
        (directory / f"{number:03d}").symlink_to("nowhere")
    found = await manifest(directory)
    assert (len(found.left_out), len(found.skipped), found.left_out_count) == (100, 100, 130)
    assert [each.path for each in found.left_out] == [f"{number:03d}" for number in range(100)]


async def test_every_directory_that_the_quota_allows_is_walked(directory: Path) -> None:
    deep = "/".join(str(level) for level in range(64))
    (directory / deep).mkdir(parents=True)
    (directory / deep / "file").write_bytes(b"deep")
    assert await listed(directory) == ([f"{deep}/file"], {})
    assert await read(directory, f"{deep}/file") == b"deep"


async def test_directories_beyond_the_depth_limit_are_named_and_skipped(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "MAX_DEPTH", 2)
    (directory / "a/b/c/d").mkdir(parents=True)
    (directory / "a/b/file").touch()
    (directory / "a/b/c/file").touch()
    assert await listed(directory) == (["a/b/file"], {"a/b/c/": "is nested more than 2 directories deep"})
    await refused(directory, "a/b/c/file")


async def test_too_many_files_end_the_walk_and_the_manifest_names_the_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "MAX_ENTRIES", 5)
    for number in range(9):
        (directory / str(number)).touch()
    paths, reasons = await listed(directory)
    assert (len(paths), reasons) == (5, {"./": "has more than the 5 names that are published of a job"})


@pytest.mark.parametrize("name", [b"n" * 100, b"\xff" * 33, "\U0001f468".encode() * 25])
async def test_long_names_end_the_walk_at_the_limit_of_bytes(
    directory: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    monkeypatch.setattr(artifacts, "MAX_PATH_BYTES", 520)
    for number in range(9):
        (directory / os.fsdecode(name + b"%d" % number)).touch()
    paths, reasons = await listed(directory)
    assert len(paths) == 5
    assert reasons == {"./": "has more than the 520 bytes of paths that are published of a job"}


async def test_at_most_max_bytes_are_published(directory: Path) -> None:
    for name in ("a", "b", "c"):
        make_sparse(directory / name, 2**20)
    found = await manifest(directory, max_bytes=2 * 2**20)
    assert len(found.artifacts) == 2
    assert [each.reason for each in found.left_out] == [
        f"exceeds the {2**21} bytes that are published of a job"
    ]


async def test_each_name_of_a_file_with_hard_links_is_published(directory: Path) -> None:
    (directory / "one").write_bytes(b"model")
    (directory / "two").hardlink_to(directory / "one")
    assert await listed(directory) == (["one", "two"], {})
    await manifest(directory, complete=True)
    assert [await read(directory, path) for path in ("one", "two")] == [b"model", b"model"]


async def test_a_huge_sparse_file_is_skipped_and_a_small_one_is_read(directory: Path) -> None:
    for name, size in (("huge", 2**40), ("small", 2**21)):
        make_sparse(directory / name, size)
    reasons = {"huge": f"exceeds the {64 * 2**30} bytes that are published of a job"}
    assert await listed(directory) == (["small"], reasons)
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
            found = await manifest(directory)
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
    await manifest(directory)
    assert flushed == []
    await manifest(directory, complete=True)
    assert {str(directory), str(directory / "sub"), str(directory / "sub/model.joblib")} <= set(flushed)


async def test_a_complete_manifest_is_made_once_and_kept(directory: Path) -> None:
    (directory / "model").write_bytes(b"model")
    first = await manifest(directory, complete=True)
    (directory / "late").write_bytes(b"late")
    assert await manifest(directory, complete=True) == first
    assert sorted(path.name for path in directory.parent.iterdir()) == ["artifacts", "manifest.json"]
    await refused(directory, "late")
    assert await read(directory, "model") == b"model"


async def test_a_file_that_changed_after_the_job_ended_is_not_served(directory: Path) -> None:
    (directory / "model").write_bytes(b"model")
    await manifest(directory, complete=True)
    status = (directory / "model").stat()
    (directory / "model").write_bytes(b"MODEL")
    os.utime(directory / "model", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "changed after the job ended" in await refused(directory, "model")


async def test_a_file_restored_with_the_same_bytes_is_served(directory: Path) -> None:
    (directory / "model").write_bytes(b"model")
    await manifest(directory, complete=True)
    (directory / "copy").write_bytes(b"model")
    (directory / "copy").replace(directory / "model")
    assert await read(directory, "model") == b"model"


async def test_a_damaged_manifest_is_made_again(directory: Path) -> None:
    (directory / "model").write_bytes(b"model")
    (at(directory).manifest).write_text('{"manifest": {')
    first = await manifest(directory, complete=True)
    (directory / "late").touch()
    assert await manifest(directory, complete=True) == first


async def test_a_manifest_that_cannot_be_written_is_still_returned(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    (directory / "model").write_bytes(b"model")
    monkeypatch.setattr(os, "fsync", full)
    found = await manifest(directory, complete=True)
    assert [artifact.path for artifact in found.artifacts] == ["model"]
    assert [path.name for path in directory.parent.iterdir()] == ["artifacts"]


async def test_a_file_of_a_running_job_is_served_in_its_current_state(directory: Path) -> None:
    (directory / "log").write_bytes(b"one")
    await manifest(directory)
    (directory / "log").write_bytes(b"one two")
    assert await read(directory, "log", complete=False) == b"one two"


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
    task = asyncio.create_task(open_artifact(at(directory), "big", complete=True))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(stopped.wait, 5)


async def test_a_walk_over_empty_files_stops_when_the_caller_is_cancelled(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        (directory / str(number)).touch()
    looked, begun, go_on = list[str](), threading.Event(), threading.Event()
    escape = artifacts.escape_name

    def observed(name: bytes) -> str:
        looked.append(os.fsdecode(name))
        begun.set()
        go_on.wait(10)
        return escape(name)

    monkeypatch.setattr(artifacts, "escape_name", observed)
    task = asyncio.create_task(manifest(directory))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    for thread in [artifacts.REQUESTS.submit(os.getpid) for _ in range(2)]:
        await asyncio.wrap_future(thread)
    assert len(looked) <= 2


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
