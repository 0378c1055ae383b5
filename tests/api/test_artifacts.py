import asyncio
import contextlib
import gc
import hashlib
import os
import resource
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

import agent.jobs.artifacts
from agent.jobs.artifacts import Published
from agent.jobs.results import MAX_SENDING
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed, Served
from tests.support.waiting import until

CONTENT = bytes(range(256)) * 2048  # more than one chunk
TAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


@pytest.fixture
async def path(served: AnyServed, alice: Client) -> str:
    """The path of `model.bin`, the only artifact of a job that has ended."""
    job = await alice.submit()
    served.add_artifact(job, "model.bin", CONTENT)
    await served.finish(job)
    return f"/jobs/{job['job_id']}/artifacts/model.bin"


@over_any_backend
async def test_a_manifest_has_each_file_with_its_size_and_digest(alice: Client, path: str) -> None:
    manifest = (await alice.get(path.removesuffix("/model.bin"))).json
    assert manifest["complete"] is True
    assert manifest["artifacts"] == [
        {
            "path": "model.bin",
            "size": len(CONTENT),
            "sha256": TAG.strip('"'),
            "media_type": "application/octet-stream",
        }
    ]


async def test_a_waiting_job_has_no_artifacts(alice: Client) -> None:
    job = await alice.submit()
    manifest = (await alice.get(f"/jobs/{job['job_id']}/artifacts")).json
    assert (manifest["complete"], manifest["artifacts"]) == (False, [])


@over_any_backend
async def test_a_download_is_an_attachment_that_browsers_do_not_sniff(alice: Client, path: str) -> None:
    answer = await alice.get(path)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["Etag"] == TAG
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Length"] == str(len(CONTENT))


async def test_an_html_artifact_is_an_attachment(served: Served, alice: Client) -> None:
    job = await alice.submit()
    (served.artifacts(job) / "report.html").write_text("<script>")
    answer = await alice.get(f"/jobs/{job['job_id']}/artifacts/report.html")
    assert (answer.headers["Content-Type"], answer.headers["Content-Disposition"]) == (
        "text/html",
        "attachment",
    )


@over_any_backend
async def test_head_has_the_headers_of_get(alice: Client, path: str) -> None:
    get, head = await alice.get(path), await alice("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "Etag", "Content-Type", "Accept-Ranges", "Content-Disposition"):
        assert head.headers[name] == get.headers[name]


async def test_many_requests_for_artifacts_of_a_running_job_do_not_delay_others(
    served: Served, alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, other, ended = await alice.submit(), await bob.submit(), await bob.submit()
    for job in (running, other, ended):
        served.add_artifact(job, "model.bin", CONTENT)
    await served.finish(ended)
    hashed, stalled = agent.jobs.artifacts.hash_file, list[BinaryIO]()
    inode = (served.artifacts(running) / "model.bin").stat().st_ino
    begun, go_on = threading.Event(), threading.Event()

    def hash_(file: BinaryIO, size: int, stop: threading.Event) -> tuple[int, str]:
        if os.fstat(file.fileno()).st_ino == inode:
            stalled.append(file)
            begun.set()
            go_on.wait(20)
        return hashed(file, size, stop)

    monkeypatch.setattr(agent.jobs.artifacts, "hash_file", hash_)
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(alice.get(f"/jobs/{running['job_id']}/artifacts")) for _ in range(20)]
            assert await asyncio.to_thread(begun.wait, 20)
            for client, job in ((bob, other), (bob, ended), (alice, running)):
                answer = await client.get(f"/jobs/{job['job_id']}/artifacts/model.bin")
                assert (answer.status, answer.body) == (200, CONTENT)
            assert (await bob.get(f"/jobs/{other['job_id']}/artifacts")).json["artifacts"]
            await asyncio.to_thread(os.getpid)
            assert len(stalled) == 1
            go_on.set()
    finally:
        go_on.set()
    assert {each.result().status for each in asked} == {200}


@over_any_backend
async def test_range_is_ignored_for_head(alice: Client, path: str) -> None:
    head = await alice("HEAD", path, headers={"Range": "bytes=0-9"})
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(CONTENT)))


SIZE = len(CONTENT)


