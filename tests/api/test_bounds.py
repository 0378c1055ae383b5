"""The limits of connections: number, time and size. The peers here send raw bytes over real TLS."""

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from agent.api.server import connection, connections, listener
from agent.api.server.connections import Rounds
from agent.jobs.artifacts import READ_BYTES
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_backend
from tests.support.served import Served
from tests.support.waiting import until

ESTABLISHED = 1  # tcp(7), tcpi_state
Serve = Callable[..., Any]
GET = b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"script_name": "succeed.py"}'
SUBMIT = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@dataclass
class Heard:
    """One answer. `closed` says that the connection ends behind it."""

    status: int
    head: bytes
    body: bytes
    closed: bool

    @property
    def problem(self) -> str:
        return str(json.loads(self.body)["type"]).rpartition(":")[2]


@dataclass
class Peer:
    """A connection that may send anything."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def hear(self) -> Heard:
        """The next answer."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            body = await self.reader.readexactly(int(lengths[0].split(b":")[1])) if lengths else b""
            closed = b"connection: close" in head.lower() or head.startswith(b"HTTP/1.0")
            if closed:
                assert await self.reader.read() == b""
        return Heard(int(head.split(b" ")[1]), head, body, closed)

    async def end(self) -> bytes:
        """Everything until the agent closes the connection."""
        heard = b""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while part := await self.reader.read(65536):
                    heard += part
        return heard

    def stop_reading(self) -> None:
        """Leaves what the agent sends in the kernel."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    async def drip(self, data: bytes) -> None:
        """Sends one byte at a time until the agent closes the connection."""
        with contextlib.suppress(ConnectionError):
            for byte in data:
                self.writer.write(bytes([byte]))
                await self.writer.drain()
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def peer(
    served: Served, client: Client, *sent: bytes, kernel: int | None = None
) -> AsyncIterator[Peer]:
    """A peer with the certificate of the client, which has sent these bytes.

    `kernel` bounds the bytes that its kernel takes before it reads them.
    """
    connecting = socket.socket()
    if kernel is not None:
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kernel)
    connecting.setblocking(False)
    await asyncio.get_running_loop().sock_connect(
        connecting, ("127.0.0.1", int(served.base.rpartition(":")[2]))
    )
    reader, writer = await asyncio.open_connection(
        sock=connecting, server_hostname="localhost", ssl=client.tls, limit=65536
    )
    try:
        for part in sent:
            writer.write(part)
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def none_is_left(served: Served) -> None:
    async def look() -> bool:
        return not served.connections

    await until(look)


async def one_is_there(served: Served) -> None:
    async def look() -> bool:
        return len(served.connections) == 1

    await until(look)


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent hardly waits for the rest of a refused body."""
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.1)


# Time


@over_any_backend
async def test_a_slow_header_times_out(serve: Serve) -> None:
    served = await serve(header_seconds=0.2)
    alice = await served.known("alice")
    async with peer(served, alice) as slow:
        dripping = asyncio.create_task(slow.drip(GET + b"X: " + b"x" * 10_000))
        heard = await slow.hear()
        dripping.cancel()
    assert (heard.status, heard.problem, heard.closed) == (408, "request-timeout", True)
    assert b"Server: ml-agent\r\n" in heard.head
    await none_is_left(served)


async def test_a_slow_header_after_a_request_times_out(serve: Serve) -> None:
    served = await serve(header_seconds=0.2)
    alice = await served.known("alice")
    async with peer(served, alice, GET + b"\r\n") as slow:
        assert (await slow.hear()).status == 200
        dripping = asyncio.create_task(slow.drip(GET + b"X: " + b"x" * 10_000))
        assert (await slow.hear()).problem == "request-timeout"
        dripping.cancel()


async def test_an_idle_connection_is_closed(serve: Serve) -> None:
    served = await serve(idle_seconds=0.2)
    alice = await served.known("alice")
    async with peer(served, alice) as idle, peer(served, alice, GET + b"\r\n") as kept:
        assert await idle.end() == b""
        assert (await kept.hear()).status == 200
        assert await kept.end() == b""
    await none_is_left(served)


