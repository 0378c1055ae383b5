"""The real API over real TLS: over the agent's own parts, or over a backend in memory."""

import contextlib
import os
import socket
import ssl
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web

from agent.api.app import build
from agent.api.server.connections import Connections
from agent.api.server.listener import Listener
from agent.api.server.opaque import KEY_BYTES
from agent.audit.chain import Caller, Deed
from agent.audit.trail import CheckShare, Write, no_limit
from agent.backend import Backend
from agent.backend.fleet import FleetMembers
from agent.config import Settings
from agent.config_base import HttpSettings
from agent.host.files import write_file
from agent.host.podman import Podman
from agent.host.systemd import UnitState
from agent.host.tasks import background
from agent.identity import tls
from agent.identity.authority import Authority, Issued
from agent.identity.certificates import (
    CertificateRecords,
    Certificates,
    Enrolment,
    InvitationRecords,
    invitation,
    new_code,
)
from agent.jobs.changes import Changes
from agent.logs.journal import Journal
from agent.logs.tail import Tail
from agent.model.base import now
from agent.model.certificate import Certificate, Invitation, Role
from agent.model.fleet import host_server_name
from agent.model.job import Job
from agent.model.paths import CLAIMED, ENDED, STARTED
from agent.service import JobParts, backend_of, secrets_of
from agent.store.store import Store

from .api_client import Client
from .fleet_pki import put_into_fleet
from .job_scene import Scene, driving, end_of
from .memory_backend import MemoryParts
from .openapi import Document
from .stand_in_journal import JournalFile
from .stand_in_podman import StandInPodman

ID_KEY = bytes(KEY_BYTES)  # the same at each start, as if the agent had kept it


@dataclass(frozen=True)
class Authorities:
    """Our authority, a foreign one, and the server's certificate; all in one directory."""

    directory: Path
    own: Authority
    foreign: Authority
    fleet: Authority = field(default_factory=lambda: Authority.make("fleet CA"))

    @classmethod
    def make(cls, directory: Path) -> Self:
        own = Authority.create(directory, "test CA")
        server = own.issue_server(["localhost", "127.0.0.1"])
        write_file(directory / "server.crt", server.certificate_pem(), mode=0o644)
        write_file(directory / "server.key", server.key_pem(), mode=0o600)
        return cls(directory, own, Authority.create(directory / "foreign", "foreign CA"))


@dataclass
class HttpServer:
    """One application on loopback ports. `directory` is for the files of clients."""

    app: web.Application
    runner: web.AppRunner
    connections: Connections
    authorities: Authorities
    document: Document
    directory: Path
    base: str = ""
    _sessions: list[aiohttp.ClientSession] = field(default_factory=list)
    _listeners: list[Listener] = field(default_factory=list)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls,
        backend: Backend,
        certificates: CertificateRecords,
        invitations: InvitationRecords,
        write_audit: Write,
        http: HttpSettings,
        authorities: Authorities,
        document: Document,
        directory: Path,
        check_audit_share: CheckShare = no_limit,
        id_key: bytes = ID_KEY,
    ) -> AsyncIterator[Self]:
        """Serves the backend until the context ends."""
        issuing = Certificates(
            certificates, authorities.directory, lifetime=timedelta(days=30), max_per_user=5
        )
        enrolment = Enrolment(invitations, authorities.directory)
        app = build(backend, issuing, enrolment, write_audit, http, id_key, check_audit_share)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        assert runner.server is not None
        connections = Connections(runner.server, http)
        server = cls(app, runner, connections, authorities, document, directory)
        try:
            async with background(connections.watch()):
                server.base = server._listen(tls.CurrentContext(authorities.directory))
                yield server
        finally:
            await server._close()

    async def listen(self, pki: Path) -> str:
        """Listens on another port, with the files of that PKI directory as they are now; returns its URL."""
        context = tls.server_context(pki)
        return self._listen(lambda: context)

    def _listen(self, context: Callable[[], ssl.SSLContext]) -> str:
        listening = socket.create_server(("127.0.0.1", 0), backlog=500)
        listener = Listener(
            [listening],
            self.connections,
            context,
            max_handshakes=100,
            handshake_seconds=10,
            rounds=self.connections.rounds,
        )
        self._listeners.append(listener)
        base = f"https://localhost:{listening.getsockname()[1]}"
        listener.start()
        return base

    @property
    def newest_listener(self) -> Listener:
        """The listener of the last call of `listen`."""
        return self._listeners[-1]

    def client(self, issued: Issued | None) -> Client:
        """A client with that certificate, or with none."""
        context = ssl.create_default_context(cafile=self.authorities.directory / "ca.crt")
        if issued is not None:
            write_file(self.directory / "client.crt", issued.certificate_pem(), mode=0o600, replace=True)
            write_file(self.directory / "client.key", issued.key_pem(), mode=0o600, replace=True)
            context.load_cert_chain(self.directory / "client.crt", self.directory / "client.key")
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, force_close=False), auto_decompress=False
        )
        self._sessions.append(session)
        return Client(session, self.base, self.document, context)

    async def _close(self) -> None:
        for session in self._sessions:
            await session.close()
        for listener in self._listeners:
            listener.stop()
            await listener.finish(1)
        await self.runner.cleanup()


