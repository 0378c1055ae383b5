"""One application on the sockets of a service: from its first connection to a stop that refuses nobody."""

import contextlib
import gc
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence

from aiohttp import web

from ...config_base import HttpSettings
from ...host.libsystemd import feed_watchdog, notify
from ...host.tasks import background
from .connections import Connections
from .internals import limit_buffers
from .listener import Listener

# At shutdown: time to finish the handshake, then to send a first request, then to answer requests under way.
LAST_HANDSHAKES_TIMEOUT = 2.0  # seconds
FIRST_REQUEST_TIMEOUT = 1.0  # seconds
SHUTDOWN_TIMEOUT = 5.0  # seconds


@contextlib.asynccontextmanager
async def serving(
    app: web.Application,
    http: HttpSettings,
    context: Callable[[], ssl.SSLContext],
    sockets: Sequence[socket.socket],
) -> AsyncIterator[Callable[[], bool]]:
    """Serves until the context ends, and tells systemd. Gives a function: whether nobody is connected."""
    limit_buffers()
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=SHUTDOWN_TIMEOUT)
    await runner.setup()
    assert runner.server is not None
    connections = Connections(runner.server, http)
    listener = Listener(
        sockets,
        connections,
        context,
        max_handshakes=http.max_handshakes,
        handshake_seconds=http.handshake_seconds,
        rounds=connections.rounds,
    )
    # The collector stops everything: let it skip what stays for as long as the program runs.
    gc.freeze()
    listener.start()
    async with background(feed_watchdog()), background(connections.watch()):
        notify("READY=1")
        yield lambda: not connections and not listener.handshakes
        notify("STOPPING=1")
        await _shut_down(listener, connections, runner)


async def _shut_down(listener: Listener, connections: Connections, runner: web.AppRunner) -> None:
    """Accepts no more connections, which wait in systemd's socket, and ends those that are open."""
    connections.stopping = True
    listener.stop()
    await listener.finish(LAST_HANDSHAKES_TIMEOUT)
    # The runner would close a connection that has not sent a request yet.
    await connections.first_requests(FIRST_REQUEST_TIMEOUT)
    await runner.cleanup()