@over_any_backend
@pytest.mark.parametrize("framing", [b"Content-Length: 10000", b"Transfer-Encoding: chunked"])
async def test_a_slow_body_times_out(serve: Serve, framing: bytes) -> None:
    served = await serve(body_seconds=0.2)
    alice = await served.known("alice")
    async with peer(served, alice, POST + framing + b"\r\n\r\n") as slow:
        dripping = asyncio.create_task(slow.drip(b"1\r\n \r\n" * 1000))
        heard = await slow.hear()
        dripping.cancel()
    assert (heard.status, heard.problem, heard.closed) == (408, "request-timeout", True)
    await served.nothing_is_left()


async def test_a_slow_body_of_a_get_times_out(serve: Serve) -> None:
    served = await serve(body_seconds=0.2)
    alice = await served.known("alice")
    async with peer(served, alice, GET + b"Content-Length: 10\r\n\r\n") as slow:
        assert (await slow.hear()).problem == "request-timeout"


async def test_ended_connections_leave_no_reference_cycles(serve: Serve) -> None:
    """Otherwise the collector would stop everything, and clients that stall come back all the time."""
    served: Served = await serve(header_seconds=0.2)
    alice = await served.known("alice")
    path = f"/jobs/{(await alice.submit())['job_id']}/logs"
    follow = GET.replace(b"/jobs", path.encode()) + b"Accept: text/event-stream\r\n\r\n"
    second = await served.http.listen(served.authorities.directory)

    async def handshake_is_under_way() -> bool:
        return served.http.newest_listener.handshakes == 1

    gc.collect()
    gc.disable()
    try:
        async with peer(served, alice, GET + b"\r\n") as kept:
            assert (await kept.hear()).status == 200
        async with peer(served, alice, POST + b"Content-Length: 10\r\n\r\n"):
            pass
        async with peer(served, alice, follow) as follower:
            await follower.reader.readuntil(b"event: waiting")
        async with peer(served, alice, GET + b"X: ") as slow:
            assert (await slow.hear()).status == 408
        reader, writer = await asyncio.open_connection("localhost", int(served.base.rpartition(":")[2]))
        writer.write(b"This is no handshake.")
        await reader.read()
        writer.close()
        silent, writer = await asyncio.open_connection("localhost", int(second.rpartition(":")[2]))
        await until(handshake_is_under_way)
        await served.http.newest_listener.finish(0)
        assert await silent.read() == b""
        writer.close()
        await alice.session.close()

        async def gone() -> bool:
            kinds = (connection.Connection, web.Request, web.StreamResponse)
            return not any(type(each) in kinds for each in gc.get_objects())

        await until(gone)
    finally:
        gc.enable()


