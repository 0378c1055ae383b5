"""The real API over real TLS and a real store; only Podman, systemd and the journal are stood in for."""

import contextlib
import json
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agent.api.app import build
from agent.api.server.connections import Connections
from agent.api.server.listener import Listener
from agent.audit.chain import Caller
from agent.backend import Backend
from agent.host.files import write_file
from agent.host.podman import Podman
from agent.host.tasks import background
from agent.identity import tls
from agent.identity.authority import Authority
from agent.identity.certificates import Certificates
from agent.identity.invitations import Enrolment, invitation, new_code
from agent.identity.issued import Issued
from agent.jobs.changes import Changes
from agent.jobs.parts import JobParts
from agent.logs.job_log import JobLogs
from agent.logs.journal import Journal
from agent.logs.metrics_reader import MetricsReader
from agent.logs.tail import Tail
from agent.model.base import now
from agent.model.certificate import Certificate, Role
from agent.model.job import Job
from agent.secrets.secrets import Secrets
from agent.secrets.user_secrets import UserSecrets
from agent.store.store import Store
from tests.support.job_scene import Scene, driving
from tests.support.small_site import make_repository, make_settings
from tests.support.stand_in_journal import JournalFile
from tests.support.stand_in_podman import StandInPodman

from .schema import Document

BOUNDS = {
    "max_connections": 100,
    "max_connections_per_user": 50,
    "max_followers": 10,
    "max_followers_per_user": 10,
    "max_secrets_per_user": 3,
    "requests_per_second": 1000.0,
}


@dataclass(frozen=True)
class Authorities:
    """Our authority, a foreign one, and the server's certificate; all in one directory."""

    directory: Path
    own: Authority
    foreign: Authority


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    """Keys are slow to make, and none of them is changed."""
    directory = tmp_path_factory.mktemp("pki")
    own = Authority.create(directory, "test CA")
    server = own.issue_server(["localhost", "127.0.0.1"])
    write_file(directory / "server.crt", server.certificate_pem(), mode=0o644)
    write_file(directory / "server.key", server.key_pem(), mode=0o600)
    return Authorities(directory, own, Authority.create(directory / "foreign", "foreign CA"))


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' repository, which no test here changes."""
    path = tmp_path_factory.mktemp("repository")
    make_repository(path)
    return path


@dataclass
class Answer:
    """A response that was read to its end; `problem` is the code of a problem document."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        return str(self.json["type"]).rpartition(":")[2]

    @property
    def fields(self) -> list[str]:
        """The names of the refused fields."""
        return [error["field"] for error in self.json["errors"]]


@dataclass
class Client:
    """One certificate's holder. Every answer is checked against the OpenAPI document."""

    session: aiohttp.ClientSession
    base: str
    document: Document

    async def __call__(self, method: str, path: str, **options: Any) -> Answer:
        async with self.session.request(method, self.base + path, **options) as response:
            body = await response.read()
            answer = Answer(response.status, {k.title(): v for k, v in response.headers.items()}, body)
        self.document.check(method, path.partition("?")[0], answer.status, answer.headers, answer.body)
        return answer

    async def get(self, path: str, **headers: str) -> Answer:
        return await self("GET", path, headers=headers)

    async def post(self, path: str, data: Any = None, **headers: str) -> Answer:
        """Posts JSON, or bytes as they are."""
        body = data if isinstance(data, bytes) else json.dumps(data)
        return await self("POST", path, data=body, headers={"Content-Type": "application/json"} | headers)

    async def submit(self, script_name: str = "succeed.py", **fields: Any) -> Any:
        answer = await self.post("/jobs", {"script_name": script_name, "hyperparameters": {}} | fields)
        assert answer.status == 202, answer.body
        return answer.json

    @contextlib.asynccontextmanager
    async def stream(self, path: str, **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """An event stream; what is read from it is `events`'."""
        headers = {"Accept": "text/event-stream"} | headers
        async with self.session.get(self.base + path, headers=headers) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            yield response


@dataclass
class Served:
    """An agent that answers on a loopback port."""

    scene: Scene
    jobs: JobParts
    backend: Any
    authorities: Authorities
    app: web.Application
    runner: web.AppRunner
    base: str
    journal_file: Path
    journal: JournalFile
    document: Document
    connections: Connections
    podman: StandInPodman
    _sessions: list[aiohttp.ClientSession] = field(default_factory=list)
    _listeners: list[Listener] = field(default_factory=list)

    def client(self, issued: Issued | None) -> Client:
        """A client with that certificate, or with none."""
        context = ssl.create_default_context(cafile=self.authorities.directory / "ca.crt")
        if issued is not None:
            directory = self.journal_file.parent
            write_file(directory / "client.crt", issued.certificate_pem(), mode=0o600, replace=True)
            write_file(directory / "client.key", issued.key_pem(), mode=0o600, replace=True)
            context.load_cert_chain(directory / "client.crt", directory / "client.key")
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, force_close=False), auto_decompress=False
        )
        self._sessions.append(session)
        return Client(session, self.base, self.document)

    async def known(self, user: str, role: Role = Role.ANALYST) -> Client:
        """A client whose certificate the store knows."""
        issued = self.authorities.own.issue_client(user)
        expires = issued.certificate.not_valid_after_utc.astimezone(UTC)
        await self.scene.store.certificates.add(
            Certificate(serial=issued.serial, user=user, role=role, issued_at=now(), expires_at=expires)
        )
        return self.client(issued)

    async def invite(self, user: str, *, valid: timedelta = timedelta(hours=1), **fields: Any) -> str:
        """The code of a new invitation. Whether strangers may connect does not change."""
        code = new_code()
        made = invitation(code, user, Role.ANALYST, days=30, valid=valid).model_copy(update=fields)
        deed = Caller(actor="root", role="account", source="this host").did("invite", user=user)
        await self.scene.store.invitations.add(made, deed=deed)
        return code

    async def listen(self, directory: Path) -> str:
        """Listens on another port too, with the files of that PKI directory as they are now."""
        context = tls.server_context(directory)
        listening = socket.create_server(("127.0.0.1", 0), backlog=500)
        listener = Listener(
            [listening], self.connections, lambda: context, max_handshakes=100, handshake_seconds=10
        )
        self._listeners.append(listener)
        base = f"https://localhost:{listening.getsockname()[1]}"
        listener.start()
        return base

    def log(self, *lines: str) -> None:
        """Appends to what journalctl shows of any unit; "END" is the closing entry."""
        with self.journal_file.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def artifacts(self, job: Any) -> Path:
        directory = self.scene.settings.paths_of(job["job_id"]).attempt(1).artifacts
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    async def finish(self, job: Any, **update: Any) -> None:
        """Ends the job in the store, as if the agent had seen it end some time ago."""
        known = await self.jobs.registry.get(job["job_id"])
        ended = {"status": "COMPLETED", "finished_at": now() - timedelta(hours=1), "revision": 2} | update
        await self.scene.store.jobs.update(Job.model_validate(known.model_dump() | ended))
        await self.jobs.reconciler.load()

    async def nothing_is_left(self) -> None:
        """No job is in the store, on disk or in systemd."""
        state = self.scene.settings.state_directory
        assert (await self.jobs.registry.page()).jobs == []
        assert not (state / "jobs").exists()
        assert not (self.scene.settings.runtime_directory / "systemd").exists()
        assert self.scene.units.started == []

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()
        for listener in self._listeners:
            listener.stop()
            await listener.finish(1)
        await self.runner.cleanup()


