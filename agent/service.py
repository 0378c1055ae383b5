"""The agent as a service: assembles all parts, and serves HTTPS until there is nothing left to do."""

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

from aiohttp import web

from .aliases.models import Models
from .api.app import build
from .api.server.opaque import KEY_BYTES
from .api.server.serving import serving
from .backend import Backend
from .comparison.comparisons import Comparisons
from .config import Settings, shipped
from .host.calendars import Calendars
from .host.files import write_file
from .host.podman import Podman
from .host.sockets import inherited_sockets, loopback_socket
from .host.systemd import Units
from .host.tasks import background
from .identity import host_key, tls
from .identity.authority import FLEET, authorities
from .identity.certificates import Certificates, Enrolment
from .jobs.admission import Admission
from .jobs.changes import Changes
from .jobs.guards import DiskGuard, WithdrawalGuard
from .jobs.host_status import FleetHost, HostStatus
from .jobs.inputs import Inputs
from .jobs.leftovers import Leftovers
from .jobs.preparation import Commits, Preparation
from .jobs.reconciler import ExitOf, Reconciler
from .jobs.registry import Registry
from .jobs.results import Results
from .jobs.submission import Submission
from .log import configure, log
from .logs.archiver import Archiver
from .logs.job_log import JobLogs
from .logs.journal import Journal
from .logs.metrics_reader import MetricsReader
from .model.base import HostName
from .model.job import Job
from .monitoring.monitoring import Monitoring
from .retention.pruner import Pruner
from .runtime import exit_journal
from .runtime.quadlet import TEMPLATE, Compiler
from .schedules.controller import Controller as ScheduleController
from .schedules.schedules import Schedules
from .schedules.timers import Timers
from .scheduling.queue import Queue
from .scripts.changes import Changes as ScriptChanges
from .scripts.snapshots import Snapshots
from .secrets.fleet import FleetSecrets
from .secrets.secrets import Secrets, UserSecrets
from .store.audit_head import log_audit_head
from .store.store import Store
from .sweeps.controller import Controller
from .sweeps.sweeps import Sweeps
from .usage.ledger import Ledger

RECONCILE_TIMEOUT = 20.0  # seconds; TimeoutStartSec= of the unit is a minute
IDLE_LOOKS = 10  # looks within the idle time