async def test_a_download_is_broken_off_if_it_is_not_read_at_all(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(unread_seconds=1)
    alice = await served.known("alice")
    job = await alice.submit()
    with (served.artifacts(job) / "large").open("wb") as file:
        file.truncate(32 * 2**20)
    download = f"GET /jobs/{job['job_id']}/artifacts/large HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with peer(served, alice, download) as slow, peer(served, alice, download) as deaf:

        async def unread_is_gone() -> bool:
            # The slow client reads meanwhile.
            await slow.reader.read(65536)
            return len(served.connections) == 2  # the client's own, and the one that reads

        await until(unread_is_gone)
        assert await slow.reader.read(65536)

        async def told() -> bool:
            # The client learns of the end although it has not read everything before it.
            state = deaf.writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
            return bool(state[0] != ESTABLISHED)

        await until(told)
    assert not caplog.records


async def test_a_download_that_is_read_slowly_goes_on(serve: Serve) -> None:
    served = await serve(unread_seconds=1)
    alice = await served.known("alice")
    job = await alice.submit()
    with (served.artifacts(job) / "large").open("wb") as file:
        file.truncate(32 * 2**20)
    download = f"GET /jobs/{job['job_id']}/artifacts/large HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def read_slowly() -> int:
        """A piece of the answer takes longer than the limit, but some of it is read in that time."""
        read = 0
        with socket.socket() as connecting:
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connecting.connect(("127.0.0.1", int(served.base.rpartition(":")[2])))
            with alice.tls.wrap_socket(connecting, server_hostname="localhost") as tls:
                tls.sendall(download)
                for _ in range(12):
                    time.sleep(0.4)
                    read += sum(len(tls.recv(4096)) for _ in range(16))
        return read

    assert await asyncio.to_thread(read_slowly) > 500_000


async def test_the_buffer_for_a_client_that_does_not_read_is_bounded(served: Served, alice: Client) -> None:
    job = await alice.submit()
    with (served.artifacts(job) / "large").open("wb") as file:
        file.truncate(32 * 2**20)
    download = f"GET /jobs/{job['job_id']}/artifacts/large HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    async def held() -> int:
        return sum(each.unread for each in served.connections.all() if each.writing_paused)

    async with peer(served, alice, download, kernel=65536):
        assert READ_BYTES < await until(held) <= connection.UNREAD


async def test_a_closing_connection_is_broken_off_if_the_client_does_not_close(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "SHUTDOWN_SECONDS", 3600.0)
    monkeypatch.setattr(connection, "CLOSING_SECONDS", 0.1)
    served = await serve(header_seconds=0.2)
    alice = await served.known("alice")
    async with peer(served, alice, GET) as deaf:
        deaf.stop_reading()
        await one_is_there(served)
        await none_is_left(served)


async def test_a_slow_request_within_the_time_limits_is_answered(serve: Serve) -> None:
    served = await serve(header_seconds=5, body_seconds=5, idle_seconds=5)
    alice = await served.known("alice")
    async with peer(served, alice) as slow:
        for part in (SUBMIT[:20], SUBMIT[20:-10], SUBMIT[-10:]):
            slow.writer.write(part)
            await asyncio.sleep(0.05)
        assert (await slow.hear()).status == 202


# Number


async def test_at_the_limit_the_users_longest_waiting_connection_is_closed(serve: Serve) -> None:
    served = await serve(max_connections_per_user=3)
    alice, bob = await served.known("alice"), await served.known("bob")
    async with contextlib.AsyncExitStack() as stack:
        his = await stack.enter_async_context(peer(served, bob, GET + b"\r\n"))
        assert (await his.hear()).status == 200
        hers = []
        for _ in range(4):
            each = await stack.enter_async_context(peer(served, alice, GET + b"\r\n"))
            assert (await each.hear()).status == 200
            hers.append(each)
        assert await hers[0].end() == b""
        for each in (*hers[1:], his):
            each.writer.write(GET + b"\r\n")
            assert (await each.hear()).status == 200
        assert len(served.connections) == 4


async def test_slow_headers_give_way_to_an_honest_connection_of_the_user(serve: Serve) -> None:
    served = await serve(max_connections_per_user=3)
    alice = await served.known("alice")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(peer(served, alice, GET))
        assert (await alice.get("/jobs")).status == 200
        assert len(served.connections) <= 3


async def test_stalled_bodies_and_answers_give_way_to_an_honest_connection_of_the_user(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GRACE", 0.0)
    served = await serve(max_connections_per_user=4)
    alice = await served.known("alice")
    job = await alice.submit()
    with (served.artifacts(job) / "large").open("wb") as file:
        file.truncate(8 * 2**20)
    download = f"GET /jobs/{job['job_id']}/artifacts/large HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with contextlib.AsyncExitStack() as stack:
        for sent in (download, POST + b"Content-Length: 10\r\n\r\n") * 4:
            await stack.enter_async_context(peer(served, alice, sent))

            async def stands() -> bool:
                return all(each.waiting_since is not None for each in served.connections.all())

            await until(stands)
        for _ in range(3):
            async with peer(served, alice, GET + b"\r\n") as honest:
                assert (await honest.hear()).status == 200
        assert len(served.connections) <= 4


@over_any_backend
async def test_a_user_with_only_busy_connections_is_told_about_the_limit(serve: Serve) -> None:
    served = await serve(max_connections_per_user=2)
    alice, bob = await served.known("alice"), await served.known("bob")
    async with alice.stream("/events"), alice.stream("/events"):
        answer = await alice.get("/jobs")
        assert (answer.status, answer.problem) == (429, "too-many-connections")
        assert answer.headers["Connection"] == "close"
        assert int(answer.headers["Retry-After"]) > 0
        assert (await bob.get("/jobs")).status == 200


async def test_with_only_busy_connections_the_next_one_is_told_about_the_limit(serve: Serve) -> None:
    served = await serve(max_connections=2)
    alice, bob = await served.known("alice"), await served.known("bob")
    async with alice.stream("/events"), alice.stream("/events"):
        answer = await bob.get("/jobs")
        assert (answer.status, answer.problem) == (503, "busy")
        assert answer.headers["Connection"] == "close"


async def test_at_the_total_limit_the_longest_waiting_connection_is_closed(serve: Serve) -> None:
    served = await serve(max_connections=3)
    alice, bob = await served.known("alice"), await served.known("bob")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(peer(served, alice))
        assert (await bob.get("/jobs")).status == 200
        assert len(served.connections) <= 3


# Size and form


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"".join(b"X-%d: y\r\n" % number for number in range(70)) + b"\r\n",
        GET + b"X: " + b"y" * 9000 + b"\r\n\r\n",
        GET + b"y" * 9000 + b": x\r\n\r\n",
        b"GET /jobs?script=" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /" + b"a" * 100_000,
        GET + b"X: " + b"y" * 100_000,
        b"A" * 100_000,
        b"\x16\x03\x01 this is TLS\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\n\r\n",
        GET + b"Host: other\r\n\r\n",
        GET + b"X\0: y\r\n\r\n",
        GET + b"X: a\r\n b\r\n\r\n",
        b"GET /jobs\nHost: localhost\n\n",
    ],
    ids=range(14),
)
async def test_malformed_or_too_large_http_is_refused_and_not_logged(
    served: Served, alice: Client, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with peer(served, alice, sent) as other:
        heard = await other.hear()
    assert (heard.status, heard.problem, heard.closed) == (400, "malformed-request", True)
    assert b"application/problem+json" in heard.head
    assert b"Server: ml-agent\r\n" in heard.head
    assert b"aiohttp" not in heard.head
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 4\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Content-Length: -5",
        b"Content-Length: 0x5",
        b"Content-Length : 5",
        b"Content-Length: 99999999999999999999999",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding:\x0bchunked",
    ],
)
async def test_a_body_with_an_ambiguous_length_is_refused_with_everything_behind_it(
    served: Served, alice: Client, framing: bytes
) -> None:
    async with peer(served, alice, POST + framing + b"\r\n\r\n0\r\n\r\n" + SUBMIT) as smuggler:
        heard = await smuggler.hear()
    assert (heard.status, heard.problem, heard.closed) == (400, "malformed-request", True)
    await served.nothing_is_left()


