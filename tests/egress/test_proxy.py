"""The proxy: what it refuses, that it carries everything else unchanged, and what it holds meanwhile."""

import asyncio
import contextlib
import ipaddress
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from agent.config import EgressSettings
from agent.egress import proxy as proxy_module
from agent.egress.policy import Policy
from agent.egress.proxy import CHUNK, LOOK, MAX_HEAD, Proxy, is_own, job_of, open_connection
from tests.support.waiting import until

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@contextlib.asynccontextmanager
async def serving(
    rules: EgressSettings, directory: Path, job_of: Callable[[socket.socket], str] = job_of
) -> AsyncIterator[tuple[Connect, Proxy]]:
    """A proxy on a socket in the directory."""
    proxy = Proxy(Policy(rules), job_of)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "proxy"))
    async with await asyncio.start_server(proxy.serve, sock=listener, limit=MAX_HEAD):
        yield lambda: asyncio.open_unix_connection(directory / "proxy"), proxy


@pytest.fixture
def in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes whatever cgroup this test is in for a job's."""
    monkeypatch.setattr(proxy_module, "JOBS_CGROUP", re.compile(r"(:)"))


async def ask(connect: Connect, request: bytes) -> bytes:
    """All that the proxy answers to what is sent, and no more is."""
    reader, writer = await connect()
    writer.write(request)
    writer.write_eof()
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def loopback(port: int) -> EgressSettings:
    return EgressSettings(allow=[f"127.0.0.1:{port}"], private=[ip_network("127.0.0.1/32")])


@pytest.mark.usefixtures("in_a_job")
async def test_bytes_are_carried_unchanged_both_ways(tmp_path: Path, echo: int) -> None:
    data = os.urandom(3_000_000)
    async with serving(loopback(echo), tmp_path) as (connect, proxy):
        request = f"CONNECT 127.0.0.1:{echo} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        reader, writer = await connect()
        writer.write(request + data)
        writer.write_eof()
        head = await reader.readuntil(b"\r\n\r\n")
        assert head == b"HTTP/1.1 200 Connection established\r\n\r\n"
        assert await reader.read() == data
        writer.close()
        await writer.wait_closed()

        await until(lambda: proxy.idle)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n", 403),
        (b"CONNECT localhost:443 HTTP/1.1\r\n\r\n", 403),
        (b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", 403),
        (b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n", 403),
        (b"CONNECT 0x7f000001:443 HTTP/1.1\r\n\r\n", 403),
        (b"CONNECT a@b:443 HTTP/1.1\r\n\r\n", 403),
        (b"CONNECT %00:443 HTTP/1.1\r\n\r\n", 403),
        (b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", 405),
        (b"CONNECT  x:443 HTTP/1.1\r\n\r\n", 405),
        (b"CONNECT x HTTP/1.1\r\n\r\n", 405),
        (b"\x16\x03\x01\n\r\n\r\n", 405),
        (b"CONNECT x:443 HTTP/1.1\r\n" + b"a: b\r\n" * 3000, 431),
        (b"x" * 100_000, 431),
    ],
)
@pytest.mark.usefixtures("in_a_job")
async def test_a_refusal_has_a_status_and_a_reason(tmp_path: Path, request_: bytes, status: int) -> None:
    async with serving(loopback(9), tmp_path) as (connect, _):
        answer = await ask(connect, request_)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\n\r\nml-egress: " in answer


@pytest.mark.parametrize("private", [["127.0.0.0/8"], ["127.0.0.1/32", "127.0.0.0/30"], ["0.0.0.0/0"]])
@pytest.mark.usefixtures("in_a_job")
async def test_a_permitted_network_does_not_include_the_host_itself(
    tmp_path: Path, private: list[str]
) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.2", 0) as server:
        port = server.sockets[0].getsockname()[1]
        rules = EgressSettings(allow=[f"127.0.0.2:{port}"], private=[ip_network(each) for each in private])
        async with serving(rules, tmp_path) as (connect, _):
            answer = await ask(connect, f"CONNECT 127.0.0.2:{port} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"it is the host itself" in answer


async def test_a_peer_outside_of_a_job_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with serving(loopback(9), tmp_path) as (connect, _):
        assert (await ask(connect, b"")).startswith(b"HTTP/1.1 403 ")
    assert [record.getMessage() for record in caplog.records] == [
        "job -: refused ?: the client is not in a job, or has ended"
    ]


CONNECT_AND_END = """
import socket, sys
parent, proxy = socket.socket(fileno=int(sys.argv[1])), socket.socket(socket.AF_UNIX)
proxy.connect(sys.argv[2])
socket.send_fds(parent, [b"x"], [proxy.fileno()])
"""


@pytest.mark.usefixtures("in_a_job")
async def test_a_connection_whose_process_has_ended_is_refused(tmp_path: Path) -> None:
    async with serving(loopback(9), tmp_path):
        ours, childs = socket.socketpair()
        with ours, childs:
            # The proxy does not look before the child is gone: this blocks the loop that it is on.
            command = [sys.executable, "-c", CONNECT_AND_END, str(childs.fileno()), str(tmp_path / "proxy")]
            subprocess.run(command, pass_fds=[childs.fileno()], check=True, timeout=20)  # noqa: ASYNC221
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=descriptors[0]))
        async with asyncio.timeout(20):
            assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
        writer.close()
        await writer.wait_closed()


