"""A front over TLS, over a real Redis, and with the agents of hosts behind it."""

import contextlib
import shutil
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.audit.chain import Deed
from agent.backend import ArtifactFile, Backend, LogReader
from agent.config import Settings
from agent.config_base import HttpSettings
from agent.config_fleet import FleetSettings
from agent.fleet.backend.documents import job_of
from agent.fleet.backend.hosts import Hosts
from agent.fleet.backend.parts import FrontParts
from agent.fleet.entries import NOTHING, Claim, HostReport, Joined, Offer, Revision
from agent.fleet.host_agent import HostAgent
from agent.fleet.record import Record
from agent.fleet.secret_sync import SecretSync
from agent.host.tasks import background
from agent.logs.lines import Position
from agent.model.certificate import Certificate, Invitation, Role
from agent.model.fleet import host_server_name
from agent.model.job import Job
from agent.scheduling.policy import Room
from agent.store.store import Store

from .fleet_pki import peer, put_into_fleet
from .openapi import Document
from .pki import save
from .served import AnyServed, Authorities, HttpServer, Served, served_by_the_agent

LEASE = 60.0  # seconds


class MemberByHand:
    """A host's member, which does each of its steps when a test says so."""

    def __init__(self, name: str, record: Record, served: Served, agent: HostAgent, base: str) -> None:
        self.name = name
        self.record = record
        self.served = served
        self.agent = agent
        self.base = base
        self.epoch = ""
        self.capacity = NOTHING
        self.wanted = False  # whether the host has something of a job, so that it must have the job

    async def join(self, **report: Any) -> Joined:
        """Tells the record of the host, and hears what it must end."""
        room = await self.agent.room()
        capacity = self.capacity = Room.of(
            jobs=room.capacity.jobs, cpus=room.capacity.cpus, memory_bytes=room.capacity.memory_bytes
        )
        usual: dict[str, Any] = {
            "capacity": capacity,
            "url": self.base,
            "image": room.image,
            "image_digest": room.image_digest,
            "networks": tuple(room.networks),
            "secrets_key": room.secrets_key.model_dump_json() if room.secrets_key else "",
        }
        joined = await self.record.join(self.name, HostReport(**{**usual, **report}))
        self.epoch = joined.epoch
        return joined

    async def claim(self) -> Claim:
        """Claims the next job."""
        everything = Room(10_000, 10**9, 2**50)
        offer = Offer(host=self.name, epoch=self.epoch, capacity=everything, needs=("none",), digests=("",))
        claim = await self.record.claim_next(offer)
        assert isinstance(claim, Claim), claim
        return claim

    async def hand_over(self) -> Job:
        """Gives the next job to the host's agent, and tells the record."""
        claim = await self.claim()
        job = await self.agent.take(claim, time.clock_gettime(time.CLOCK_BOOTTIME) + LEASE)
        await self.record.acknowledge(claim.job_id, self.name, claim.fence)
        await self.tell(job.job_id)
        return job

    async def having(self, job: Job) -> Job:
        """The job as the record has it when the host has it, or when it has ended without one."""
        while (row := await self.record.job(job.job_id)) is not None and row["state"] == "waiting":
            await self.hand_over()
        assert row is not None
        return job_of(row)

    async def tell(self, job_id: str) -> None:
        """Tells the record what the agent has of a job."""
        row, job = await self.record.job(job_id), await self.agent.job(job_id)
        assert row is not None
        assert job is not None
        await self.record.project(job_id, self.name, row["fence"], Revision.of(job))


class WhenLookedAt:
    """Logs or artifacts for which the host takes a waiting job, if it is to have any, when they are read."""

    def __init__(self, part: Any, member: MemberByHand) -> None:
        self._part = part
        self._member = member

    async def _having(self, job: Job) -> Job:
        return await self._member.having(job) if self._member.wanted else job

    async def reader(self, job: Job, after: Position) -> LogReader:
        reader: LogReader = await self._part.reader(await self._having(job), after)
        return reader

    @contextlib.asynccontextmanager
    async def manifest(self, job: Job) -> AsyncIterator[AsyncGenerator[bytes]]:
        async with self._part.manifest(await self._having(job)) as pieces:
            yield pieces

    @contextlib.asynccontextmanager
    async def opened(self, job: Job, path: str) -> AsyncIterator[ArtifactFile]:
        async with self._part.opened(await self._having(job), path) as file:
            yield file


