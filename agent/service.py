"""The agent as a service: settings → parts → HTTPS on the inherited socket, until there is nothing to do."""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

from aiohttp import web

from .api.app import build
from .api.server.connections import Connections
from .api.server.internals import limit_tls_read_buffers
from .api.server.listener import Listener
from .backend import Backend
from .config import Settings, shipped
from .errors import AgentError
from .host.activation import inherited_sockets, loopback_socket
from .host.libsystemd import notify, watchdog_seconds
from .host.podman import Podman
from .host.systemd import Units
from .host.tasks import background
from .identity import tls
from .identity.certificates import Certificates
from .jobs.changes import Changes
from .jobs.disk_guard import DiskGuard
from .jobs.parts import JobParts
from .jobs.reconciler import Reconciler
from .log import configure
from .logs.archiver import Archiver
from .logs.job_log import JobLogs
from .logs.journal import Journal
from .logs.metrics_reader import MetricsReader
from .retention.pruner import Pruner
from .runtime.quadlet import TEMPLATE, Compiler
from .scripts.snapshots import Snapshots
from .secrets.secrets import Secrets
from .secrets.user_secrets import UserSecrets
from .store.store import Store

log = logging.getLogger("ml-agent")

RECONCILE_TIMEOUT = 20.0  # seconds; TimeoutStartSec= of the unit is a minute
# What was accepted before the agent stops was refused nothing so far, and has so many seconds: for the rest
# of its handshake, and then for its first request.
LAST_HANDSHAKES_TIMEOUT = 2.0
FIRST_REQUEST_TIMEOUT = 1.0
SHUTDOWN_TIMEOUT = 5.0  # seconds for requests under way when the agent stops
HEAD_INTERVAL = 600.0  # seconds between two times that the audit's head is told
IDLE_LOOKS = 10  # how often, within the idle time, it is looked whether there is anything to do


def run(settings: Settings) -> None:
    """Serves until SIGTERM, SIGINT or idleness. Raises `errors.AgentError` where it cannot begin."""
    configure()
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sockets = inherited_sockets() or [loopback_socket(settings.http.port)]
    context = tls.CurrentContext(settings.pki_directory)
    limit_tls_read_buffers()
    async with _parts(settings) as (jobs, archiver, pruner, app), asyncio.TaskGroup() as group:
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=SHUTDOWN_TIMEOUT)
        await runner.setup()
        await _reconcile(jobs.reconciler)
        assert runner.server is not None
        connections = Connections(runner.server, settings.http)
        listener = Listener(
            sockets,
            connections,
            context,
            max_handshakes=settings.http.max_handshakes,
            handshake_seconds=settings.http.handshake_seconds,
        )
        # What the program is made of stays: the collector, which stops everything, need not look at it again.
        gc.freeze()
        listener.start()

        def idle() -> bool:
            at_work = not (jobs.registry.idle and archiver.idle and pruner.idle)
            return not at_work and not connections and not listener.handshakes

        watchers = [
            group.create_task(_feed_watchdog()),
            group.create_task(_stop_when_idle(settings.http.idle_exit_seconds, idle, stop)),
            group.create_task(connections.watch()),
        ]
        notify("READY=1")
        await stop.wait()
        notify("STOPPING=1")
        await _leave(listener, connections, runner)
        for watcher in watchers:
            watcher.cancel()


