"""The log as text and as a stream: what is sent, and what remains when a client leaves."""

import asyncio
import contextlib
import json
import socket
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.api.calls import lines as lines_module
from agent.api.calls.lines import LineFilter, pattern
from agent.api.keys import OPAQUE, STREAMS
from agent.api.server import problems, streams
from agent.errors import AgentError
from agent.logs import archive
from agent.logs.journal import Journal
from agent.logs.lines import Item, Line, LineNumbering, Position
from agent.model.log import LogLine, LogSource, LogStream
from agent.model.problem import ProblemDocument
from tests.support.api_client import Client, events
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed, Served
from tests.support.waiting import until

ESTABLISHED = 1  # tcp(7), tcpi_state
EVENTS = {"Accept": "text/event-stream"}


async def whole(client: Client, job: Any, **headers: str) -> list[tuple[str, Any, str]]:
    async with asyncio.timeout(20), client.stream(f"/jobs/{job['job_id']}/logs", **headers) as response:
        return [event async for event in events(response)]


async def somebody_reads(served: Served) -> bool:
    return served.journal.open_now == 2


async def nobody_reads(served: Served) -> bool:
    return served.journal.open_now == 0


# --- text ---------------------------------------------------------------------------------------------


@over_any_backend
async def test_a_plain_log_has_one_line_per_line(served: AnyServed, alice: Client) -> None:
    job = await alice.submit()
    served.log("one", "", "drei €", "END")
    await served.finish(job)
    answer = await alice.get(f"/jobs/{job['job_id']}/logs")
    assert answer.body.decode() == "one\n\ndrei €\n"


@over_any_backend
@pytest.mark.parametrize(("tail", "body"), [("0", ""), ("1", "3\n"), ("2", "2\n3\n"), ("100", "1\n2\n3\n")])
async def test_tail_returns_the_last_lines(served: AnyServed, alice: Client, tail: str, body: str) -> None:
    job = await alice.submit()
    served.log("1", "2", "3", "END")
    await served.finish(job)
    answer = await alice.get(f"/jobs/{job['job_id']}/logs?tail={tail}")
    assert answer.body.decode() == body


@over_any_backend
@pytest.mark.parametrize("tail", ["-1", "100001", "x", ""])
async def test_an_invalid_tail_is_refused(alice: Client, tail: str) -> None:
    job = await alice.submit()
    answer = await alice.get(f"/jobs/{job['job_id']}/logs?tail={tail}")
    assert (answer.status, answer.fields) == (422, ["tail"])


async def test_an_unsupported_media_type_is_refused_with_the_supported_ones(alice: Client) -> None:
    job = await alice.submit()
    answer = await alice.get(f"/jobs/{job['job_id']}/logs", Accept="image/png")
    assert (answer.status, answer.problem) == (406, "not-acceptable")
    assert "text/event-stream" in answer.json["hint"]


TEXT, LINES, STREAM = "text/plain", "application/x-ndjson", "text/event-stream"


@over_any_backend
@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/*", TEXT),
        ("Text/Plain", TEXT),
        ("text/plain; charset=utf-8", TEXT),
        ('text/plain;format="a, b;q=0", image/png', TEXT),
        ("application/*", LINES),
        ("application/X-NDJSON", LINES),
        ("TEXT/Event-Stream", STREAM),
        (f"{STREAM}, */*", STREAM),
        (f"{TEXT}, {LINES}", LINES),
        (f"{TEXT}, {STREAM}, {LINES}", STREAM),
        (f"{TEXT}, {STREAM};q=0", TEXT),
        (f"{TEXT};q=0.9, {LINES};q=0.1", TEXT),
        (f"{TEXT};q=0.1, {LINES};Q=0.9", LINES),
        (f"*/*;q=0.1, {STREAM};q=0.001", TEXT),
        ("text/*;q=0, */*;q=0.5", LINES),
        (f"{TEXT};q=0, text/*", STREAM),
        (f"{STREAM};q=2, {TEXT}", TEXT),
        (f"x-{STREAM}, {TEXT}", TEXT),
        (f"{TEXT};q=0", ""),
        ("*/*;q=0.000", ""),
        ("image/*", ""),
        (f"x{TEXT}", ""),
        ("*", ""),
    ],
)
async def test_the_accept_header_decides_the_media_type(
    served: AnyServed, alice: Client, accept: str, form: str
) -> None:
    job = await finished(served, alice, "one")
    answer = await alice.get(f"/jobs/{job['job_id']}/logs", Accept=accept)
    if form:
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, form)
    else:
        assert (answer.status, answer.problem) == (406, "not-acceptable")