class FrontServed(AnyServed):
    """A front. What a test does behind the API's back, it does on the first host."""

    def __init__(
        self,
        http: HttpServer,
        backend: Backend,
        store: Store,
        record: Record,
        members: list[MemberByHand],
        tickets: list[str],
    ) -> None:
        super().__init__(http, backend)
        self.store = store
        self.record = record
        self.members = members
        self.tickets = tickets

    @property
    def member(self) -> MemberByHand:
        """The first host's."""
        return self.members[0]

    async def add_certificate(self, certificate: Certificate) -> None:
        await self.store.certificates.add(certificate)

    async def add_invitation(self, invitation: Invitation, deed: Deed) -> None:
        await self.store.invitations.add(invitation, deed=deed)

    def log(self, *lines: str) -> None:
        self.member.wanted = True
        self.member.served.log(*lines)

    def add_artifact(self, job: Any, path: str, content: bytes) -> None:
        self.member.wanted = True
        self.member.served.add_artifact(job, path, content)

    async def finish(self, job: Any, **update: Any) -> None:
        await self.member.having(await self.backend.jobs.get(job["job_id"]))
        await self.member.served.finish(job, **update)
        await self.member.tell(job["job_id"])

    async def audited(self, actor: str) -> list[dict[str, Any]]:
        rows = await self.store.audit.newest(actor=actor, limit=1000)
        return [row.content() for row in rows]

    async def nothing_is_left(self) -> None:
        assert (await self.record.page(limit=1))[0] == []
        await self.member.served.nothing_is_left()


@contextlib.asynccontextmanager
async def served_by_a_front(
    record: Record,
    members: list[MemberByHand],
    http: HttpSettings,
    settings: Settings,
    authorities: Authorities,
    document: Document,
    directory: Path,
    *,
    name: str = "front-1",
    publish: Callable[[str], Awaitable[None]] | None = None,
    when_looked_at: bool = False,
) -> AsyncIterator[FrontServed]:
    """A front over hosts that have joined.

    With `when_looked_at`, the first host has each job of which the log or the artifacts are looked at.
    """
    directory.mkdir()
    tickets: list[str] = []

    async def note(need: str) -> None:
        tickets.append(need)

    context = peer_context(authorities, Role.FRONT, name, directory)
    async with (
        Store.open(directory / "front.sqlite3") as store,
        Hosts.connected(context, record) as hosts,
        FrontParts(
            record=record,
            hosts=hosts,
            publish=publish or note,
            jobs=settings.jobs,
            retention=settings.retention,
            authority=directory / "fleet-ca.crt",
            max_secrets_per_user=http.max_secrets_per_user,
            audit=store.audit.append,
        ).backend() as backend,
    ):
        if when_looked_at:
            logs, artifacts = (WhenLookedAt(each, members[0]) for each in (backend.logs, backend.artifacts))
            backend = replace(backend, logs=logs, artifacts=artifacts)
        serving = HttpServer.running(
            backend,
            store.certificates,
            store.invitations,
            store.audit.append,
            http,
            authorities,
            document,
            directory,
            store.audit.check_share,
            id_key=await record.sealing_key(),
        )
        async with serving as server:
            yield FrontServed(server, backend, store, record, members, tickets)


@contextlib.asynccontextmanager
async def joined_host(
    name: str,
    record: Record,
    settings: Settings,
    authorities: Authorities,
    document: Document,
    directory: Path,
) -> AsyncIterator[MemberByHand]:
    """A host of the fleet: its agent, and its member in the test's hands."""
    directory.mkdir(exist_ok=True)
    pki = directory / "host-pki"
    shutil.copytree(authorities.directory, pki)
    put_into_fleet(pki, authorities.fleet, host_server_name(name))
    in_fleet = settings.model_copy(update={"fleet": FleetSettings(host=name)})
    theirs = replace(authorities, directory=pki)
    context = peer_context(authorities, Role.MEMBER, name, directory)
    async with (
        served_by_the_agent(in_fleet, theirs, document, directory) as served,
        HostAgent.connected(served.base, context, host_server_name(name)) as agent,
    ):
        member = MemberByHand(name, record, served, agent, served.base)
        served.podman.add("warehouse", None, b"everybody's, as jobs have it")
        await member.join()
        async with background(SecretSync(name, record, agent).run()):
            yield member


def peer_context(authorities: Authorities, role: Role, name: str, directory: Path) -> ssl.SSLContext:
    """What a program of the fleet shows to another one."""
    (directory / "fleet-ca.crt").write_bytes(authorities.fleet.certificate_pem())
    save(directory, f"{role}-{name}", peer(authorities.fleet, role, name))
    context = ssl.create_default_context(cafile=directory / "fleet-ca.crt")
    context.load_cert_chain(directory / f"{role}-{name}.crt", directory / f"{role}-{name}.key")
    return context