@contextlib.asynccontextmanager
async def _parts(settings: Settings) -> AsyncIterator[tuple[JobParts, Archiver, Pruner, web.Application]]:
    """Everything that the server needs, running; ended in the reverse order."""
    units = Units(f"unix:path={settings.runtime_directory}/bus")
    async with Store.open(settings.database) as store, Podman(settings.podman_socket) as podman:
        journal = Journal()
        archiver = Archiver(store.jobs, journal, settings.paths_of)
        snapshots = Snapshots(
            settings.scripts.repository,
            settings.scripts.directory,
            settings.snapshots_directory,
        )
        jobs = JobParts(
            settings=settings,
            store=store.jobs,
            snapshots=snapshots,
            podman=podman,
            compiler=Compiler(
                shipped("quadlets") / TEMPLATE,
                settings.policy_directories,
                settings.runtime_directory / "ml-agent",
            ),
            units=units,
            hooks=shipped("units"),
            on_end=archiver.add,
        )
        pruner = Pruner(settings, store, units, snapshots, podman)
        changes = Changes(store.changes)
        logs = JobLogs(journal, jobs.registry, changes, settings.paths_of)
        await archiver.load()
        await jobs.reconciler.load()
        async with (
            background(units.run(jobs.reconciler.look_at)),
            background(jobs.reconciler.run()),
            background(archiver.run()),
            background(DiskGuard(settings, jobs.registry, jobs.results, jobs.reconciler, units).run()),
            # Nothing waits for what is old: what it has not come to, the next agent does.
            background(pruner.run()),
            background(_tell_audit_head(store)),
        ):
            yield (
                jobs,
                archiver,
                pruner,
                build(
                    Backend(
                        submissions=jobs.submission,
                        scripts=snapshots,
                        jobs=jobs.registry,
                        host=jobs.status,
                        artifacts=jobs.results,
                        logs=logs,
                        metrics=MetricsReader(logs, settings.paths_of),
                        changes=changes,
                        secrets=UserSecrets(
                            Secrets(
                                podman,
                                runtime_directory=settings.runtime_directory,
                                state_directory=settings.state_directory,
                            ),
                            begun=jobs.registry.begun,
                            write_audit=store.audit.append,
                            limit=settings.http.max_secrets_per_user,
                        ),
                    ),
                    Certificates(
                        store.certificates,
                        settings.pki_directory,
                        lifetime=timedelta(days=settings.certificates.client_days),
                        max_per_user=settings.certificates.max_per_user,
                    ),
                    store.audit.append,
                    settings.http,
                ),
            )


async def _reconcile(reconciler: Reconciler) -> None:
    """Makes the record true before anybody is answered, or begins without where the host does not answer."""
    try:
        async with asyncio.timeout(RECONCILE_TIMEOUT):
            await reconciler.reconciled()
    except TimeoutError:
        log.warning("not every job that was begun could be looked at within %g s", RECONCILE_TIMEOUT)


async def _tell_audit_head(store: Store) -> None:
    """Tells journald the audit's head now and then, and at last: who changes the store cannot change that."""
    told = 0
    try:
        while True:
            told = await _told_head(store, told)
            await asyncio.sleep(HEAD_INTERVAL)
    finally:
        await _told_head(store, told)


async def _told_head(store: Store, told: int) -> int:
    """Tells the head unless it was told, and with it the oldest row's link; returns the head's number.

    The oldest row says which record it is, whatever name the store has for it and however much of its end
    is gone.
    """
    try:
        (anchor, head), history = await store.audit.links(), await store.changes.history()
        oldest = await store.audit.rows(anchor.seq, 1)
    except AgentError as error:
        log.warning("the audit's head cannot be read: %s", error)
        return told
    if head.seq != told:
        for link in dict.fromkeys([*(row.link for row in oldest), head]):
            log.info("audit head %s of record %s", link, history.epoch)
    return head.seq


async def _feed_watchdog() -> None:
    """Tells systemd that the event loop turns, twice as often as it must."""
    while seconds := watchdog_seconds():
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds / 2)


async def _stop_when_idle(seconds: float, idle: Callable[[], bool], stop: asyncio.Event) -> None:
    """Stops the agent when for so long there was no connection, and no job or log to see to its end."""
    looks = 0
    while looks < IDLE_LOOKS:
        await asyncio.sleep(seconds / IDLE_LOOKS)
        looks = looks + 1 if idle() else 0
    log.info("idle: the next connection starts the agent again")
    stop.set()


async def _leave(listener: Listener, connections: Connections, runner: web.AppRunner) -> None:
    """Accepts nothing new (systemd's own socket keeps what comes) and ends what is under way."""
    listener.stop()
    await listener.finish(LAST_HANDSHAKES_TIMEOUT)
    # The runner closes a connection that has sent no request yet.
    await connections.first_requests(FIRST_REQUEST_TIMEOUT)
    await runner.cleanup()