@over_any_backend
async def test_two_accept_headers_count_as_one(served: AnyServed, alice: Client) -> None:
    job = await finished(served, alice, "one")
    headers = [("Accept", "text/plain;q=0.5"), ("Accept", LINES)]
    answer = await alice("GET", f"/jobs/{job['job_id']}/logs", headers=headers)
    assert answer.headers["Content-Type"] == LINES


async def test_a_log_of_many_lines_is_whole(served: Served, alice: Client) -> None:
    job = await alice.submit()
    served.log(*(f"line {number}" for number in range(20_000)), "END")
    await served.finish(job)
    lines = (await alice.get(f"/jobs/{job['job_id']}/logs")).body.decode().splitlines()
    assert lines == [f"line {number}" for number in range(20_000)]


async def test_a_failing_reader_breaks_the_plain_log_off(
    served: Served, alice: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journalctl").write_text("#!/bin/sh\necho 'Bad message' >&2\nexit 1\n")
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    job = await alice.submit()
    with pytest.raises(aiohttp.ClientError):
        await alice.get(f"/jobs/{job['job_id']}/logs")


async def test_the_log_of_a_job_that_never_ran_ends_at_once(alice: Client) -> None:
    job = await alice.submit()
    await alice.post(f"/jobs/{job['job_id']}/cancel", b"")
    async with asyncio.timeout(3):
        assert (await alice.get(f"/jobs/{job['job_id']}/logs")).body == b""
        assert [name for name, _, _ in await whole(alice, job)] == ["end"]


# --- streams ------------------------------------------------------------------------------------------


@over_any_backend
async def test_the_stream_of_an_ended_job_has_its_lines_and_its_end(served: AnyServed, alice: Client) -> None:
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
    job = await served.running_job(alice)
    async with asyncio.timeout(20), alice.stream(f"/jobs/{job['job_id']}/logs") as response:
        stream = events(response)
        assert (await anext(stream))[1]["status"] == "RUNNING"
        for text in ("first", "second"):
            served.log(text)
            assert (await anext(stream))[1]["text"] == text
        served.log("last", "END")
        await served.end(job)
        rest = [(name, data) async for name, data, _ in stream]
    assert [name for name, _ in rest] == ["line", "line", "end"]
    assert rest[0][1]["text"] == "last"
    assert rest[-1][1]["status"] == "COMPLETED"
    await until(lambda: nobody_reads(served))


@over_any_backend
async def test_a_stream_begins_while_the_job_waits(served: AnyServed, alice: Client) -> None:
    job = await alice.submit()
    async with asyncio.timeout(20), alice.stream(f"/jobs/{job['job_id']}/logs") as response:
        stream = events(response)
        assert (await anext(stream))[1]["status"] == "PENDING"
        name, place, _ = await anext(stream)
        assert (name, place["position"]) == ("waiting", 1)
        await alice.post(f"/jobs/{job['job_id']}/cancel", b"")
        (last,) = [(name, data["status"]) async for name, data, _ in stream]
        assert last == ("end", "CANCELLED")


async def test_the_place_of_a_waiting_job_is_sent_as_soon_as_another_job_moves_it(alice: Client) -> None:
    first, second = await alice.submit(), await alice.submit()
    # The time limit is shorter than the interval of looks without a change.
    async with asyncio.timeout(5), alice.stream(f"/jobs/{second['job_id']}/logs") as response:
        stream = events(response)
        assert [(await anext(stream))[0] for _ in range(2)] == ["state", "waiting"]
        await alice.post(f"/jobs/{first['job_id']}/cancel", b"")
        name, place, _ = await anext(stream)
    assert (name, place["position"]) == ("waiting", 1)


@over_any_backend
async def test_a_stream_resumes_with_the_very_next_line(served: AnyServed, alice: Client) -> None:
    job = await alice.submit()
    served.log(*(f"line {number}" for number in range(1, 11)), "END")
    await served.finish(job)
    stream = await whole(alice, job)
    for index in (0, 4, 9):
        rest = await whole(alice, job, **{"Last-Event-ID": stream[index][2]})
        assert rest == stream[index + 1 :]


async def test_an_event_id_of_an_earlier_version_resumes(served: AnyServed, alice: Client) -> None:
    job = await alice.submit()
    served.log("one", "two", "three", "END")
    await served.finish(job)
    stream = await whole(alice, job)
    opaque, context = served.app[OPAQUE], ("line", job["job_id"])
    plain = opaque.within(*context).open(stream[1][2])
    assert plain is not None
    assert plain.startswith("2:s=")
    for earlier in (plain, opaque.seal(plain, *context)):
        assert await whole(alice, job, **{"Last-Event-ID": earlier}) == stream[2:]
    of_another = opaque.seal(plain, "line", "another job")
    answer = await alice.get(f"/jobs/{job['job_id']}/logs", **EVENTS, **{"Last-Event-ID": of_another})
    assert (answer.status, answer.fields) == (422, ["Last-Event-ID"])


@over_any_backend
async def test_an_event_id_of_another_job_is_refused(served: AnyServed, alice: Client) -> None:
    jobs = [await alice.submit() for _ in range(2)]
    served.log("one", "two", "END")
    for job in jobs:
        await served.finish(job)
    event_id = (await whole(alice, jobs[0]))[0][2]
    answer = await alice.get(f"/jobs/{jobs[1]['job_id']}/logs", **EVENTS, **{"Last-Event-ID": event_id})
    assert (answer.status, answer.fields) == (422, ["Last-Event-ID"])


@over_any_backend
@pytest.mark.parametrize("event_id", ["1", "x", "1:s=1", "-1:" + "a" * 40, "1:--file=/etc/passwd"])
async def test_an_event_id_of_another_stream_is_refused(alice: Client, event_id: str) -> None:
    job = await alice.submit()
    answer = await alice.get(f"/jobs/{job['job_id']}/logs", **EVENTS, **{"Last-Event-ID": event_id})
    assert (answer.status, answer.problem, answer.fields) == (422, "invalid-request", ["Last-Event-ID"])


async def test_a_quiet_stream_has_a_heartbeat(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT", 0.05)
    job = await served.running_job(alice)
    async with asyncio.timeout(20), alice.stream(f"/jobs/{job['job_id']}/logs") as response:
        stream = events(response)
        names = [(await anext(stream))[0] for _ in range(4)]
    assert names == ["state", ":", ":", ":"]


async def test_a_failing_reader_ends_the_stream_with_the_reason(
    served: Served, alice: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journalctl").write_text("#!/bin/sh\necho 'Bad message' >&2\nexit 1\n")
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    job = await served.running_job(alice)
    stream = await whole(alice, job)
    name, data, _ = stream[-1]
    assert (name, data["status"]) == ("error", 503)
    assert "Bad message" in data["detail"]
    alice.document.validate(alice.document.content["components"]["schemas"]["ProblemDocument"], data)


async def test_a_client_that_vanishes_leaves_no_reader_and_no_open_stream(
    served: Served, alice: Client
) -> None:
    job = await served.running_job(alice)
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


async def test_streams_above_the_limit_are_refused_until_one_ends(
    serve: Callable[..., Any],
) -> None:
    served: Served = await serve(max_followers=2)
    alice = await served.known("alice")
    job = await served.running_job(alice)
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
    monkeypatch.setattr(streams, "READ_TIMEOUT", 0.2)
    monkeypatch.setattr(streams, "LAST_EVENT_TIMEOUT", 0.2)
    job = await served.running_job(alice)
    served.log(*("x" * 1000 for _ in range(20_000)))
    port = int(served.base.rpartition(":")[2])
    # The window is soon full: neither kernel can hold much more.
    reader, writer = await asyncio.open_connection("localhost", port, ssl=alice.tls, limit=1000)
    request = f"GET /jobs/{job['job_id']}/logs HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
    writer.write(request.encode())
    assert b"200 OK" in await reader.readline()

    async def cut_off() -> bool:
        return served.app[STREAMS].open_now == 0 and await nobody_reads(served)

    await until(cut_off)

    async def told() -> bool:
        # The client learns of the end although it has not read everything before it.
        state = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return bool(state != ESTABLISHED)

    # The last event may find room in a kernel. Then the limit for unread answers ends the connection.
    await until(told, seconds=60)
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_shutdown_ends_streams_with_the_reason(served: Served, alice: Client) -> None:
    job = await served.running_job(alice)
    async with asyncio.timeout(10), alice.stream(f"/jobs/{job['job_id']}/logs") as response:
        stream = events(response)
        await anext(stream)
        served.log("line")
        await anext(stream)
        stopping = asyncio.create_task(served.http.runner.cleanup())
        name, problem, _ = await anext(stream)
        assert (name, problem["type"], problem["status"]) == ("error", "urn:ml-agent:problem:stopping", 503)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await stopping
    await until(lambda: nobody_reads(served))
    assert served.app[STREAMS].open_now == 0


async def keep(served: Served, job: Any) -> Path:
    """The job's log, as the archiver keeps it."""
    known = await served.jobs.registry.get(job["job_id"])
    file = served.scene.settings.paths_of(known.job_id).log
    file.parent.mkdir(parents=True, exist_ok=True)
    await archive.write(file, Journal().history(known.unit, LineNumbering(Position())))
    return file


async def test_an_archived_log_is_the_same_as_the_journaled_one(served: Served, alice: Client) -> None:
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


@pytest.mark.parametrize(("tail", "numbers"), [(0, []), (1, [3, 4]), (3, [1, 2, 3, 4])])
async def test_a_followed_tail_of_an_archived_log_has_only_its_lines(
    served: Served, alice: Client, tail: int, numbers: list[int]
) -> None:
    job = await alice.submit()
    served.log("one", "two", "three", "END")
    await served.finish(job)
    for _ in ("from the journal", "from the file"):
        async with asyncio.timeout(20), alice.stream(f"/jobs/{job['job_id']}/logs?tail={tail}") as response:
            told = [(name, data.get("number")) async for name, data, _ in events(response)]
        assert told == [*(("line", number) for number in numbers), ("end", None)]
        await keep(served, job)


async def test_a_tail_of_an_archived_log_of_several_blocks_is_its_last_lines(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BLOCK_ITEMS", 3)
    job = await alice.submit()
    printed = [str(number) for number in range(1, 21)]
    served.log(*printed, "END")
    await served.finish(job)
    await keep(served, job)
    for lines in (1, 4, 8, 19, 20, 21):
        path = f"/jobs/{job['job_id']}/logs?tail={lines}"
        assert (await alice.get(path)).body.decode().split() == printed[-lines:]
        async with asyncio.timeout(20), alice.stream(path) as response:
            told = [(name, data) async for name, data, _ in events(response)]
        own = [data["text"] for name, data in told if name == "line" and data["source"] == "job"]
        assert own == printed[-lines:]


async def test_a_gap_at_the_end_follows_the_last_line_in_the_journal_and_the_archive(
    served: Served, alice: Client
) -> None:
    job = await alice.submit()
    served.log("one", "two")
    await served.finish(job, invocation_id="0" * 32)
    known, numbering = await served.jobs.registry.get(job["job_id"]), LineNumbering(Position())

    async def unclosed() -> AsyncIterator[list[Item]]:
        async for items in Journal().history(known.unit, numbering):
            yield items
        yield await Journal().unclosed(known.unit, numbering)

    for kept in (False, True):
        if kept:
            file = served.scene.settings.paths_of(known.job_id).log
            file.parent.mkdir(parents=True)
            await archive.write(file, unclosed())
        stream = await whole(alice, job)
        assert [name for name, _, _ in stream] == ["line", "line", "gap", "end"]
        rest = await whole(alice, job, **{"Last-Event-ID": stream[1][2]})
        assert [name for name, _, _ in rest] == ["gap", "end"]
        async with alice.stream(f"/jobs/{job['job_id']}/logs?tail=2") as response:
            assert [name async for name, _, _ in events(response)] == ["line", "line", "gap", "end"]


async def test_an_event_id_from_the_journal_resumes_in_the_archive(served: Served, alice: Client) -> None:
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


async def test_a_damaged_archive_is_an_error_and_not_a_short_log(served: Served, alice: Client) -> None:
    job = await alice.submit()
    served.log("one", "END")
    await served.finish(job)
    file = await keep(served, job)
    file.write_bytes(file.read_bytes()[:-1])
    name, data, _ = (await whole(alice, job))[-1]
    assert (name, data["type"]) == ("error", "urn:ml-agent:problem:host")


# --- queries and media types ----------------------------------------------------------------------------


async def finished(served: AnyServed, client: Client, *lines: str) -> Any:
    job = await client.submit()
    served.log(*lines, "END")
    await served.finish(job)
    return job


async def objects(client: Client, job: Any, query: str = "") -> list[Any]:
    """The JSON lines of a log."""
    answer = await client.session.get(
        f"{client.base}/jobs/{job['job_id']}/logs{query}", headers={"Accept": "application/x-ndjson"}
    )
    assert answer.content_type == "application/x-ndjson"
    return [json.loads(line) for line in (await answer.read()).splitlines()]


async def test_json_lines_have_the_events_of_the_stream(served: Served, alice: Client) -> None:
    job = await finished(served, alice, "one", 'two "€"')
    stream = await whole(alice, job)
    told = [(each["event"], each["data"], each.get("id", "")) for each in await objects(alice, job)]
    assert told == stream
    LogLine.model_validate(told[0][1])


@pytest.mark.parametrize(
    "text", [b"latin \xe9 and \xff\xfe", b"surrogate \xed\xa0\x80", b"half \xf0\x9f", b"\x80\r\x1b[0m"]
)
def test_a_line_that_is_not_utf_8_has_its_exact_bytes(text: bytes) -> None:
    data = json.loads(lines_module.line_data(Line(1, 0, LogSource.JOB, text, "c")))
    assert data["text"] == text.decode("utf-8", "replace")
    assert b64decode(data["base64"]) == text
    assert LogLine.model_validate(data).printed == text


@pytest.mark.parametrize("text", ["", "größe ✓ \U0001f600", "\ufffd", '\u2028\r\x1b\x00"\\'])
def test_a_line_of_utf_8_is_its_text_alone(text: str) -> None:
    data = json.loads(lines_module.line_data(Line(1, 0, LogSource.JOB, text.encode(), "c")))
    assert (data["text"], "base64" in data) == (text, False)
    assert LogLine.model_validate(data).printed == text.encode()


@pytest.mark.parametrize("stream", [*LogStream, None])
def test_a_line_has_the_stream_that_it_came_over(stream: LogStream | None) -> None:
    line = Line(1, 0, LogSource.JOB, b"text", "c", stream=stream)
    found = LogLine.model_validate_json(lines_module.line_data(line))
    assert (found.stream, found.text) == (stream, "text")


async def test_the_log_of_a_running_job_pauses_unless_it_is_followed(served: Served, alice: Client) -> None:
    job = await served.running_job(alice)
    served.log("one")
    told = await objects(alice, job)
    assert [each["event"] for each in told] == ["line", "pause"]
    assert told[-1]["data"]["status"] == "RUNNING"


async def test_the_plain_log_of_a_running_job_is_what_it_has_printed(served: Served, alice: Client) -> None:
    job = await served.running_job(alice)
    served.log("one", "\x1b[31mtwo", "drei €")
    answer = await alice.get(f"/jobs/{job['job_id']}/logs")
    assert answer.body.decode() == "one\n\x1b[31mtwo\ndrei €\n"


async def test_a_plain_log_can_be_followed(served: Served, alice: Client) -> None:
    job = await served.running_job(alice)
    path = f"{alice.base}/jobs/{job['job_id']}/logs?follow=true"
    async with asyncio.timeout(20), alice.session.get(path) as response:
        served.log("one")
        assert await response.content.readline() == b"one\n"
        served.log("two", "END")
        await served.end(job)
        assert await response.content.read() == b"two\n"


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("?grep=^line [13]$", [1, 3]),
        ("?grep=LINE", []),
        ("?grep=(?i)LINE&tail=2", [3, 4]),
        ("?since=1970-01-01T00:00:03Z", [3, 4, 5]),
        ("?since=1970-01-01T00:00:02Z&until=1970-01-01T01:00:03%2B01:00", [2, 3]),
        ("?until=1970-01-01T00:00:02Z&tail=1", [2]),
    ],
)
async def test_lines_can_be_filtered_by_time_and_expression(
    served: Served, alice: Client, query: str, numbers: list[int]
) -> None:
    job = await finished(served, alice, "line 1", "line 2", "line 3", "line 4")
    for _ in ("from the journal", "from the file"):
        told = await objects(alice, job, query)
        assert [each["data"]["number"] for each in told if each["event"] == "line"] == numbers
        assert told[-1]["event"] == "end"
        await keep(served, job)


async def test_an_event_id_may_be_in_the_query(served: Served, alice: Client) -> None:
    job = await finished(served, alice, "one", "two", "three")
    told = await objects(alice, job)
    rest = await objects(alice, job, f"?since={told[1]['id']}")
    assert rest == told[2:]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("grep=(", "grep"),
        ("grep=(?=x)", "grep"),
        (r"grep=(a)\1", "grep"),
        ("grep=" + "x" * 129, "grep"),
        ("grep=((a{500}){500}){500}", "grep"),
        ("grep=(?:[ -~]{1,210}){1,210}[A-Z]", "grep"),
        ("since=yesterday", "since"),
        ("since=2026-01-01T00:00:00", "since"),
        ("until=2026-01-01T00:00:00Z&follow=true", "until"),
        ("follow=perhaps", "follow"),
    ],
)
async def test_an_invalid_query_is_refused_by_its_field(alice: Client, query: str, field: str) -> None:
    job = await alice.submit()
    answer = await alice.get(f"/jobs/{job['job_id']}/logs?{query}")
    assert (answer.status, answer.fields) == (422, [field])


