"""Connections from the inherited sockets to the end of their handshakes, bounded in number and in time."""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
import ssl
import traceback
from collections import Counter
from collections.abc import Callable, Sequence

log = logging.getLogger("ml-agent")

# Makes the protocol of a connection. It is given what is to be called once the handshake is over.
Protocols = Callable[[Callable[[], None]], asyncio.Protocol]

ACCEPTS = 16  # connections that are taken before requests have their turn again
PAUSE = 1.0  # seconds without accepting where the machine has no room for another connection
SHUTDOWN_SECONDS = 20.0  # for the other side's part of the end of TLS
# accept(2) passes on what became of the connection on its way here. That says nothing about the socket.
OF_THE_CONNECTION = frozenset(
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


class Listener:
    """Accepts connections and sees to their handshakes; what comes then is the protocol's.

    An honest handshake takes milliseconds. Where more are under way than `max_handshakes`, the oldest of the
    network that has most of them is closed: who lets handshakes stall loses those, and others get in.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocols: Protocols,
        context: Callable[[], ssl.SSLContext],
        *,
        max_handshakes: int,
        handshake_seconds: float,
    ) -> None:
        """`context` is asked for each connection, and never fails."""
        self._sockets = sockets
        self._protocols = protocols
        self._context = context
        self._max_handshakes = max_handshakes
        self._handshake_seconds = handshake_seconds
        self._loop = asyncio.get_running_loop()
        # Each with its network, oldest first.
        self._under_way: dict[socket.socket, tuple[asyncio.Task[None], str]] = {}
        self._settled = asyncio.Event()
        self._settled.set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._full = False

    @property
    def handshakes(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    def start(self) -> None:
        """Accepts from now on."""
        for listening in self._sockets:
            listening.setblocking(False)
            self._resume(listening)

    def stop(self) -> None:
        """Accepts nothing new: what comes waits in systemd's own copy of the socket."""
        sockets, self._sockets = self._sockets, ()
        for listening in sockets:
            self._loop.remove_reader(listening)
            if pause := self._pauses.pop(listening, None):
                pause.cancel()
            listening.close()

    async def finish(self, seconds: float) -> None:
        """Waits until no handshake is under way, so long at the most; then breaks them off."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        for task, _ in list(self._under_way.values()):
            task.cancel()

    def _resume(self, listening: socket.socket) -> None:
        self._pauses.pop(listening, None)
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        # Without a coroutine in between, nothing that was accepted can be lost to a cancellation.
        for _ in range(ACCEPTS):
            try:
                accepted, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in OF_THE_CONNECTION:
                    continue
                self._pause(listening, error)
                return
            self._full = False
            accepted.setblocking(False)
            self._begin(accepted, _network(peer[0]))

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Descriptors or memory have run out: the connection stays where it is, and is looked for again."""
        if not self._full:
            log.warning("no connection can be accepted at present: %s", error)
        self._full = True
        self._loop.remove_reader(listening)
        self._pauses[listening] = self._loop.call_later(PAUSE, self._resume, listening)

    def _begin(self, accepted: socket.socket, network: str) -> None:
        while len(self._under_way) >= self._max_handshakes:
            self._drop_one()
        task = self._loop.create_task(self._shake_hands(accepted))
        self._under_way[accepted] = task, network
        self._settled.clear()

        def ended(task: asyncio.Task[None]) -> None:
            self._over(accepted)
            # A task that is cancelled before its first step has not handed the socket on.
            if task.cancelled() or task.exception() is not None:
                accepted.close()

        task.add_done_callback(ended)

    async def _shake_hands(self, accepted: socket.socket) -> None:
        protocol = self._protocols(lambda: self._over(accepted))
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self._context(),
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except (OSError, asyncio.CancelledError) as error:
            # asyncio tells a protocol of no end where it told of no beginning, and its frames keep the error,
            # which keeps them.
            protocol.connection_lost(None)
            traceback.clear_frames(error.__traceback__)
            # What failed is the client's affair, which sees its connection closed.
            if not isinstance(error, OSError):
                raise

    def _drop_one(self) -> None:
        crowded = Counter(network for _, network in self._under_way.values()).most_common(1)[0][0]
        oldest = next(accepted for accepted, (_, network) in self._under_way.items() if network == crowded)
        task, _ = self._under_way[oldest]
        self._over(oldest)
        task.cancel()

    def _over(self, accepted: socket.socket) -> None:
        self._under_way.pop(accepted, None)
        if not self._under_way:
            self._settled.set()


def _network(address: str) -> str:
    """What one holder has of an address: the whole of an IPv4 address, the first half of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return str(found)