class AnyServed(ABC):
    """A server over some backend, and what a test does behind the API's back."""

    def __init__(self, http: HttpServer, backend: Backend) -> None:
        self.http = http
        self.backend = backend

    @property
    def app(self) -> web.Application:
        return self.http.app

    @property
    def base(self) -> str:
        return self.http.base

    @property
    def authorities(self) -> Authorities:
        return self.http.authorities

    @property
    def connections(self) -> Connections:
        return self.http.connections

    @property
    def document(self) -> Document:
        return self.http.document

    def client(self, issued: Issued | None) -> Client:
        """A client with that certificate, or with none."""
        return self.http.client(issued)

    async def known(self, user: str, role: Role = Role.ANALYST) -> Client:
        """A client with a recorded certificate."""
        return self.client(await self.issue(user, role))

    async def issue(self, user: str, role: Role = Role.ANALYST) -> Issued:
        """A recorded certificate."""
        issued = self.authorities.own.issue_client(user)
        expires = issued.certificate.not_valid_after_utc.astimezone(UTC)
        await self.add_certificate(
            Certificate(serial=issued.serial, user=user, role=role, issued_at=now(), expires_at=expires)
        )
        return issued

    async def invite(self, user: str, *, valid: timedelta = timedelta(hours=1), **fields: Any) -> str:
        """The code of a new invitation. Whether strangers may connect does not change."""
        code = new_code()
        made = invitation(code, user, Role.ANALYST, days=30, valid=valid).model_copy(update=fields)
        deed = Caller(actor="root", role="account", source="this host").did("invite", user=user)
        await self.add_invitation(made, deed)
        return code

    @abstractmethod
    async def add_invitation(self, invitation: Invitation, deed: Deed) -> None:
        """Records an invitation."""

    @abstractmethod
    async def add_certificate(self, certificate: Certificate) -> None:
        """Records a certificate, as if this host had issued it."""

    @abstractmethod
    def log(self, *lines: str) -> None:
        """Adds to the log of each job. "END" is the closing entry."""

    @abstractmethod
    def add_artifact(self, job: Any, path: str, content: bytes) -> None:
        """Leaves an artifact, as if the job had."""

    @abstractmethod
    async def finish(self, job: Any, **update: Any) -> None:
        """Ends the job, as if it had ended an hour ago."""

    @abstractmethod
    async def audited(self, actor: str) -> list[dict[str, Any]]:
        """The audit rows of one actor, oldest first."""

    @abstractmethod
    async def nothing_is_left(self) -> None:
        """Fails if a job is left anywhere."""


class MemoryServed(AnyServed):
    """A server over a backend in memory."""

    def __init__(self, http: HttpServer, parts: MemoryParts) -> None:
        super().__init__(http, parts.backend)
        self.parts = parts

    async def add_certificate(self, certificate: Certificate) -> None:
        self.parts.certificates.add(certificate)

    async def add_invitation(self, invitation: Invitation, deed: Deed) -> None:
        self.parts.invitations.known[invitation.digest] = invitation

    def log(self, *lines: str) -> None:
        self.parts.logs.add(*lines)

    def add_artifact(self, job: Any, path: str, content: bytes) -> None:
        self.parts.artifacts.add(job["job_id"], path, content)

    async def finish(self, job: Any, **update: Any) -> None:
        known = await self.backend.jobs.get(job["job_id"])
        ended = {"status": "COMPLETED", "finished_at": now() - timedelta(hours=1), "revision": 2} | update
        self.parts.jobs.put(Job.model_validate(known.model_dump(exclude={"queue"}) | ended))

    async def audited(self, actor: str) -> list[dict[str, Any]]:
        return [deed.model_dump() for deed in self.parts.deeds if deed.actor == actor]

    async def nothing_is_left(self) -> None:
        assert self.parts.jobs.records == {}