@pytest.mark.parametrize("expression", ["(a+)+$", "^(a|a)*$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_no_expression_takes_exponential_time(expression: str) -> None:
    # Python's own engine would take exponential time.
    assert pattern(expression)("a" * 48_000 + "!") is False


@pytest.mark.parametrize(
    "expression",
    [
        "(?:[ -~]{1,210}){1,210}[A-Z]",
        ".{1,129}",
        ".{129,}",
        ".{,129}",
        "(?:.?.?.?){50}",
        "((((.?){5}){5}){5})x",
        "(.{20}?){20}",
        "(.{20}){2}{10}",
        "(.?.?.?)?{50}",
        "(.?.?.?){2}{30}",
        "[)].{50}(?:.[(].){50}",
        "(?:.?.?.?[)].?){40}",
        "(?:.[)].?.?[(]){40}",
        r"(?:.?.?\\){40}",
        r"(?:.?.?\{){40}",
        "(?x)(?:.?.?.?) {50}",
        "(?x)(?:.?.?.?)\u200e{50}",
        "(?x)(?:.?.?.?)#a\n{50}",
        "(?x)(?:.?.?.?)#\\\n{50}",
        "(?x)(?:.?.?.? #)\n){50}",
        "(?x)(?:.?.?.?){ 5 0 }",
        "(?x)(?:.?.?.?){5#\n0}",
        "(?x)(?:#\\p{\n.?.?.?}){50}",
        "[{](?:.?.?.?){50}",
    ],
)
def test_counts_in_an_expression_are_bounded_as_if_written_out(expression: str) -> None:
    with pytest.raises(AgentError) as refused:
        pattern(expression)
    (field,) = refused.value.fields
    assert field.field == "grep"
    assert "counts" in field.message


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("[0-9a-f]{64}", "9f" * 32),
        (".{100,}", "x" * 100),
        (r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}", "2026-01-01T12:00:00Z"),
        (r"\b(?:\d{1,3}\.){3}\d{1,3}\b", "from 192.0.2.10"),
        (r"([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}", "2001:db8:0:0:0:0:0:1"),
        (r"\p{Greek}{2}\x{1F600}", "αβ😀"),
        (r'\{"loss": ?\d+\}', '{"loss": 3}'),
        ("x" * 128, "x" * 128),
    ],
)
def test_common_expressions_are_within_the_bound(expression: str, text: str) -> None:
    assert pattern(expression)(text)