class JobParts:
    """Submission, registry, results, host, reconciler, sweeps, schedules and models over one store and host.

    `hooks` is the directory of the programs that a job's unit runs, by default those of this version.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        snapshots: Snapshots,
        podman: Podman,
        secrets: Secrets,
        compiler: Compiler,
        units: Units,
        hooks: Path | None = None,
        on_end: Callable[[Job], None] = lambda _: None,
        exit_of: ExitOf = exit_journal.exit_of,
    ) -> None:
        queue = Queue(settings.jobs)
        self.registry = Registry(settings, store.jobs, queue, [on_end])
        self.commits = Commits(settings.scripts, snapshots, store.withdrawals)
        self.results = Results(settings, self.registry)
        self.models = Models(settings, store.models, self.results)
        inputs = Inputs(settings, self.registry, self.results, store.models)
        self.admission = Admission(settings, self.registry, inputs, queue, units, store.drains)
        self.submission = Submission(settings, self.registry, self.commits, snapshots, podman, inputs)
        self.status = HostStatus(queue, units, podman)
        self.secrets = secrets
        self.fleet, self.fleet_secrets = None, None
        if settings.fleet and (name := settings.fleet.host):
            self.fleet_secrets = fleet_secrets_of(name, settings, secrets, store)
            self.fleet = FleetHost(
                name,
                settings,
                self.registry,
                self.admission,
                self.submission,
                queue,
                podman,
                self.fleet_secrets,
            )
        self.preparation = Preparation(
            settings, self.commits, snapshots, units, podman, inputs, hooks or shipped("units")
        )
        self.leftovers = Leftovers(settings, self.registry, units, podman)
        self.reconciler = Reconciler(
            settings,
            self.registry,
            self.results,
            inputs,
            self.admission,
            queue,
            self.preparation,
            self.leftovers,
            compiler,
            units,
            podman,
            exit_of,
        )
        self._add_sweeps(settings, store)
        self._add_schedules(settings, store, units)
        self.withdrawal_guard = WithdrawalGuard(store.withdrawals, self.registry, self.reconciler)

    def _add_sweeps(self, settings: Settings, store: Store) -> None:
        order_end = self.reconciler.order_end
        self.sweeping = Controller(store.sweeps, self.registry, self.submission, self.commits, order_end)
        self.sweeps = Sweeps(settings, store.sweeps, self.submission, self.sweeping)

    def _add_schedules(self, settings: Settings, store: Store, units: Units) -> None:
        calendars = Calendars()
        timers = Timers(settings.runtime_directory, settings.state_directory, units)
        role_of, check_share = store.certificates.role_of, store.audit.check_share
        self.timing = ScheduleController(
            store.schedules,
            timers,
            calendars,
            self.registry,
            self.submission,
            self.sweeps,
            role_of,
            check_share,
        )
        self.schedules = Schedules(store.schedules, self.submission, self.sweeps, calendars, self.timing)


def run(settings: Settings) -> None:
    """Serves until SIGTERM, SIGINT or idleness. Raises `errors.AgentError` if it cannot start."""
    configure()
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sockets = inherited_sockets() or [loopback_socket(settings.http.port)]
    context = tls.CurrentContext(settings.pki_directory)
    async with _parts(settings) as (app, reconciler, nothing_left):
        await _reconcile(reconciler)
        async with serving(app, settings.http, context, sockets) as unused:

            def idle() -> bool:
                return nothing_left() and unused()

            async with background(_stop_when_idle(settings.http.idle_exit_seconds, idle, stop)):
                await stop.wait()


@contextlib.asynccontextmanager
async def _parts(settings: Settings) -> AsyncIterator[tuple[web.Application, Reconciler, Callable[[], bool]]]:
    """Makes all parts and runs them. They end in the reverse order.

    The last one says whether no job, log or file needs the agent.
    """
    units = Units(f"unix:path={settings.runtime_directory}/bus")
    async with Store.open(settings.database) as store, Podman(settings.podman_socket) as podman:
        journal = Journal()
        archiver = Archiver(store.jobs, journal, settings.paths_of)
        snapshots = Snapshots(
            settings.scripts.repository, settings.scripts.directory, settings.snapshots_directory
        )
        jobs = JobParts(
            settings=settings,
            store=store,
            snapshots=snapshots,
            podman=podman,
            secrets=secrets_of(settings, podman),
            compiler=Compiler(
                shipped("quadlets") / TEMPLATE,
                settings.policy_directories,
                settings.runtime_directory / "ml-agent",
            ),
            units=units,
            on_end=archiver.add,
        )
        pruner = Pruner(settings, store, units, snapshots, podman)
        await archiver.load()
        await jobs.reconciler.load()
        await jobs.sweeping.load()
        app = _app(settings, store, backend_of(settings, store, podman, jobs, journal))

        def idle() -> bool:
            parts = (jobs.registry, jobs.sweeping, jobs.timing, archiver, jobs.leftovers)
            return all(part.idle for part in parts)

        def look_at(unit: str | None) -> None:
            jobs.reconciler.look_at(unit)
            jobs.timing.look_at(unit)

        async with (
            background(units.run(look_at)),
            background(jobs.admission.run()),
            background(jobs.reconciler.run()),
            background(jobs.sweeping.run()),
            background(jobs.timing.run()),
            background(jobs.leftovers.run()),
            background(archiver.run()),
            background(DiskGuard(settings, jobs.registry, jobs.results, jobs.reconciler, units).run()),
            background(jobs.withdrawal_guard.run()),
            # Pruning is never urgent: the next agent resumes it.
            background(pruner.run()),
            background(log_audit_head(store)),
        ):
            yield app, jobs.reconciler, idle


def _app(settings: Settings, store: Store, backend: Backend) -> web.Application:
    return build(
        backend,
        _certificates(settings, store),
        Enrolment(store.invitations, settings.pki_directory),
        store.audit.append,
        settings.http,
        id_key(settings.state_directory / "ids.key"),
        store.audit.check_share,
    )


def secrets_of(settings: Settings, podman: Podman) -> Secrets:
    """The secrets of this host."""
    return Secrets(
        podman, runtime_directory=settings.runtime_directory, state_directory=settings.state_directory
    )


def backend_of(settings: Settings, store: Store, podman: Podman, jobs: JobParts, journal: Journal) -> Backend:
    """What the API asks, over these parts."""
    changes = Changes(store.changes)
    logs = JobLogs(journal, jobs.registry.get, changes.ended, settings.paths_of)
    jobs.sweeping.metrics = metrics = MetricsReader(logs, settings.paths_of)
    return Backend(
        submissions=jobs.submission,
        scripts=jobs.commits,
        jobs=jobs.registry,
        host=jobs.status,
        artifacts=jobs.results,
        logs=logs,
        metrics=metrics,
        changes=changes,
        secrets=UserSecrets(
            jobs.secrets,
            started=jobs.registry.started,
            write_audit=store.audit.append,
            limit=settings.http.max_secrets_per_user,
        ),
        fleet=jobs.fleet,
        fleet_secrets=jobs.fleet_secrets,
        sweeps=jobs.sweeps,
        comparisons=Comparisons(
            store.summaries,
            store.search,
            metrics.metrics,
            journal.consumption,
            ScriptChanges(settings.scripts.repository, settings.scripts.directory).between,
            podman.image_packages,
        ),
        schedules=jobs.schedules,
        models=jobs.models,
        shares=store.shares,
        monitoring=Monitoring(settings, store),
        usage=Ledger(store.usage),
    )


def fleet_secrets_of(host: HostName, settings: Settings, site_secrets: Secrets, store: Store) -> FleetSecrets:
    """The secrets of the fleet on this host, for whose key the host's certificate of the fleet vouches."""
    pki = settings.pki_directory / FLEET
    return FleetSecrets(
        host,
        site_secrets,
        store.secret_versions,
        settings.state_directory / "fleet-secrets.key",
        sign=lambda name, key: host_key.signed(pki, name, key),
        check=lambda key: host_key.check(key, authorities(pki)),
        write_audit=store.audit.append,
    )