@pytest.fixture
async def serve(
    tmp_path: Path,
    authorities: Authorities,
    repository: Path,
    document: Document,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Callable[..., Any]]:
    """Starts an agent; `site` are sections of its settings, the other options are of `http`."""
    # The stand-in for journalctl, and this very Python for it: another may be a script with children.
    monkeypatch.setenv("PATH", f"{Path(__file__).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TEST_JOURNAL", str(tmp_path / "journal"))
    (tmp_path / "journal").touch()
    base_settings = make_settings(tmp_path, runtime=tmp_path / "runtime", repository=repository)
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            *, drive: bool = False, site: dict[str, dict[str, Any]] | None = None, **options: Any
        ) -> Served:
            changed = {
                name: getattr(base_settings, name).model_copy(update=section)
                for name, section in (site or {}).items()
            }
            settings = base_settings.model_copy(update=changed)
            store = await stack.enter_async_context(Store.open(settings.database))
            scene = Scene(settings, store)
            jobs = scene.jobs()
            http = settings.http.model_copy(update=BOUNDS | options)
            podman = StandInPodman(tmp_path)
            await stack.enter_async_context(podman.listening(tmp_path / "podman.sock"))
            secrets = Secrets(
                await stack.enter_async_context(Podman(tmp_path / "podman.sock")),
                runtime_directory=settings.runtime_directory,
                state_directory=settings.state_directory,
            )
            tail = Tail(lambda *matches: journal.open(*matches))
            journal = JournalFile(tmp_path / "journal", lambda: iter(tail.units))
            changes = Changes(store.changes)
            logs = JobLogs(Journal(tail), jobs.registry, changes, settings.paths_of)
            backend = Backend(
                submissions=jobs.submission,
                scripts=jobs.commits,
                jobs=jobs.registry,
                host=jobs.status,
                artifacts=jobs.results,
                logs=logs,
                metrics=MetricsReader(logs, settings.paths_of),
                changes=changes,
                secrets=UserSecrets(
                    secrets,
                    started=jobs.registry.started,
                    write_audit=store.audit.append,
                    limit=http.max_secrets_per_user,
                ),
            )
            app = build(
                backend,
                Certificates(
                    store.certificates, authorities.directory, lifetime=timedelta(days=30), max_per_user=5
                ),
                Enrolment(store.invitations, authorities.directory),
                store.audit.append,
                http,
            )
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
            await runner.setup()
            assert runner.server is not None
            connections = Connections(runner.server, http)
            listening = socket.create_server(("127.0.0.1", 0), backlog=500)
            listening.setblocking(False)
            port = listening.getsockname()[1]
            context = tls.CurrentContext(authorities.directory)
            listener = Listener([listening], connections, context, max_handshakes=100, handshake_seconds=10)
            listener.start()
            stack.push_async_callback(listener.finish, 1)
            stack.callback(listener.stop)
            await stack.enter_async_context(background(connections.watch()))
            base = f"https://localhost:{port}"
            served = Served(
                scene,
                jobs,
                backend,
                authorities,
                app,
                runner,
                base,
                tmp_path / "journal",
                journal,
                document,
                connections,
                podman,
            )
            stack.push_async_callback(served.close)
            if drive:
                await stack.enter_async_context(driving(jobs))
            return served

        yield start


@pytest.fixture
async def served(serve: Callable[..., Any]) -> Served:
    """An agent in which no job is started: all wait."""
    started: Served = await serve()
    return started


@pytest.fixture
async def alice(served: Served) -> Client:
    return await served.known("alice")


@pytest.fixture
async def bob(served: Served) -> Client:
    return await served.known("bob")


@pytest.fixture
async def operator(served: Served) -> Client:
    return await served.known("oscar", Role.OPERATOR)


@pytest.fixture
async def administrator(served: Served) -> Client:
    return await served.known("root", Role.ADMINISTRATOR)


@pytest.fixture(scope="session")
def document() -> Document:
    """The OpenAPI document, which checks answers."""
    return Document.load()
