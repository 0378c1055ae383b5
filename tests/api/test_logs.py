"""The log as text and as a stream: what is sent, and what is left when somebody goes away."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from waiting import until

from agent import archive
from agent.api import streams
from agent.api.logs import STREAMS
from agent.journal import Journal, LineNumbering, Position
from agent.models import Job
from agent.quadlet import CLAIMED, ENDED, STARTED
from agent.units import UnitState

from .conftest import Client, Served

EVENTS = {"Accept": "text/event-stream"}


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any, str]]:
    """Name, data and id of each event; a comment is named ":"."""
    fields: dict[str, str] = {}
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line.startswith(":"):
            yield ":", None, ""
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields["event"], json.loads(fields["data"]), fields.get("id", "")
            fields = {}


async def whole(client: Client, job: Any, **headers: str) -> list[tuple[str, Any, str]]:
    async with asyncio.timeout(20), client.stream(f"/jobs/{job['job_id']}/logs", **headers) as response:
        return [event async for event in events(response)]


async def running(served: Served, client: Client) -> Any:
    """A job that runs, as far as the agent can tell."""
    job = await client.submit()
    known = await served.jobs.get(job["job_id"])
    now_running = Job.model_validate(known.model_dump() | {"status": "RUNNING", "revision": 2})
    assert await served.scene.store.update_job(now_running)
    served.jobs._active[known.job_id].job = now_running
    return job


async def end(served: Served, job: Any) -> None:
    """Ends a running job: its unit leaves the marks of success, and the agent looks."""
    served.scene.units.states[job["unit"]] = UnitState()
    known = await served.jobs.get(job["job_id"])
    for mark in (CLAIMED, STARTED):
        served.scene.mark(known, mark)
    served.scene.mark(known, ENDED, f"success exited 0 {'0' * 32}")
    await served.jobs._step(served.jobs._active[known.job_id])


async def somebody_reads(served: Served) -> bool:
    return served.journal.open_now == 2


async def nobody_reads(served: Served) -> bool:
    return served.journal.open_now == 0


# --- text ---------------------------------------------------------------------------------------------


async def test_the_log_is_text_a_line_each(served: Served, alice: Client) -> None:
    job = await alice.submit()
    served.log("one", "", "drei €", "END")
    await served.finish(job)
    answer = await alice.get(f"/jobs/{job['job_id']}/logs")
    assert answer.body.decode() == "one\n\ndrei €\n"


@pytest.mark.parametrize(("tail", "body"), [("0", ""), ("1", "3\n"), ("2", "2\n3\n"), ("100", "1\n2\n3\n")])
async def test_a_tail_is_the_last_lines(served: Served, alice: Client, tail: str, body: str) -> None:
    job = await alice.submit()
    served.log("1", "2", "3", "END")
    await served.finish(job)
    answer = await alice.get(f"/jobs/{job['job_id']}/logs?tail={tail}")
    assert answer.body.decode() == body


@pytest.mark.parametrize("tail", ["-1", "100001", "x", ""])
async def test_a_tail_that_is_no_number_of_lines_is_refused(alice: Client, tail: str) -> None:
    job = await alice.submit()
    answer = await alice.get(f"/jobs/{job['job_id']}/logs?tail={tail}")
    assert (answer.status, answer.fields) == (422, ["tail"])


async def test_a_form_that_there_is_not_is_refused_with_those_that_there_are(alice: Client) -> None:
    job = await alice.submit()
    answer = await alice.get(f"/jobs/{job['job_id']}/logs", Accept="image/png")
    assert (answer.status, answer.problem) == (406, "not-acceptable")
    assert "text/event-stream" in answer.json["hint"]


async def test_a_log_of_many_lines_is_whole(served: Served, alice: Client) -> None:
    job = await alice.submit()
    served.log(*(f"line {number}" for number in range(20_000)), "END")
    await served.finish(job)
    lines = (await alice.get(f"/jobs/{job['job_id']}/logs")).body.decode().splitlines()
    assert lines == [f"line {number}" for number in range(20_000)]


async def test_a_log_whose_reader_fails_is_not_taken_for_a_whole_one(
    served: Served, alice: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journalctl").write_text("#!/bin/sh\necho 'Bad message' >&2\nexit 1\n")
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    job = await alice.submit()
    with pytest.raises(aiohttp.ClientError):
        await alice.get(f"/jobs/{job['job_id']}/logs")


async def test_a_job_that_never_ran_has_no_log_to_wait_for(alice: Client) -> None:
    job = await alice.submit()
    await alice.post(f"/jobs/{job['job_id']}/cancel", b"")
    async with asyncio.timeout(3):
        assert (await alice.get(f"/jobs/{job['job_id']}/logs")).body == b""
        assert [name for name, _, _ in await whole(alice, job)] == ["end"]


# --- streams ------------------------------------------------------------------------------------------


async def test_a_stream_of_an_ended_job_is_its_lines_and_then_its_end(served: Served, alice: Client) -> None:
    job = await alice.submit()
    served.log("one", "two", "END")
    await served.finish(job)
    stream = await whole(alice, job)
    assert [name for name, _, _ in stream] == ["line", "line", "line", "end"]
    assert [(data["number"], data["text"], data["source"]) for _, data, _ in stream[:3]] == [
        (1, "one", "job"),
        (2, "two", "job"),
        (3, "END", "system"),
    ]
    assert stream[-1][1]["status"] == "COMPLETED"
    alice.document.validate(alice.document.content["components"]["schemas"]["Job"], stream[-1][1])


async def test_a_stream_follows_a_job_to_its_end(served: Served, alice: Client) -> None:
    job = await running(served, alice)
    async with asyncio.timeout(20), alice.stream(f"/jobs/{job['job_id']}/logs") as response:
        stream = events(response)
        assert (await anext(stream))[1]["status"] == "RUNNING"
        for text in ("first", "second"):
            served.log(text)
            assert (await anext(stream))[1]["text"] == text
        served.log("last", "END")
        await end(served, job)
        rest = [(name, data) async for name, data, _ in stream]
    assert [name for name, _ in rest] == ["line", "line", "end"]
    assert rest[0][1]["text"] == "last"
    assert rest[-1][1]["status"] == "COMPLETED"
    await until(lambda: nobody_reads(served))


async def test_a_stream_begins_while_the_job_waits(served: Served, alice: Client) -> None:
    job = await alice.submit()
    async with asyncio.timeout(20), alice.stream(f"/jobs/{job['job_id']}/logs") as response:
        stream = events(response)
        assert (await anext(stream))[1]["status"] == "PENDING"
        name, place, _ = await anext(stream)
        assert (name, place["position"]) == ("waiting", 1)
        await alice.post(f"/jobs/{job['job_id']}/cancel", b"")
        (last,) = [(name, data["status"]) async for name, data, _ in stream]
        assert last == ("end", "CANCELLED")


async def test_a_stream_resumes_with_the_very_next_line(served: Served, alice: Client) -> None:
    job = await alice.submit()
    served.log(*(f"line {number}" for number in range(1, 11)), "END")
    await served.finish(job)
    stream = await whole(alice, job)
    for index in (0, 4, 9):
        rest = await whole(alice, job, **{"Last-Event-ID": stream[index][2]})
        assert rest == stream[index + 1 :]


@pytest.mark.parametrize("event_id", ["1", "x", "1:s=1", "-1:" + "a" * 40, "1:--file=/etc/passwd"])
async def test_an_event_id_of_another_stream_is_refused(alice: Client, event_id: str) -> None:
    job = await alice.submit()
    answer = await alice.get(f"/jobs/{job['job_id']}/logs", **EVENTS, **{"Last-Event-ID": event_id})
    assert (answer.status, answer.problem, answer.fields) == (422, "invalid-request", ["Last-Event-ID"])


async def test_a_quiet_stream_has_a_heartbeat(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT", 0.05)
    job = await running(served, alice)
    async with asyncio.timeout(20), alice.stream(f"/jobs/{job['job_id']}/logs") as response:
        stream = events(response)
        names = [(await anext(stream))[0] for _ in range(4)]
    assert names == ["state", ":", ":", ":"]


async def test_a_reader_that_fails_is_told_with_its_reason(
    served: Served, alice: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journalctl").write_text("#!/bin/sh\necho 'Bad message' >&2\nexit 1\n")
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    job = await running(served, alice)
    stream = await whole(alice, job)
    name, data, _ = stream[-1]
    assert (name, data["status"]) == ("error", 503)
    assert "Bad message" in data["detail"]
    alice.document.validate(alice.document.content["components"]["schemas"]["ProblemDocument"], data)


async def test_a_client_that_vanishes_leaves_no_reader_and_no_place_taken(
    served: Served, alice: Client
) -> None:
    job = await running(served, alice)
    for _ in range(3):
        async with alice.stream(f"/jobs/{job['job_id']}/logs") as response:
            await anext(events(response))
            await until(lambda: somebody_reads(served))
            assert response.connection is not None
            assert response.connection.transport is not None
            response.connection.transport.abort()
        await until(lambda: nobody_reads(served))

    async def free() -> bool:
        return served.app[STREAMS].open_now == 0

    await until(free)


async def test_more_streams_than_there_may_be_are_refused_and_come_free_again(
    serve: Callable[..., Any],
) -> None:
    served: Served = await serve(max_streams=2)
    alice = await served.known("alice")
    job = await running(served, alice)
    path = f"/jobs/{job['job_id']}/logs"
    async with alice.stream(path), alice.stream(path):
        answer = await alice.get(path, **EVENTS)
        assert (answer.status, answer.problem) == (429, "too-many-streams")
        assert int(answer.headers["Retry-After"]) > 0

    async def again() -> bool:
        async with alice.session.get(alice.base + path, headers=EVENTS) as response:
            return response.status == 200

    assert await until(again)


async def test_a_client_that_does_not_read_is_cut_off(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 0.2)
    monkeypatch.setattr(streams, "LAST_WORD", 0.2)
    job = await running(served, alice)
    served.log(*("x" * 1000 for _ in range(20_000)))
    context = alice.session.connector._ssl  # type: ignore[union-attr]
    assert isinstance(context, ssl.SSLContext)
    port = int(served.base.rpartition(":")[2])
    # A window that is soon full: neither side's kernel can take much more than it holds.
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context, limit=1000)
    request = f"GET /jobs/{job['job_id']}/logs HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
    writer.write(request.encode())
    assert b"200 OK" in await reader.readline()

    async def cut_off() -> bool:
        return served.app[STREAMS].open_now == 0 and await nobody_reads(served)

    await until(cut_off)
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_an_agent_that_stops_ends_its_streams(served: Served, alice: Client) -> None:
    job = await running(served, alice)
    async with asyncio.timeout(10), alice.stream(f"/jobs/{job['job_id']}/logs") as response:
        stream = events(response)
        await anext(stream)
        served.log("line")
        await anext(stream)
        stopping = asyncio.create_task(served.runner.cleanup())
        name, problem, _ = await anext(stream)
        assert (name, problem["type"], problem["status"]) == ("error", "urn:ml-agent:problem:stopping", 503)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await stopping
    await until(lambda: nobody_reads(served))
    assert served.app[STREAMS].open_now == 0


async def keep(served: Served, job: Any) -> Path:
    """The job's log, as the archivist keeps it."""
    known = await served.jobs.get(job["job_id"])
    file = served.jobs.log_file(known)
    file.parent.mkdir(parents=True, exist_ok=True)
    await archive.write(file, Journal().history(known.unit, LineNumbering(Position())))
    return file