@over_any_backend
@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=262140-262150", 262140, 262151),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=-5", SIZE - 5, SIZE),
        (f"bytes=5-{SIZE + 1000}", 5, SIZE),
    ],
)
async def test_a_range_returns_exactly_its_bytes(
    alice: Client, path: str, wanted: str, start: int, stop: int
) -> None:
    answer = await alice.get(path, Range=wanted)
    assert (answer.status, answer.body) == (206, CONTENT[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["Etag"] == TAG


@over_any_backend
@pytest.mark.parametrize(
    "wanted",
    ["bytes=5-3", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes", "0-5", "bytes=--5", "bytes=-0"],
)
async def test_malformed_and_multiple_ranges_are_ignored(alice: Client, path: str, wanted: str) -> None:
    answer = await alice.get(path, Range=wanted)
    assert (answer.status, answer.body) == (200, CONTENT)


@over_any_backend
@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}"])
async def test_a_range_beyond_the_end_is_not_satisfiable(alice: Client, path: str, wanted: str) -> None:
    answer = await alice.get(path, Range=wanted)
    assert (answer.status, answer.problem) == (416, "range-not-satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@over_any_backend
@pytest.mark.parametrize("tags", [TAG, f"W/{TAG}", f'"other", {TAG}', "*"])
async def test_if_none_match_answers_304_for_the_present_version(alice: Client, path: str, tags: str) -> None:
    for answer in (
        await alice.get(path, **{"If-None-Match": tags}),
        await alice("HEAD", path, headers={"If-None-Match": tags}),
        await alice.get(path, **{"If-None-Match": tags, "Range": "bytes=0-1"}),
    ):
        assert (answer.status, answer.body, answer.headers["Etag"]) == (304, b"", TAG)


@over_any_backend
@pytest.mark.parametrize("tags", ['"other"', TAG.strip('"'), '""'])
async def test_if_none_match_sends_the_file_for_another_version(alice: Client, path: str, tags: str) -> None:
    assert (await alice.get(path, **{"If-None-Match": tags})).status == 200


@over_any_backend
@pytest.mark.parametrize("tags", ['"other"', f"W/{TAG}", TAG.strip('"'), f'"other", W/{TAG}'])
async def test_if_match_fails_for_another_version(alice: Client, path: str, tags: str) -> None:
    for headers in ({}, {"Range": "bytes=0-1", "If-Range": TAG}, {"If-None-Match": TAG}):
        answer = await alice.get(path, **{"If-Match": tags}, **headers)
        assert (answer.status, answer.problem) == (412, "precondition-failed")
        assert answer.headers["Etag"] == TAG
    assert (await alice("HEAD", path, headers={"If-Match": tags})).status == 412


@over_any_backend
@pytest.mark.parametrize("tags", [TAG, f'"other", {TAG}', "*"])
async def test_if_match_sends_the_file_for_the_present_version(alice: Client, path: str, tags: str) -> None:
    answer = await alice.get(path, **{"If-Match": tags})
    assert (answer.status, answer.body) == (200, CONTENT)
    answer = await alice.get(path, **{"If-Match": tags, "Range": "bytes=10-19"})
    assert (answer.status, answer.body) == (206, CONTENT[10:20])
    assert (await alice.get(path, **{"If-Match": tags, "If-None-Match": TAG})).status == 304


@over_any_backend
async def test_if_range_resumes_only_the_same_version(alice: Client, path: str) -> None:
    same = await alice.get(path, **{"Range": "bytes=100-", "If-Range": TAG})
    assert (same.status, same.body) == (206, CONTENT[100:])
    for other in ('"other"', f"W/{TAG}", "Mon, 23 Nov 2026 20:00:00 GMT"):
        answer = await alice.get(path, **{"Range": "bytes=100-", "If-Range": other})
        assert (answer.status, answer.body) == (200, CONTENT)


async def test_an_empty_file_has_no_ranges(served: Served, alice: Client) -> None:
    job = await alice.submit()
    (served.artifacts(job) / "empty").touch()
    for headers in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=-5"}):
        answer = await alice.get(f"/jobs/{job['job_id']}/artifacts/empty", **headers)
        assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "name",
    [
        "absent",
        "link",
        "fifo",
        "directory",
        "directory/",
        "../input/job.json",
        "..%2Finput%2Fjob.json",
        "%2Fetc%2Fpasswd",
        "directory/..%2F..%2Finput",
        ".%2Fmodel.bin",
        "model.bin%2F",
        "model.bin%00",
        "%00",
        "%0a",
        "%ff",
        "a" * 5000,
        "/".join("a" * 90),
    ],
)
async def test_an_unpublished_path_is_not_found(served: Served, alice: Client, name: str) -> None:
    job = await alice.submit()
    artifacts = served.artifacts(job)
    (artifacts.parent / "input").mkdir()
    (artifacts.parent / "input/job.json").write_text("{}")
    (artifacts / "link").symlink_to("/etc/passwd")
    (artifacts / "directory").mkdir()
    os.mkfifo(artifacts / "fifo")
    answer = await alice.get(f"/jobs/{job['job_id']}/artifacts/{name}")
    assert (answer.status, answer.problem) in ((404, "artifact-not-found"), (404, "no-such-route"))


NAMES = (
    "größe.txt",
    "日本語.csv",
    "wide\u3000x.txt",
    "per%41cent.txt",
    "100%",
    "hash#?&+;=.txt",
    "back\\slash.txt",
    "..\\x",
    "..dots",
    " trail .txt. ",
    "new\nline.txt",
    "rtl\u202etxt.exe",
    os.fsdecode(b"latin\xe9.txt"),
    os.fsdecode(b"%2F"),
    os.fsdecode(b"%2E%2E"),
    "a" * 255,
    os.fsdecode(b"\xe9" * 255),
    "A.txt",
    "a.txt",
)


@pytest.mark.parametrize("ended", [False, True])
async def test_a_file_of_any_name_is_listed_and_fetched(served: Served, alice: Client, ended: bool) -> None:
    job = await alice.submit()
    (served.artifacts(job) / "sub").mkdir()
    contents = {}
    for name in (*NAMES, *(f"sub/{name}" for name in NAMES)):
        contents[hashlib.sha256(os.fsencode(name)).hexdigest()] = os.fsencode(name)
        served.add_artifact(job, name, os.fsencode(name))
    if ended:
        await served.finish(job)
    listed = (await alice.get(f"/jobs/{job['job_id']}/artifacts")).json
    assert (listed["left_out_count"], len(listed["artifacts"])) == (0, len(contents))
    for each in listed["artifacts"]:
        answer = await alice.get(f"/jobs/{job['job_id']}/artifacts/{quote(each['path'])}")
        assert (answer.status, answer.body) == (200, contents[each["sha256"]]), each["path"]


@pytest.fixture
async def running(served: AnyServed, alice: Client) -> str:
    """The path of `model.bin`, the only artifact of a job that has not ended."""
    job = await alice.submit()
    served.add_artifact(job, "model.bin", CONTENT)
    return f"/jobs/{job['job_id']}/artifacts/model.bin"


@over_any_backend
async def test_an_artifact_of_a_job_that_has_not_ended_has_no_entity_tag(alice: Client, running: str) -> None:
    for method in ("GET", "HEAD"):
        answer = await alice(method, running)
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(CONTENT)))
        assert "Etag" not in answer.headers


