"""A front in a process of its own."""

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path

import aiohttp

from agent.identity.authority import Authority, Issued
from agent.model.base import now
from agent.model.certificate import Certificate, Role
from agent.model.fleet import FRONT_SERVER_NAME
from agent.store.store import Store

from .api_client import Client
from .fleet_pki import peer, put_into_fleet
from .openapi import Document
from .pki import save
from .redis_server import RedisServer, free_port
from .served import Authorities

RUN = "from agent.config_files import load; from agent.fleet.programs import run_front; run_front(load())"
STARTS = 60.0  # seconds


class FrontProcess:
    """A front in a process of its own, which a test may kill and start again."""

    def __init__(
        self, directory: Path, redis: RedisServer, repository: Path, fleet: Authority, *, http: str = ""
    ) -> None:
        """`http` are further lines of `[fleet.front.http]`."""
        self._directory, self._fleet = directory, fleet
        self.state = directory / "front-state"
        self.port = free_port()
        self.authorities = Authorities.make(self.state / "pki")
        put_into_fleet(self.state / "pki", fleet, FRONT_SERVER_NAME)
        save(directory, "front", peer(fleet, Role.FRONT, "front-1"))
        (directory / "fleet.crt").write_bytes(fleet.certificate_pem())
        self.configuration = directory / "front.toml"
        self.configuration.write_text(
            f"""
            [scripts]
            repository = "{repository}"
            [fleet]
            authority = "{directory}/fleet.crt"
            [fleet.record]
            url = "{redis.url}"
            [fleet.broker]
            url = "amqp://127.0.0.1:{free_port()}"
            [fleet.front]
            name = "front-1"
            certificate = "{directory}/front.crt"
            key = "{directory}/front.key"
            state_directory = "{self.state}"
            [fleet.front.http]
            port = {self.port}
            {http}
            """
        )
        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Starts it, and waits until it listens."""
        environment = os.environ | {"ML_AGENT_CONFIG": str(self.configuration)}
        self.process = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, env=environment)
        async with asyncio.timeout(STARTS):
            while not await self._listens():
                assert self.process.returncode is None
                await asyncio.sleep(0.05)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def end(self, number: signal.Signals) -> int:
        """Its exit status after a signal."""
        assert self.process is not None
        self.process.send_signal(number)
        async with asyncio.timeout(STARTS):
            return await self.process.wait()

    async def kill(self) -> None:
        """Ends it, unless it has ended."""
        if self.process is not None and self.process.returncode is None:
            await self.end(signal.SIGKILL)

    @contextlib.asynccontextmanager
    async def client(self, user: str, document: Document) -> AsyncIterator[Client]:
        """A client whose certificate the front's store has."""
        context = await self.known(user)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            yield Client(session, f"https://localhost:{self.port}", document, context)

    async def known(self, user: str) -> ssl.SSLContext:
        """What a client shows whose certificate the front's store has."""
        issued = self.authorities.own.issue_client(user)
        expires = issued.certificate.not_valid_after_utc.astimezone(UTC)
        known = Certificate(
            serial=issued.serial, user=user, role=Role.ANALYST, issued_at=now(), expires_at=expires
        )
        async with Store.open(self.state / "jobs.db") as store:
            await store.certificates.add(known)
        return self._context(user, issued, self.state / "pki/ca.crt")

    def member(self, host: str) -> ssl.SSLContext:
        """What the member of a host shows."""
        issued = peer(self._fleet, Role.MEMBER, host)
        return self._context(host, issued, self._directory / "fleet.crt")

    def _context(self, name: str, issued: Issued, authority: Path) -> ssl.SSLContext:
        save(self.state, name, issued)
        context = ssl.create_default_context(cafile=authority)
        context.load_cert_chain(self.state / f"{name}.crt", self.state / f"{name}.key")
        return context