async def test_a_log_is_the_same_when_the_journal_has_forgotten_it(served: Served, alice: Client) -> None:
    job = await alice.submit()
    served.log("one", "two", "three", "END")
    await served.finish(job)
    path = f"/jobs/{job['job_id']}/logs"
    before = [await whole(alice, job), (await alice.get(path)).body, (await alice.get(f"{path}?tail=2")).body]
    await keep(served, job)
    served.journal_file.write_text("")
    after = [await whole(alice, job), (await alice.get(path)).body, (await alice.get(f"{path}?tail=2")).body]
    assert after == before
    assert after[1:] == [b"one\ntwo\nthree\n", b"two\nthree\n"]


async def test_an_event_id_from_the_journal_continues_in_the_log_that_was_kept(
    served: Served, alice: Client
) -> None:
    job = await alice.submit()
    served.log("one", "two", "three", "END")
    await served.finish(job)
    ids = [event[2] for event in await whole(alice, job) if event[2]]
    await keep(served, job)
    served.journal_file.write_text("")
    rest = [await whole(alice, job, **{"Last-Event-ID": one}) for one in ids]
    numbers = [[data["number"] for name, data, _ in events if name == "line"] for events in rest]
    assert numbers == [[2, 3, 4], [3, 4], [4], []]
    assert all(events[-1][0] == "end" for events in rest)


async def test_a_damaged_log_is_an_error_and_no_short_log(served: Served, alice: Client) -> None:
    job = await alice.submit()
    served.log("one", "END")
    await served.finish(job)
    file = await keep(served, job)
    file.write_bytes(file.read_bytes()[:-1])
    name, data, _ = (await whole(alice, job))[-1]
    assert (name, data["type"]) == ("error", "urn:ml-agent:problem:host")