async def test_filters_with_an_expression_take_turns_with_everything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines_module, "SLICE", 0)
    matched: list[str] = []
    turn = asyncio.Lock()

    async def look(name: str) -> list[Item]:
        def matches(text: str) -> bool:
            matched.append(name)
            return text == "x"

        monkeypatch.setattr(lines_module, "pattern", lambda _: matches)
        only = LineFilter(since=None, until=None, grep="x", turn=turn)
        items: list[Item] = [Line(n, n, LogSource.JOB, (b"x", b"y")[n % 2], f"c{n}") for n in range(10)]
        return await only(items)

    async def others() -> None:
        while True:
            matched.append("others")
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    found = await asyncio.gather(look("a"), look("b"))
    beside.cancel()
    assert [[each.position.number for each in items] for items in found] == [[0, 2, 4, 6, 8]] * 2
    # Something else runs between any two lines of one filter.
    assert all("others" in pair for pair in pairwise(matched))


async def test_one_user_cannot_open_all_streams(serve: Callable[..., Any]) -> None:
    served: Served = await serve(max_followers_per_user=1)
    alice, bob = await served.known("alice"), await served.known("bob")
    hers, his = await served.running_job(alice), await bob.submit()
    path = f"/jobs/{hers['job_id']}/logs"
    async with alice.stream(path):
        answer = await alice.get(path)
        assert (answer.status, answer.problem) == (429, "too-many-streams")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await bob.get(f"/jobs/{his['job_id']}/logs")).status == 200


