"""Accepts connections on the inherited sockets and makes their TLS handshakes, within bounds."""

import asyncio
import contextlib
import errno
import ipaddress
import socket
import ssl
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...log import log
from .connections import Rounds

# Makes the protocol of a connection. The protocol calls its argument when the handshake is over.
Protocols = Callable[[Callable[[], None]], asyncio.Protocol]

ACCEPTS = 16  # connections that are accepted in a row; then requests have a turn
PAUSE = 1.0  # seconds without accepting after descriptors or memory ran out
SHUTDOWN_SECONDS = 20.0  # for the client to answer the end of TLS
# accept(2) also returns errors of the new connection, which say nothing about the listening socket.
CONNECTION_ERRORS = frozenset(
    (
        errno.ECONNABORTED,
        errno.ENETDOWN,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.EPERM,
    )
)


@dataclass(eq=False)
class Listener:
    """Accepts connections and makes their handshakes. Then the protocol has the connection.

    An honest handshake takes milliseconds. Above `max_handshakes`, the network with the most handshakes under
    way loses its oldest one: whoever lets handshakes stall loses these, and other clients get in. A handshake
    takes a millisecond or two of everybody's time: in a round of the event loop one of each network begins,
    when its first byte is there. The context is asked for at each handshake, and must not raise.
    """

    _sockets: Sequence[socket.socket]
    _protocols: Protocols
    _context: Callable[[], ssl.SSLContext]
    max_handshakes: int = field(kw_only=True)
    handshake_seconds: float = field(kw_only=True)
    rounds: Rounds = field(kw_only=True)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    # The task and the network of each handshake, oldest first.
    _under_way: dict[socket.socket, tuple[asyncio.Task[None], str]] = field(default_factory=dict)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    _pauses: dict[socket.socket, asyncio.TimerHandle] = field(default_factory=dict)
    _full: bool = False

    def __post_init__(self) -> None:
        self._settled.set()

    @property
    def handshakes(self) -> int:
        """How many handshakes are under way."""
        return len(self._under_way)

    def start(self) -> None:
        """Begins to accept connections."""
        for listening in self._sockets:
            listening.setblocking(False)
            self._resume(listening)

    def stop(self) -> None:
        """Accepts no more. New connections wait in systemd's copy of the socket."""
        sockets, self._sockets = self._sockets, ()
        for listening in sockets:
            self._loop.remove_reader(listening)
            if pause := self._pauses.pop(listening, None):
                pause.cancel()
            listening.close()

    async def finish(self, seconds: float) -> None:
        """Waits at most `seconds` for the handshakes under way, then cancels them."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        for task, _ in list(self._under_way.values()):
            task.cancel()

    def _resume(self, listening: socket.socket) -> None:
        self._pauses.pop(listening, None)
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        # No coroutine runs here: a cancellation could lose a connection that was accepted.
        for _ in range(ACCEPTS):
            try:
                accepted, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in CONNECTION_ERRORS:
                    continue
                self._pause(listening, error)
                return
            self._full = False
            accepted.setblocking(False)
            self._begin(accepted, network_of(peer[0]))

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Leaves the connection in the socket's queue and tries again later."""
        if not self._full:
            log.warning("cannot accept connections: %s", error)
        self._full = True
        self._loop.remove_reader(listening)
        self._pauses[listening] = self._loop.call_later(PAUSE, self._resume, listening)

    def _begin(self, accepted: socket.socket, network: str) -> None:
        while len(self._under_way) >= self.max_handshakes:
            crowded = Counter(known for _, known in self._under_way.values()).most_common(1)[0][0]
            oldest = next(each for each, (_, known) in self._under_way.items() if known == crowded)
            stalled, _ = self._under_way[oldest]
            self._end_handshake(oldest)
            stalled.cancel()
        task = self._loop.create_task(self._shake_hands(accepted, network))
        self._under_way[accepted] = task, network
        self._settled.clear()

        def ended(task: asyncio.Task[None]) -> None:
            self._end_handshake(accepted)
            # A task that was cancelled before its first step still owns the socket.
            if task.cancelled() or task.exception() is not None:
                accepted.close()

        task.add_done_callback(ended)

    async def _shake_hands(self, accepted: socket.socket, network: str) -> None:
        async with asyncio.timeout(self.handshake_seconds):
            await self._first_byte(accepted)
            await self.rounds.turn(network)
            await self._with_tls(accepted)

    async def _first_byte(self, accepted: socket.socket) -> None:
        """Waits until there is something to read. Whoever sends nothing takes nobody's turn."""
        readable = asyncio.Event()
        self._loop.add_reader(accepted, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(accepted)

    async def _with_tls(self, accepted: socket.socket) -> None:
        protocol = self._protocols(lambda: self._end_handshake(accepted))
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self._context(),
                ssl_handshake_timeout=self.handshake_seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except (OSError, asyncio.CancelledError) as error:
            # asyncio calls connection_lost() only after connection_made(). The error and the frames of its
            # traceback refer to each other: without this they would wait for the garbage collector.
            protocol.connection_lost(None)
            traceback.clear_frames(error.__traceback__)
            # A failed handshake is the client's problem, and the client sees its connection closed.
            if not isinstance(error, OSError):
                raise

    def _end_handshake(self, accepted: socket.socket) -> None:
        self._under_way.pop(accepted, None)
        if not self._under_way:
            self._settled.set()


def network_of(address: str) -> str:
    """The network that counts as one client: an IPv4 address, or the first 64 bits of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return str(found)