@pytest.mark.parametrize("chunk", [b"fffffffffffffffff\r\n", b"5\n{}\r\n", b"-1\r\n", b"zz\r\n"])
async def test_malformed_chunks_are_refused(
    served: Served, alice: Client, chunk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with peer(served, alice, POST + b"Transfer-Encoding: chunked\r\n\r\n", chunk + SUBMIT) as other:
        heard = await other.hear()
    assert (heard.status, heard.problem) == (400, "malformed-request")
    await served.nothing_is_left()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_user_who_reads_no_answers_gets_no_more_of_them(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD_PER_USER", 2 * 2**20)
    served = await serve(request_burst=100_000)
    alice, bob = await served.known("alice"), await served.known("bob")
    labels = {f"label-{number}": "ä" * 250 for number in range(30)}
    for _ in range(60):
        await alice.submit(labels=labels)
    page = b"GET /jobs?limit=200 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    size = len((await alice.get("/jobs?limit=200")).body)
    assert 800_000 < size <= 2**20

    async def unread() -> int:
        return sum(each.unread for each in served.connections.all())

    async with contextlib.AsyncExitStack() as peers:
        for _ in range(20):
            greedy = await peers.enter_async_context(peer(served, alice, kernel=65536))
            greedy.stop_reading()
            greedy.writer.write(page)

        async def all_are_answered() -> bool:
            return bool(served.http.runner.server.requests_count >= 20 + 60 + 1)

        await until(all_are_answered)
        assert size < await unread() <= 2 * 2**20
        refused = await alice.get("/jobs?limit=200")
        assert (refused.status, refused.problem) == (429, "too-much-unread")
        # Small answers, what changes something, and other users are not concerned.
        assert (await alice.get("/jobs?limit=1")).status == 200
        await alice.submit(labels=labels)
        assert (await bob.get("/jobs?limit=200")).status == 200
    await until(lambda: nothing_waits(served))
    assert (await alice.get("/jobs?limit=200")).status == 200


async def test_the_user_who_reads_least_gives_way_where_all_have_not_read_too_much(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD", 3 * 2**20)
    served = await serve(request_burst=100_000)
    alice, bob = await served.known("alice"), await served.known("bob")
    for client in (alice, bob):
        for _ in range(60):
            await client.submit(labels={f"label-{number}": "ä" * 250 for number in range(30)})
    page = b"GET /jobs?limit=200 HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def resets() -> bool:
        return len(served.connections) < 2 + 1 + 8

    async with contextlib.AsyncExitStack() as peers:
        for client in (bob, *(alice,) * 8):
            greedy = await peers.enter_async_context(peer(served, client, kernel=65536))
            greedy.stop_reading()
            greedy.writer.write(page)
        await until(resets)
        holders = [each.holder for each in served.connections.all()]
        assert sum("bob" in holder for holder in holders) == 1 + 1
        assert (await bob.get("/jobs?limit=200")).status == 200
        assert sum(each.unread for each in served.connections.all()) <= 3 * 2**20


async def nothing_waits(served: Served) -> bool:
    return not any(each.unread for each in served.connections.all())


async def test_a_media_type_that_is_no_text_is_refused(served: Served, alice: Client) -> None:
    request = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: a/\xff\r\nContent-Length: 2\r\n\r\n{}"
    async with peer(served, alice, request) as sender:
        heard = await sender.hear()
        assert (heard.status, json.loads(heard.body)["type"].rpartition(":")[2]) == (
            415,
            "unsupported-media-type",
        )


async def test_a_too_large_content_length_is_refused_before_the_body(serve: Serve) -> None:
    served = await serve(max_body_bytes=2000)
    alice = await served.known("alice")
    async with peer(served, alice, POST + b"Content-Length: 5000000\r\n\r\n") as other:
        heard = await other.hear()
    assert (heard.status, heard.problem) == (413, "body-too-large")


@pytest.mark.parametrize("path", [b"/jobs", b"/nowhere"])
async def test_endless_chunks_are_refused_at_the_limit(serve: Serve, path: bytes) -> None:
    served = await serve(max_body_bytes=2000)
    alice = await served.known("alice")
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" % path
    async with peer(served, alice, head, b"100\r\n" + b" " * 256 + b"\r\n" * 1) as other:
        sending = asyncio.create_task(other.drip(b""))
        for _ in range(20):
            other.writer.write(b"100\r\n" + b" " * 256 + b"\r\n")
        heard = await other.hear()
        sending.cancel()
    assert (heard.status, heard.problem) == (413, "body-too-large")


async def test_unread_answers_delay_the_requests_behind_them(serve: Serve) -> None:
    served = await serve(unread_seconds=0.5)
    alice = await served.known("alice")
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with peer(served, alice) as greedy:
        greedy.stop_reading()
        greedy.writer.write(request * 3000)
        await one_is_there(served)
        await none_is_left(served)
    assert served.http.runner.server is not None
    assert 1 < served.http.runner.server.requests_count < 2500


def body_of(size: int, *, sent: int) -> bytes:
    """A request with a part of its body."""
    return POST + b"Content-Length: %d\r\n\r\n" % size + b" " * sent


FILLER = b"\r\nY: " + b"y" * 7000


@pytest.mark.parametrize(
    ("begin", "more", "rest"),
    [
        (body_of(200_000, sent=8000), b" " * 7000, b" " * 192_000),
        (GET + b"X: 1", FILLER, b"\r\n\r\n"),
        (GET + b"\r\n" + GET + b"X: 1", FILLER, b"\r\n\r\n"),
    ],
    ids=["body", "header", "the next header"],
)
async def test_unanswered_bytes_of_a_user_are_bounded(
    served: Served,
    alice: Client,
    bob: Client,
    monkeypatch: pytest.MonkeyPatch,
    begin: bytes,
    more: bytes,
    rest: bytes,
) -> None:
    monkeypatch.setattr(connections, "MAX_UNANSWERED_PER_USER", 50_000)
    async with peer(served, alice, begin) as small, peer(served, alice, begin, *[more] * 8) as large:
        await large.end()
        async with peer(served, bob, GET + b"\r\n") as other:
            assert (await other.hear()).status == 200
        monkeypatch.setattr(connections, "MAX_UNANSWERED_PER_USER", 2**30)
        small.writer.write(rest)
        assert (await small.hear()).status in (200, 400)


async def test_requests_that_come_at_once_are_all_answered(served: Served, alice: Client) -> None:
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(peer(served, alice, GET + b"\r\n")) for _ in range(30)]
        for each in peers:
            assert (await each.hear()).status == 200
        for each in peers:
            each.writer.write(GET)
        await asyncio.sleep(0)
        for each in peers:
            each.writer.write(b"\r\n" + GET + b"\r\n")
        for each in peers:
            assert [(await each.hear()).status for _ in range(2)] == [200, 200]
        assert {each.unanswered for each in served.connections.all()} == {0}


async def test_few_things_of_a_user_begin_in_one_round_of_the_event_loop() -> None:
    rounds, begun, at_once = Rounds(), list[int](), connections.BEGIN_AT_ONCE
    for number in range(5 * at_once):
        rounds.begin("alice", partial(begun.append, number))
    assert begun == list(range(at_once))
    await rounds.turn("bob")
    assert len(begun) == at_once, "a turn that is free is had in the same round"
    last = asyncio.create_task(rounds.turn("alice"))
    ended = asyncio.create_task(rounds.turn("alice"))
    await asyncio.sleep(0)
    ended.cancel()
    seen = []
    while not last.done():
        seen.append(len(begun))
        await asyncio.sleep(0)
    assert begun == list(range(5 * at_once))
    assert all(later - earlier <= at_once for earlier, later in itertools.pairwise(seen))
    while begun[-1] != -1:
        rounds.begin("alice", partial(begun.append, -1))
        await asyncio.sleep(0)


async def test_of_all_users_the_one_with_the_most_unanswered_bytes_loses_a_connection(
    served: Served, alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_UNANSWERED", 50_000)
    async with (
        peer(served, alice, body_of(200_000, sent=45_000)) as most,
        peer(served, bob, body_of(10_000, sent=2000)) as less,
    ):
        await one_has(served, 45_000)
        less.writer.write(b" " * 8000)
        await most.end()
        assert (await less.hear()).status == 400


async def test_answered_bytes_do_not_count(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_UNANSWERED_PER_USER", 50_000)
    request = POST + b"Content-Length: 20000\r\n\r\n" + b" " * 20_000
    async with peer(served, alice) as steady, peer(served, alice) as other:
        for each in (steady, other) * 10:
            each.writer.write(request)
            assert (await each.hear()).status == 400
        assert [each.unanswered for each in served.connections.all()] == [0, 0]


async def one_has(served: Served, size: int) -> None:
    async def look() -> bool:
        return any(each.unanswered >= size for each in served.connections.all())

    await until(look)


async def test_an_agent_that_stops_says_that_its_answers_are_the_last(served: Served, alice: Client) -> None:
    async with peer(served, alice, GET + b"\r\n") as kept:
        assert not (await kept.hear()).closed
        served.connections.stopping = True
        kept.writer.write(GET + b"\r\n")
        heard = await kept.hear()
    assert (heard.status, heard.closed) == (200, True)


async def test_pipelined_requests_are_answered_in_order(served: Served, alice: Client) -> None:
    async with peer(served, alice, (GET + b"\r\n") * 100) as eager:
        for _ in range(100):
            assert (await eager.hear()).status == 200


async def test_an_expect_header_is_met_or_refused_with_a_problem(served: Served, alice: Client) -> None:
    head = POST + b"Content-Length: %d\r\n" % len(BODY)
    async with peer(served, alice, head + b"Expect: 100-continue\r\n\r\n") as polite:
        assert (await polite.hear()).status == 100
        polite.writer.write(BODY)
        assert (await polite.hear()).status == 202
    async with peer(served, alice, head + b"Expect: tea\r\n\r\n", BODY) as odd:
        assert (await odd.hear()).problem == "malformed-request"


async def test_http_1_0_is_answered_and_its_connection_closed(served: Served, alice: Client) -> None:
    async with peer(served, alice, b"GET /jobs HTTP/1.0\r\n\r\n") as old:
        heard = await old.hear()
    assert (heard.status, heard.closed) == (200, True)


@pytest.mark.parametrize(
    "wish",
    [
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    ],
)
async def test_upgrade_and_connect_are_not_supported(served: Served, alice: Client, wish: bytes) -> None:
    async with peer(served, alice, GET + wish + b"\r\n\r\n") as other:
        assert (await other.hear()).status == 200
    async with peer(served, alice, b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n\r\n") as proxy:
        assert (await proxy.hear()).status >= 400


async def test_a_page_ends_at_its_size_limit_and_the_next_page_continues(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.database.MAX_PAGE_SIZE", 30_000)
    made = [
        (await alice.submit(hyperparameters={f"p{number}": "x" * 4000 for number in range(3)}))["job_id"]
        for _ in range(5)
    ]
    found: list[str] = []
    cursor, pages = "", 0
    while pages < 10:
        page = (await alice.get(f"/jobs?limit=200{cursor}")).json
        found += [job["job_id"] for job in page["jobs"]]
        pages += 1
        if "next_cursor" not in page:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == made[::-1]
    assert pages == 3


async def test_the_size_of_all_parameters_is_bounded_also_in_a_rerun(alice: Client) -> None:
    half = {f"p{number}": "x" * 4000 for number in range(5)}
    job = await alice.submit(hyperparameters=half)
    more = {f"q{number}": "\N{SNOWMAN}" * 1500 for number in range(4)}
    answer = await alice.post("/jobs", {"script_name": "succeed.py", "hyperparameters": half | more})
    assert (answer.status, answer.fields) == (422, ["hyperparameters"])
    answer = await alice.post(f"/jobs/{job['job_id']}/rerun", {"hyperparameters": more})
    assert (answer.status, answer.fields) == (422, ["hyperparameters"])
    many = {f"r{number}": "1" for number in range(98)}
    answer = await alice.post(f"/jobs/{job['job_id']}/rerun", {"hyperparameters": many})
    assert (answer.status, answer.fields) == (422, ["hyperparameters"])