async def test_a_slow_client_that_reads_again_is_told_why_it_was_cut_off(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_TIMEOUT", 0.2)
    cut_off, document = asyncio.Event(), problems.document

    def noted(error: AgentError) -> ProblemDocument:
        cut_off.set()
        return document(error)

    monkeypatch.setattr(streams, "document", noted)
    job = await served.running_job(alice)
    served.log(*("x" * 1000 for _ in range(20_000)))
    async with asyncio.timeout(20), alice.stream(f"/jobs/{job['job_id']}/logs") as response:
        await cut_off.wait()
        told = [event async for event in events(response)]
    name, problem, _ = told[-1]
    assert (name, problem["type"]) == ("error", "urn:ml-agent:problem:slow-reader")
    received, last = [(data["number"], event_id) for name, data, event_id in told if name == "line"][-1]
    async with (
        asyncio.timeout(20),
        alice.stream(f"/jobs/{job['job_id']}/logs", **{"Last-Event-ID": last}) as again,
    ):
        stream = events(again)
        numbers = [data["number"] async for name, data, _ in _until(stream, 20_000) if name == "line"]
    assert numbers == list(range(received + 1, 20_001))


async def _until(
    stream: AsyncIterator[tuple[str, Any, str]], number: int
) -> AsyncIterator[tuple[str, Any, str]]:
    async for event in stream:
        yield event
        if event[0] == "line" and event[1]["number"] == number:
            return
