"""The agent as a service: settings → parts → HTTPS on the inherited socket, until there is nothing to do."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from asyncio import sslproto
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import sdnotify  # type: ignore[import-untyped]  # it has no annotations
from aiohttp import web

from . import pki
from .api.app import build
from .api.identity import Identify
from .archivist import Archivist
from .changes import Changes
from .config import Settings, shipped
from .errors import AgentError, Problem
from .jobs import Jobs
from .journal import Journal
from .log import configure
from .meter import Meter
from .models import Principal
from .podman import Podman
from .pruner import Pruner
from .quadlet import TEMPLATE, Compiler
from .snapshot import Snapshots
from .store import Store
from .units import Units

log = logging.getLogger("ml-agent")

# asyncio reads each TLS connection into a buffer of its own, by default of 256 KiB: most of what a follower
# would cost. Requests are small.
TLS_READ_BUFFER = 32 * 1024
FIRST_SOCKET = 3  # sd_listen_fds(3): inherited sockets are numbered from here
BACKLOG = 4096  # connections that wait to be accepted; the socket unit says the same
HANDSHAKE_TIMEOUT = 10.0  # seconds
RECONCILE_TIMEOUT = 20.0  # seconds; TimeoutStartSec= of the unit is a minute
KEEPALIVE_TIMEOUT = 30.0  # seconds that a connection may wait for its next request
FIRST_REQUEST_TIMEOUT = 0.3  # seconds that what was accepted before the agent stops has for its request
SHUTDOWN_TIMEOUT = 5.0  # seconds for requests under way when the agent stops
IDLE_LOOKS = 10  # how often, within the idle time, it is looked whether there is anything to do


def run(settings: Settings) -> None:
    """Serves until SIGTERM, SIGINT or idleness. Raises `AgentError` where it cannot begin."""
    configure()
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sockets = inherited_sockets(settings.http.port)
    context = pki.server_context(settings.pki_directory)
    sslproto.SSLProtocol.max_size = TLS_READ_BUFFER
    async with _parts(settings) as (jobs, archivist, app), asyncio.TaskGroup() as group:
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_TIMEOUT,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
        await runner.setup()
        await _reconcile(jobs)
        server = runner.server
        assert server is not None
        servers = [
            await loop.create_server(
                server,
                sock=each,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                backlog=BACKLOG,
            )
            for each in sockets
        ]
        notifier = sdnotify.SystemdNotifier()
        watchers = [
            group.create_task(_feed_watchdog(notifier)),
            group.create_task(
                _stop_when_idle(
                    settings.http.idle_exit_seconds,
                    lambda: bool(jobs.idle and archivist.idle and not server.connections),
                    stop,
                )
            ),
        ]
        notifier.notify("READY=1")
        await stop.wait()
        notifier.notify("STOPPING=1")
        for watcher in watchers:
            watcher.cancel()
        await _leave(servers, runner)


@contextlib.asynccontextmanager
async def _parts(settings: Settings) -> AsyncIterator[tuple[Jobs, Archivist, web.Application]]:
    """Everything that the server needs, running; ended in the reverse order."""
    units = Units(f"unix:path={settings.runtime_directory}/bus")
    async with Store.open(settings.database) as store, Podman(settings.podman_socket) as podman:
        journal = Journal()
        archivist = Archivist(store, journal, settings.state_directory / "jobs")
        snapshots = Snapshots(
            settings.scripts.repository,
            settings.scripts.directory,
            settings.state_directory / "snapshots",
        )
        jobs = Jobs(
            settings=settings,
            store=store,
            snapshots=snapshots,
            podman=podman,
            compiler=Compiler(
                shipped("quadlets") / TEMPLATE,
                settings.policy_directories,
                settings.runtime_directory / "ml-agent",
            ),
            units=units,
            hooks=shipped("units"),
            on_end=archivist.note,
        )
        await archivist.load()
        await jobs.load()
        async with (
            _background(units.run(jobs.look_at)),
            _background(jobs.run()),
            _background(archivist.run()),
            # Nothing waits for it, not even the idle exit: what it has not come to, the next agent does.
            _background(Pruner(settings, store, units, snapshots).run()),
        ):
            yield (
                jobs,
                archivist,
                build(
                    jobs=jobs,
                    journal=journal,
                    changes=Changes(store),
                    meter=Meter(journal, settings.state_directory / "jobs"),
                    identify=_identify(store),
                    max_body_bytes=settings.http.max_body_bytes,
                    max_streams=settings.http.max_followers,
                    max_streams_per_user=settings.http.max_followers_per_user,
                ),
            )


async def _reconcile(jobs: Jobs) -> None:
    """Makes the record true before anybody is answered, or begins without where the host does not answer."""
    try:
        async with asyncio.timeout(RECONCILE_TIMEOUT):
            await jobs.reconciled()
    except TimeoutError:
        log.warning("not every job that was begun could be looked at within %g s", RECONCILE_TIMEOUT)


def _identify(store: Store) -> Identify:
    """Who a certificate's holder is: by its own word, and in the role that the store gives it."""

    async def identify(der: bytes) -> Principal:
        subject = pki.identify(der)
        certificate = await store.certificate(subject.serial)
        if certificate is None or certificate.user != subject.user:
            why = "is not one that this host issued"
        elif certificate.revoked_at is not None:
            why = "was revoked"
        else:
            return Principal(user=certificate.user, role=certificate.role)
        raise AgentError(
            Problem.CERTIFICATE_REFUSED,
            f"The client certificate {why}.",
            "Ask the operator for a new one: `ml-agent issue`.",
        )

    return identify


def inherited_sockets(port: int) -> list[socket.socket]:
    """The sockets that systemd passed (sd_listen_fds(3)); run by hand, one on the loopback address."""
    count = int(os.environ.get("LISTEN_FDS", "0"))
    if count and os.environ.get("LISTEN_PID") == str(os.getpid()):
        sockets = [socket.socket(fileno=FIRST_SOCKET + number) for number in range(count)]
        for each in sockets:
            each.setblocking(False)
            os.set_inheritable(each.fileno(), False)
        return sockets
    return [socket.create_server(("127.0.0.1", port), backlog=BACKLOG)]


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs a coroutine beside the body; its failure ends the body, the body's end ends it."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()


async def _feed_watchdog(notifier: sdnotify.SystemdNotifier) -> None:
    """Tells systemd that the event loop turns, twice as often as it must."""
    interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
    while interval:
        notifier.notify("WATCHDOG=1")
        await asyncio.sleep(interval)


async def _stop_when_idle(seconds: float, idle: Callable[[], bool], stop: asyncio.Event) -> None:
    """Stops the agent when for so long there was no connection, and no job or log to see to its end."""
    looks = 0
    while looks < IDLE_LOOKS:
        await asyncio.sleep(seconds / IDLE_LOOKS)
        looks = looks + 1 if idle() else 0
    log.info("idle: the next connection starts the agent again")
    stop.set()


async def _leave(servers: list[asyncio.Server], runner: web.AppRunner) -> None:
    """Accepts nothing new (systemd's own socket keeps what comes) and ends what is under way."""
    for server in servers:
        server.close()
    # The runner closes a connection that has sent no request yet, and its client was refused nothing so far.
    await asyncio.sleep(FIRST_REQUEST_TIMEOUT)
    await runner.cleanup()
    # What was accepted but had not finished its handshake is not known to the runner.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SHUTDOWN_TIMEOUT):
            for server in servers:
                await server.wait_closed()