@over_any_backend
@pytest.mark.parametrize("tags", [TAG, f"W/{TAG}", '"None"', 'W/"None"', '""'])
async def test_no_tag_is_that_of_an_artifact_that_may_change(alice: Client, running: str, tags: str) -> None:
    answer = await alice.get(running, **{"If-Match": tags})
    assert (answer.status, answer.problem) == (412, "precondition-failed")
    assert "has not ended" in answer.json["detail"]
    assert "Etag" not in answer.headers
    assert (await alice.get(running, **{"If-None-Match": tags})).status == 200
    answer = await alice.get(running, **{"Range": "bytes=5-9", "If-Range": tags})
    assert (answer.status, answer.body) == (200, CONTENT)


@over_any_backend
async def test_an_artifact_that_may_change_has_ranges_for_those_who_ask_without_a_tag(
    alice: Client, running: str
) -> None:
    answer = await alice.get(running, Range="bytes=5-9")
    assert (answer.status, answer.body) == (206, CONTENT[5:10])
    assert (await alice.get(running, **{"If-Match": "*", "Range": "bytes=5-9"})).status == 206
    assert (await alice.get(running, **{"If-None-Match": "*"})).status == 304


def rewriting(monkeypatch: pytest.MonkeyPatch, rewrite: Callable[[], None]) -> None:
    """Calls `rewrite` once the first piece of each download has been read."""
    read = Published.read

    async def rewritten(*arguments: Any) -> AsyncIterator[bytes]:
        chunks = read(*arguments)
        yield await anext(chunks)
        rewrite()
        async for data in chunks:
            yield data

    monkeypatch.setattr(Published, "read", rewritten)