@pytest.mark.usefixtures("in_a_job")
async def test_a_silent_client_and_one_too_many_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_module, "HEAD_TIMEOUT", 0.2)
    monkeypatch.setattr(proxy_module, "MAX_PER_JOB", 2)
    async with serving(loopback(9), tmp_path) as (connect, _):
        silent = [await connect() for _ in range(2)]
        answer = await ask(connect, b"")
        assert answer.startswith(b"HTTP/1.1 429 ")
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def stalled(directory: Path) -> AsyncIterator[tuple[asyncio.StreamWriter, int, socket.socket, Proxy]]:
    """The end of a job that has sent so many bytes, of which nobody reads any yet, and can send no more."""
    with socket.create_server(("127.0.0.1", 0)) as remote:
        remote.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        port = remote.getsockname()[1]
        async with serving(loopback(port), directory) as (connect, proxy):
            reader, writer = await connect()
            writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            sent = 0
            with contextlib.suppress(TimeoutError):
                while True:
                    sent += CHUNK
                    writer.write(b"x" * CHUNK)
                    async with asyncio.timeout(1):
                        await writer.drain()
            yield writer, sent, remote, proxy
            writer.transport.abort()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a minute otherwise takes less time than `stalled` waits."""
    monkeypatch.setattr(proxy_module, "LINGER", 0.2)
    monkeypatch.setattr(proxy_module, "LOOK", 0.1)


@pytest.mark.usefixtures("in_a_job", "impatient")
async def test_a_connection_ends_with_its_job_even_if_the_far_end_does_not_read(tmp_path: Path) -> None:
    async with stalled(tmp_path) as (writer, _, remote, proxy):
        writer.transport.abort()

        await until(lambda: proxy.idle)
        connection, _ = remote.accept()
        with connection, connection.makefile("rb") as got, pytest.raises(ConnectionResetError):
            got.read()


@pytest.mark.usefixtures("in_a_job", "impatient")
async def test_a_running_job_may_wait_for_a_slow_far_end(tmp_path: Path) -> None:
    async with stalled(tmp_path) as (writer, sent, remote, _):
        connection, _ = remote.accept()
        far_reader, far_writer = await asyncio.open_connection(sock=connection)
        writer.write_eof()
        async with asyncio.timeout(20):
            assert len(await far_reader.read()) == sent
        far_writer.close()
        await far_writer.wait_closed()


@pytest.mark.usefixtures("in_a_job", "impatient")
async def test_little_is_buffered_of_what_nobody_reads(tmp_path: Path) -> None:
    async with stalled(tmp_path) as (_, sent, _, _):
        assert sent < 1_500_000  # of it 200,000 by the job's own socket, and 100,000 by the remote end's


async def test_a_job_may_not_have_more_connections_than_it_leaves_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(proxy_module, "MAX_CONNECTIONS", 4)
    jobs = iter("aaabcd")
    async with serving(loopback(9), tmp_path, job_of=lambda _: next(jobs)) as (connect, proxy):
        silent = [await connect() for _ in range(2)]
        assert (await ask(connect, b"")).startswith(b"HTTP/1.1 503 ")
        silent += [await connect() for _ in range(2)]
        assert (await ask(connect, b"")).startswith(b"HTTP/1.1 503 ")
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()

        await until(lambda: proxy.idle)
    assert [record.getMessage() for record in caplog.records] == [
        f"job {job}: refused ?: all jobs together have too many connections" for job in "ad"
    ]


@pytest.mark.usefixtures("in_a_job", "impatient")
async def test_a_connection_counts_until_its_job_has_read_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 50_000)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with serving(loopback(port), tmp_path) as (connect, proxy):
            reader, writer = await connect()
            writer.transport.pause_reading()
            writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
            writer.write_eof()

            await until(lambda: "0 bytes sent, 50000 received" in caplog.text)
            await asyncio.sleep(3 * LOOK)
            assert not proxy.idle
            writer.transport.resume_reading()
            assert len(await reader.read()) > 50_000

            await until(lambda: proxy.idle)
            writer.close()
            await writer.wait_closed()


@pytest.mark.usefixtures("in_a_job")
async def test_log_lines_of_a_job_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(proxy_module, "MAX_NOTED", 3)
    caplog.set_level("INFO")
    async with serving(loopback(9), tmp_path) as (connect, _):
        for _ in range(10):
            await ask(connect, b"CONNECT evil.example.org:443 HTTP/1.1\r\n\r\n")
    assert [record.getMessage() for record in caplog.records] == [
        *["job :: refused evil.example.org:443: it is not on the list"] * 3,
        "job :: further connections are not logged",
    ]


async def test_an_idle_proxy_exits_and_keeps_its_socket(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "proxy"))
    async with asyncio.timeout(20):
        await proxy_module.serve(loopback(9), [listener], 0.05)
    assert (tmp_path / "proxy").exists()


def test_the_hosts_own_addresses_are_recognised_in_each_form() -> None:
    for address in ("127.0.0.1", "127.7.7.7", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "0.0.0.0"):
        assert is_own(ipaddress.ip_address(address))
    for address in ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"):
        assert not is_own(ipaddress.ip_address(address))


async def test_small_messages_do_not_wait_for_larger_ones(echo: int) -> None:
    _, writer = await open_connection(ipaddress.ip_address("127.0.0.1"), echo)
    assert writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()
    await writer.wait_closed()
