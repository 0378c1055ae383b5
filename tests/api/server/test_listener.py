"""Which connections are accepted and which handshakes give way, with real sockets and TLS."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.api.server import listener as listener_module
from agent.api.server.connections import Rounds
from agent.api.server.listener import Listener
from agent.host.files import write_file
from agent.identity import authority as authority_module
from agent.identity import tls
from tests.support.waiting import until


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    def __init__(self, handshaken: Callable[[], None]) -> None:
        self._handshaken = handshaken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._handshaken()

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


@dataclass
class Site:
    """A listener and its clients."""

    listener: Listener
    listening: socket.socket
    port: int
    client: ssl.SSLContext
    round: int = 0  # of the event loop
    began: list[int] = field(default_factory=list)  # the round of each handshake
    _counting: asyncio.Handle = field(init=False)
    _open: list[asyncio.Transport | asyncio.StreamWriter | socket.socket] = field(default_factory=list)

    async def honest(self) -> str:
        """What an honest client receives."""
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("localhost", self.port, ssl=self.client)
            self._open.append(writer)
            writer.write(b"hello")
            return (await reader.readexactly(5)).decode()

    async def stalled(self) -> asyncio.StreamReader:
        """A peer that connects and sends nothing."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._open.append(writer)
        return reader

    def hello(self, source: str) -> None:
        """A peer that sends the beginning of a handshake, before anybody else has a turn."""
        sent = ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.client.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
        peer = socket.create_connection(("127.0.0.1", self.port), source_address=(source, 0))
        peer.sendall(sent.read())
        self._open.append(peer)

    def next_round(self) -> None:
        """Counts this round, and all that follow."""
        self.round += 1
        self._counting = asyncio.get_running_loop().call_soon(self.next_round)

    def close(self) -> None:
        self._counting.cancel()
        for each in self._open:
            each.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a certificate of the server and one of a client."""
    path = tmp_path_factory.mktemp("pki")
    authority = authority_module.Authority.create(path, "test CA")
    for name, issued in (
        ("server", authority.issue_server(["localhost"])),
        ("client", authority.issue_client("alice")),
    ):
        write_file(path / f"{name}.crt", issued.certificate_pem(), mode=0o600)
        write_file(path / f"{name}.key", issued.key_pem(), mode=0o600)
    return path


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Site]]


@pytest.fixture
def serve(directory: Path) -> Serve:
    """Starts a listener with these options."""
    client = ssl.create_default_context(cafile=directory / "ca.crt")
    client.load_cert_chain(directory / "client.crt", directory / "client.key")
    server = tls.server_context(directory)

    @contextlib.asynccontextmanager
    async def serving(*, max_handshakes: int = 10, handshake_seconds: float = 60) -> AsyncIterator[Site]:
        listening = socket.create_server(("127.0.0.1", 0), backlog=100)

        def context() -> ssl.SSLContext:
            site.began.append(site.round)
            return server

        made = Listener(
            [listening],
            Echo,
            context,
            max_handshakes=max_handshakes,
            handshake_seconds=handshake_seconds,
            rounds=Rounds(),
        )
        made.start()
        site = Site(made, listening, listening.getsockname()[1], client)
        site.next_round()
        try:
            yield site
        finally:
            site.close()
            made.stop()
            await made.finish(0)

    return serving


async def _are(site: Site, count: int) -> None:
    async def look() -> bool:
        return site.listener.handshakes == count

    await until(look)


async def _have_begun(site: Site, count: int) -> None:
    async def look() -> bool:
        return len(site.began) == count

    await until(look)


async def test_an_honest_client_is_served(serve: Serve) -> None:
    async with serve() as site:
        assert await site.honest() == "hello"
        await _are(site, 0)


async def test_a_stalled_handshake_is_closed(serve: Serve) -> None:
    async with serve(handshake_seconds=0.1) as site:
        async with asyncio.timeout(20):
            assert await (await site.stalled()).read() == b""
        await _are(site, 0)


async def test_one_handshake_of_a_network_begins_in_a_round(serve: Serve) -> None:
    async with serve(max_handshakes=100) as site:
        for _ in range(12):
            site.hello("127.0.0.1")
        await _have_begun(site, 12)
        assert len(set(site.began)) == 12
        site.began.clear()
        for source in 6 * ("127.0.0.1", "127.0.0.2"):
            site.hello(source)
        await _have_begun(site, 12)
        # Neither network waits for the other one.
        assert set(Counter(site.began).values()) == {2}


async def test_a_peer_that_sends_nothing_takes_nobodys_turn(serve: Serve) -> None:
    async with serve(max_handshakes=100) as site:
        for _ in range(50):
            await site.stalled()
        await _are(site, 50)
        assert site.began == []
        assert await site.honest() == "hello"


async def test_at_the_limit_the_oldest_stalled_handshake_gives_way(serve: Serve) -> None:
    async with serve(max_handshakes=5) as site:
        first = [await site.stalled() for _ in range(5)]
        await _are(site, 5)
        for _ in range(3):
            assert await site.honest() == "hello"
        assert site.listener.handshakes <= 5
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionResetError):
                assert await first[0].read() == b""
        assert not first[-1].at_eof()


async def test_many_connections_at_once_never_exceed_the_handshake_limit(serve: Serve) -> None:
    async with serve(max_handshakes=3) as site:
        for _ in range(20):
            await site.stalled()
            assert site.listener.handshakes <= 3
        assert await site.honest() == "hello"


async def test_the_network_with_the_most_handshakes_gives_way(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = iter(["a"] + ["b"] * 9)
    monkeypatch.setattr(listener_module, "network_of", lambda _: next(networks))
    async with serve(max_handshakes=3) as site:
        lone, crowd = await site.stalled(), []
        await _are(site, 1)
        for number in range(4):
            crowd.append(await site.stalled())
            await _are(site, min(3, number + 2))
        async with asyncio.timeout(20):
            for each in crowd[:2]:
                with contextlib.suppress(ConnectionResetError):
                    assert await each.read() == b""
        assert not lone.at_eof()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_an_ipv4_address_or_half_of_an_ipv6_address_is_one_network(one: str, other: str, same: bool) -> None:
    assert (listener_module.network_of(one) == listener_module.network_of(other)) is same


async def test_waiting_connections_are_served_by_the_next_listener(serve: Serve) -> None:
    async with serve() as site:
        kept = socket.socket(fileno=os.dup(site.listening.fileno()))
        assert await site.honest() == "hello"
        site.listener.stop()
        waiting = asyncio.create_task(site.honest())
        await site.stalled()
        kept.setblocking(False)
        loop = asyncio.get_running_loop()
        with kept:
            accepted, _ = await loop.sock_accept(kept)
            accepted.close()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_finish_waits_for_handshakes_and_then_cancels_the_rest(
    serve: Serve,
) -> None:
    async with serve() as site:
        stalled = await site.stalled()
        await _are(site, 1)
        honest = asyncio.create_task(site.honest())

        async def accepted() -> bool:
            return site.listener.handshakes == 2 or honest.done()

        await until(accepted)
        site.listener.stop()
        finishing = asyncio.create_task(site.listener.finish(0.5))
        assert await honest == "hello"
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionResetError):
                assert await stalled.read() == b""
            await finishing
        await _are(site, 0)


async def test_connections_wait_while_descriptors_have_run_out(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener_module, "PAUSE", 0.2)
    calls = 0
    accept = socket.socket.accept

    def counted(self: socket.socket) -> object:
        nonlocal calls
        calls += 1
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", counted)
    async with serve() as site:
        # The descriptors of the client itself are open already.
        clients = [socket.socket() for _ in range(2)]
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        filler = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    filler.append(os.dup(0))
            for each in clients:
                each.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    each.connect(("127.0.0.1", site.port))
            await asyncio.sleep(0.5)
            assert site.listener.handshakes == 0
            # The connection is not lost, and the listener does not try all the time.
            assert 1 <= calls < 50
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for descriptor in filler:
                os.close(descriptor)
        await _are(site, 2)
        assert [record.message.count("Too many open files") for record in caplog.records] == [1]
        for each in clients:
            each.close()
        assert await site.honest() == "hello"


async def test_an_accept_error_of_one_connection_does_not_stop_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = socket.socket.accept
    failures = [OSError(number, os.strerror(number)) for number in (errno.ECONNABORTED, errno.EPROTO)]

    def failing(self: socket.socket) -> object:
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(listener_module, "PAUSE", 3600.0)
    async with serve() as site:
        monkeypatch.setattr(socket.socket, "accept", failing)
        assert await site.honest() == "hello"
        assert not failures
