"""The process of a front, over a real Redis and with a broker that is away: it serves all the same."""

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
import pytest

from agent.fleet.record import Record
from agent.identity.authority import Authority
from agent.model.base import now
from agent.model.certificate import Certificate, Role
from agent.model.fleet import FRONT_SERVER_NAME
from agent.store.store import Store
from tests.support.api_client import Client, events
from tests.support.fleet_pki import peer, put_into_fleet
from tests.support.openapi import Document
from tests.support.pki import save
from tests.support.redis_server import RedisServer, free_port
from tests.support.served import Authorities, use_stand_in_journalctl
from tests.support.served_fleet import MemberByHand, joined_host
from tests.support.small_site import make_settings

pytestmark = pytest.mark.host

RUN = "from agent.config_files import load; from agent.fleet.programs import run_front; run_front(load())"
STARTS = 60.0  # seconds


class FrontProcess:
    """A front in a process of its own, which a test may kill and start again."""

    def __init__(self, directory: Path, redis: RedisServer, repository: Path, fleet: Authority) -> None:
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
            """
        )
        self.process: asyncio.subprocess.Process | None = None

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

    @contextlib.asynccontextmanager
    async def client(self, user: str, document: Document) -> AsyncIterator[Client]:
        """A client whose certificate the front's store has."""
        issued = self.authorities.own.issue_client(user)
        expires = issued.certificate.not_valid_after_utc.astimezone(UTC)
        known = Certificate(
            serial=issued.serial, user=user, role=Role.ANALYST, issued_at=now(), expires_at=expires
        )
        async with Store.open(self.state / "jobs.db") as store:
            await store.certificates.add(known)
        save(self.state, user, issued)
        context = self._context(user)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            yield Client(session, f"https://localhost:{self.port}", document, context)

    def _context(self, user: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.state / "pki/ca.crt")
        context.load_cert_chain(self.state / f"{user}.crt", self.state / f"{user}.key")
        return context


@pytest.fixture
async def front(
    record: Record, shared_redis: RedisServer, tmp_path: Path, repository: Path, authorities: Authorities
) -> AsyncIterator[FrontProcess]:
    front = FrontProcess(tmp_path, shared_redis, repository, authorities.fleet)
    try:
        yield front
    finally:
        if front.process is not None and front.process.returncode is None:
            await front.end(signal.SIGKILL)


@pytest.fixture
async def member(
    record: Record,
    tmp_path: Path,
    repository: Path,
    authorities: Authorities,
    document: Document,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[MemberByHand]:
    (tmp_path / "h1").mkdir()
    use_stand_in_journalctl(monkeypatch, tmp_path / "h1/journal")
    settings = make_settings(tmp_path / "site", runtime=tmp_path / "run", repository=repository)
    async with joined_host("h1", record, settings, authorities, document, tmp_path / "h1") as member:
        yield member


async def test_a_front_serves_without_a_broker_and_ends_when_it_is_told_to(
    front: FrontProcess, member: MemberByHand, document: Document
) -> None:
    await front.start()
    async with front.client("alice", document) as alice:
        job = await alice.submit()
        assert job["queue"]["position"] == 1
        member.served.log("hello", "END")
        await member.hand_over()
        await member.served.finish(job)
        await member.tell(job["job_id"])
        assert (await alice.get(f"/jobs/{job['job_id']}/logs")).body == b"hello\n"
        assert (await alice.get("/hosts")).json["hosts"][0]["name"] == "h1"
    assert await front.end(signal.SIGTERM) == 0


async def test_a_stream_goes_on_where_a_killed_front_left_it(
    front: FrontProcess, member: MemberByHand, document: Document
) -> None:
    await front.start()
    async with front.client("alice", document) as alice:
        await alice.submit()
        async with asyncio.timeout(STARTS), alice.stream("/events") as response:
            async for name, _, event_id in events(response):
                if name == "current":
                    last = event_id
                    break
            await front.end(signal.SIGKILL)
    await front.start()
    async with front.client("bob", document) as bob:
        await bob.submit()
    async with front.client("alice", document) as alice:
        missed = await alice.submit()
        found = []
        async with asyncio.timeout(STARTS), alice.stream("/events", **{"Last-Event-ID": last}) as response:
            async for name, data, _ in events(response):
                if name != ":":
                    found.append((name, data.get("job_id")))
                if name == "current":
                    break
    assert found == [("job", missed["job_id"]), ("current", None)]


async def test_a_front_that_starts_before_its_record_serves_as_soon_as_that_is_there(
    own_redis: RedisServer, tmp_path: Path, repository: Path, authorities: Authorities, document: Document
) -> None:
    own_redis.stop()
    front = FrontProcess(tmp_path, own_redis, repository, authorities.fleet)
    try:
        await front.start()
        async with front.client("alice", document) as alice:
            # The connection waits in the socket.
            asking = asyncio.create_task(alice.post("/jobs", {"script_name": "succeed.py"}))
            await asyncio.sleep(2)
            assert not asking.done()
            own_redis.start()
            answer = await asking
            assert (answer.status, answer.problem) == (503, "host")
            assert "no host" in answer.json["detail"]
            own_redis.stop()
            answer = await alice.post("/jobs", {"script_name": "succeed.py"}, **{"Idempotency-Key": "k"})
            assert (answer.status, answer.problem) == (503, "host")
            assert "record" in answer.json["detail"]
    finally:
        if front.process is not None and front.process.returncode is None:
            await front.end(signal.SIGKILL)