def rewrite_in_place(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(bytes(len(CONTENT)))


def replace(file: Path) -> None:
    (file.parent / "next").write_bytes(bytes(len(CONTENT)))
    (file.parent / "next").replace(file)


def append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")


@pytest.mark.parametrize("rewrite", [rewrite_in_place, replace, append])
async def test_what_is_rewritten_while_it_is_sent_has_no_digest_that_is_wrong(
    served: Served,
    alice: Client,
    running: str,
    monkeypatch: pytest.MonkeyPatch,
    rewrite: Callable[[Path], None],
) -> None:
    rewriting(
        monkeypatch, partial(rewrite, served.artifacts({"job_id": running.split("/")[2]}) / "model.bin")
    )
    answer = await alice.get(running)
    assert (answer.status, len(answer.body)) == (200, len(CONTENT))
    assert (answer.body == CONTENT) is (rewrite is not rewrite_in_place)
    assert not {"Etag", "Digest", "Repr-Digest", "Content-Digest", "Last-Modified"} & set(answer.headers)


@pytest.mark.parametrize("rewrite", [rewrite_in_place, append])
async def test_a_file_that_somebody_changes_after_the_end_breaks_its_download_off(
    served: Served,
    alice: Client,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    rewrite: Callable[[Path], None],
) -> None:
    assert (await alice.get(path.removesuffix("/model.bin"))).json["complete"]
    rewriting(monkeypatch, partial(rewrite, served.artifacts({"job_id": path.split("/")[2]}) / "model.bin"))
    with pytest.raises(aiohttp.ClientError):
        await alice.get(path)
    assert (await alice.get(path)).problem == "artifact-not-found"


async def test_a_long_list_is_sent_in_pieces_as_the_client_reads_them(served: Served, alice: Client) -> None:
    job = await alice.submit()
    names = [f"{number:04d}" + "\U0001f468" * 60 for number in range(600)]
    for name in names:
        served.add_artifact(job, name, b"")
    await served.finish(job)
    answer = await alice.get(f"/jobs/{job['job_id']}/artifacts")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert [each["path"] for each in answer.json["artifacts"]] == names


def resident() -> int:
    """Bytes that this process has in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("ended", [False, True])
async def test_lists_that_are_not_read_do_not_fill_the_memory(serve: Callable[..., Any], ended: bool) -> None:
    served = await serve(unread_seconds=600)
    alice = await served.known("alice")
    job = await alice.submit()
    directory, name = served.artifacts(job), "\U0001f468" * 60
    for number in range(4000):
        (directory / f"{number:04d}{name}").touch()
    address = f"/jobs/{job['job_id']}/artifacts"
    if ended:
        await served.finish(job)
    assert len((await alice.get(address)).body) > 2**20  # made, and once in the memory of this process
    # Those of a running job that are not read keep the others waiting.
    unread = 24 if ended else MAX_SENDING
    kept = []  # a reader that is let go takes everything, and a writer closes
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(24):
            reader, writer = await asyncio.open_connection("localhost", URL(alice.base).port, ssl=alice.tls)
            kept.append((reader, writer))
            stack.callback(writer.transport.abort)
        before = resident()
        for _, writer in kept:
            writer.write(f"GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

        async def stuck() -> bool:
            return bool(sum(each.writing_paused for each in served.connections.all()) == unread)

        await until(stuck, seconds=60)
        assert resident() - before < 32 * 2**20

    async def gone() -> bool:
        return len(served.connections) == 1  # the client's own

    await until(gone)
    for thread in [agent.jobs.artifacts.REQUESTS.submit(time.sleep, 0.1) for _ in range(2)]:
        await asyncio.wrap_future(thread)  # and what was made for those that have gone


async def test_a_failing_read_breaks_the_download_off(
    served: Served, alice: Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Published.read

    async def failing(*arguments: Any) -> AsyncIterator[bytes]:
        async for data in read(*arguments):
            yield data
            raise OSError("the disk is gone")

    monkeypatch.setattr(Published, "read", failing)
    with pytest.raises(aiohttp.ClientError):
        await alice.get(path)
    assert (await alice.get("/jobs")).status == 200


async def test_a_file_that_becomes_shorter_breaks_the_download_off(
    served: Served, alice: Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Published.read
    file = served.artifacts({"job_id": path.split("/")[2]}) / "model.bin"

    async def shortened(*arguments: Any) -> AsyncIterator[bytes]:
        async for data in read(*arguments):
            yield data
            os.truncate(file, 1)

    monkeypatch.setattr(Published, "read", shortened)
    with pytest.raises(aiohttp.ClientError):
        async with asyncio.timeout(5):
            await alice.get(path)
    assert (await alice.get("/jobs")).status == 200