class Served(AnyServed):
    """A server over the agent's parts; only Podman, systemd and the journal are stood in for."""

    def __init__(
        self,
        http: HttpServer,
        backend: Backend,
        scene: Scene,
        jobs: JobParts,
        podman: StandInPodman,
        journal: JournalFile,
    ) -> None:
        super().__init__(http, backend)
        self.scene = scene
        self.jobs = jobs
        self.podman = podman
        self.journal = journal
        self.journal_file = http.directory / "journal"

    async def add_certificate(self, certificate: Certificate) -> None:
        await self.scene.store.certificates.add(certificate)

    async def add_invitation(self, invitation: Invitation, deed: Deed) -> None:
        await self.scene.store.invitations.add(invitation, deed=deed)

    def log(self, *lines: str) -> None:
        with self.journal_file.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    @property
    def reads_changes(self) -> bool:
        """Whether the feed of changes has a reader."""
        assert isinstance(self.backend.changes, Changes)
        return self.backend.changes.reading

    def artifacts(self, job: Any) -> Path:
        """The directory of the job's artifacts."""
        directory = self.scene.settings.paths_of(job["job_id"]).attempt(1).artifacts
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def add_artifact(self, job: Any, path: str, content: bytes) -> None:
        (self.artifacts(job) / path).write_bytes(content)

    async def finish(self, job: Any, **update: Any) -> None:
        known = await self.jobs.registry.get(job["job_id"])
        ended = {"status": "COMPLETED", "finished_at": now() - timedelta(hours=1), "revision": 2} | update
        await self.scene.store.jobs.update(Job.model_validate(known.model_dump() | ended))
        await self.jobs.reconciler.load()

    async def running_job(self, client: Client) -> Any:
        """A job that runs, as far as the agent can tell."""
        job = await client.submit()
        await self.run(job)
        return job

    async def run(self, job: Any) -> None:
        """Lets a waiting job run, as far as the agent can tell."""
        known = await self.jobs.registry.get(job["job_id"])
        running = Job.model_validate(known.model_dump() | {"status": "RUNNING", "revision": 2})
        assert await self.scene.store.jobs.update(running)
        await self.jobs.reconciler.load()

    async def end(self, job: Any) -> None:
        """Ends a running job: its unit leaves the marks of success, and the agent looks."""
        self.scene.units.states[job["unit"]] = UnitState()
        known = await self.jobs.registry.get(job["job_id"])
        for mark in (CLAIMED, STARTED):
            self.scene.mark(known, mark)
        self.scene.mark(known, ENDED, f"success exited 0 {'0' * 32}")
        async with driving(self.jobs) as jobs:
            await end_of(jobs, known)

    async def audited(self, actor: str) -> list[dict[str, Any]]:
        rows = await self.scene.store.audit.newest(actor=actor, limit=1000)
        return [row.content() for row in reversed(rows)]

    async def nothing_is_left(self) -> None:
        assert (await self.jobs.registry.page()).jobs == []
        assert not (self.scene.settings.state_directory / "jobs").exists()
        assert not (self.scene.settings.runtime_directory / "systemd").exists()
        assert self.scene.units.started == []


@contextlib.asynccontextmanager
async def served_from_memory(
    http: HttpSettings,
    authorities: Authorities,
    document: Document,
    directory: Path,
    members: FleetMembers | None = None,
) -> AsyncIterator[MemoryServed]:
    """A server over a new backend in memory; with `members`, as a front of a fleet."""
    parts = MemoryParts()
    serving = HttpServer.running(
        replace(parts.backend, members=members),
        parts.certificates,
        parts.invitations,
        parts.audit,
        http,
        authorities,
        document,
        directory,
    )
    async with serving as server:
        yield MemoryServed(server, parts)


@contextlib.asynccontextmanager
async def served_by_the_agent(
    settings: Settings, authorities: Authorities, document: Document, directory: Path
) -> AsyncIterator[Served]:
    """A server over the agent's parts, which do not drive jobs: all of them wait."""
    journal = JournalFile(directory / "journal", lambda: iter(tail.units))
    tail = Tail(lambda *matches: journal.open(*matches))
    podman = StandInPodman(directory)
    async with (
        Store.open(settings.database) as store,
        podman.listening(directory / "podman.sock"),
        Podman(directory / "podman.sock") as podman_client,
    ):
        if settings.fleet and settings.fleet.host:
            put_into_fleet(settings.pki_directory, authorities.fleet, host_server_name(settings.fleet.host))
        scene = Scene(settings, store)
        jobs = scene.jobs(secrets_of(settings, podman_client))
        backend = backend_of(settings, store, podman_client, jobs, Journal(tail))
        serving = HttpServer.running(
            backend,
            store.certificates,
            store.invitations,
            store.audit.append,
            settings.http,
            authorities,
            document,
            directory,
            store.audit.check_share,
        )
        async with serving as server:
            yield Served(server, backend, scene, jobs, podman, journal)


async def _is_long(*_: object) -> None:
    """What `Journal.short` says of a log that it leaves to journalctl."""


def use_stand_in_journalctl(monkeypatch: pytest.MonkeyPatch, journal: Path) -> None:
    """Puts a program in the place of journalctl that prints the lines of a file."""
    # With this very Python, first on the PATH: another one may be a script that has children.
    path = f"{Path(__file__).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("TEST_JOURNAL", str(journal))
    journal.touch()
    # A short log is read without journalctl, from the real journal.
    monkeypatch.setattr(Journal, "short", _is_long)
