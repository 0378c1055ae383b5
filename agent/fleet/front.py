"""A front as a process: the API of an agent over the fleet, for as long as systemd lets it run."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from datetime import timedelta

from aiohttp import web

from ..api.app import build
from ..api.server.serving import serving
from ..config import Settings
from ..config_fleet import FleetSettings, FrontSettings
from ..errors import AgentError, Problem
from ..host.sockets import inherited_sockets, loopback_socket
from ..host.tasks import background
from ..identity import tls
from ..identity.certificates import Certificates, Enrolment
from ..store.audit_head import log_audit_head
from ..store.store import Store
from .backend.hosts import Hosts
from .backend.parts import FrontParts
from .reconciler import Reconciler
from .record import Record
from .retention import RecordRetention
from .servers import broker_server, peer_context, record_server
from .tickets import Publisher

log = logging.getLogger("ml-fleet")

PAUSE = 0.5  # seconds before Redis is asked again whether it is there


async def serve_front(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises `AgentError` (configuration) where no front is configured."""
    fleet = settings.fleet
    if fleet is None or fleet.front is None:
        raise AgentError(
            Problem.CONFIGURATION,
            "The configuration has no [fleet.front], so no front runs here.",
            "docs/fleet.md says how a machine becomes part of a fleet.",
        )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Users' certificates, their authority and the audit are where a front has them, named as an agent's.
    own = settings.model_copy(update={"state_directory": fleet.front.state_directory})
    sockets = inherited_sockets() or [loopback_socket(fleet.front.http.port)]
    context = tls.CurrentContext(own.pki_directory)
    async with Record.connected(
        record_server(fleet),
        half_life=own.jobs.fair_share_half_life_seconds,
        max_running=own.jobs.max_running_per_user,
    ) as record:
        if (key := await _prepared(record, stop)) is None:
            return
        async with (
            _application(own, fleet, fleet.front, record, key) as app,
            serving(app, fleet.front.http, context, sockets),
        ):
            await stop.wait()


@contextlib.asynccontextmanager
async def _application(
    settings: Settings, fleet: FleetSettings, front: FrontSettings, record: Record, sealing_key: bytes
) -> AsyncIterator[web.Application]:
    """The front's application, while all parts behind it run."""
    broker = broker_server(fleet, front)
    assert fleet.authority is not None  # the settings demand it of a front
    async with (
        Publisher.connected(broker) as publisher,
        # On a connection of its own: what the reconciler waits for must not hold up submissions.
        Publisher.connected(broker) as repairing,
        Hosts.connected(peer_context(fleet, front), record) as hosts,
        Store.open(settings.database) as store,
        FrontParts(
            record=record,
            hosts=hosts,
            publish=publisher.publish,
            jobs=settings.jobs,
            retention=settings.retention,
            authority=fleet.authority,
            max_secrets_per_user=front.http.max_secrets_per_user,
            audit=store.audit.append,
        ).backend() as backend,
        background(log_audit_head(store)),
    ):
        certificates = Certificates(
            store.certificates,
            settings.pki_directory,
            lifetime=timedelta(days=settings.certificates.client_days),
            max_per_user=settings.certificates.max_per_user,
        )
        enrolment = Enrolment(store.invitations, settings.pki_directory)
        app = build(
            backend,
            certificates,
            enrolment,
            store.audit.append,
            front.http,
            sealing_key,
            store.audit.check_share,
        )
        async with (
            background(Reconciler(front.name, record, repairing).run()),
            background(RecordRetention(front.name, record, settings.retention).run()),
        ):
            yield app


async def _prepared(record: Record, stop: asyncio.Event) -> bytes | None:
    """Loads the record's functions as soon as Redis is there; the key of ids, or None if it stops before."""
    while not stop.is_set():
        try:
            await record.load()
            return await record.sealing_key()
        except AgentError as error:
            log.warning("the front waits for the record: %s", error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PAUSE)
    return None
