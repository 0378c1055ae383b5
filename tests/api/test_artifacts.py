import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

import aiohttp
import pytest

import agent.jobs.artifacts
from agent.jobs.artifacts import Published
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed, Served

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
            asked = [
                group.create_task(alice("HEAD", f"/jobs/{running['job_id']}/artifacts/model.bin"))
                for _ in range(20)
            ]
            assert await asyncio.to_thread(begun.wait, 20)
            for job in (other, ended):
                answer = await bob.get(f"/jobs/{job['job_id']}/artifacts/model.bin")
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
        "/".join("a" * 100),
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