def _certificates(settings: Settings, store: Store) -> Certificates:
    return Certificates(
        store.certificates,
        settings.pki_directory,
        lifetime=timedelta(days=settings.certificates.client_days),
        max_per_user=settings.certificates.max_per_user,
        host=settings.fleet.host if settings.fleet else None,
    )


def id_key(path: Path) -> bytes:
    """The key of the ids that clients get; where the file is lost, they begin again."""
    with contextlib.suppress(OSError):
        if len(key := path.read_bytes()) == KEY_BYTES:
            return key
    key = secrets.token_bytes(KEY_BYTES)
    try:
        write_file(path, key, mode=0o600, replace=True)
    except OSError as error:
        log.warning("%s cannot be written, so clients will begin again at the next start: %s", path, error)
    return key


async def _reconcile(reconciler: Reconciler) -> None:
    """Makes the record true before the first answer, unless the host does not answer in time."""
    try:
        async with asyncio.timeout(RECONCILE_TIMEOUT):
            await reconciler.wait_until_reconciled()
    except TimeoutError:
        log.warning("not every running job could be looked at within %g s", RECONCILE_TIMEOUT)


async def _stop_when_idle(seconds: float, idle: Callable[[], bool], stop: asyncio.Event) -> None:
    """Stops the agent when it has been idle at each look within so many seconds."""
    looks = 0
    while looks < IDLE_LOOKS:
        await asyncio.sleep(seconds / IDLE_LOOKS)
        looks = looks + 1 if idle() else 0
    log.info("idle: the next connection starts the agent again")
    stop.set()
