"""The process of a front, over a real Redis and with a broker that is away: it serves all the same."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.fleet.record import Record
from tests.support.api_client import events
from tests.support.front_process import STARTS, FrontProcess
from tests.support.openapi import Document
from tests.support.redis_server import RedisServer
from tests.support.served import Authorities, use_stand_in_journalctl
from tests.support.served_fleet import MemberByHand, joined_host
from tests.support.small_site import make_settings

pytestmark = pytest.mark.host


@pytest.fixture
async def front(
    record: Record, shared_redis: RedisServer, tmp_path: Path, repository: Path, authorities: Authorities
) -> AsyncIterator[FrontProcess]:
    front = FrontProcess(tmp_path, shared_redis, repository, authorities.fleet)
    try:
        yield front
    finally:
        await front.kill()


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


async def test_a_front_that_waits_for_the_record_ends_when_it_is_told_to(
    tmp_path: Path, repository: Path, authorities: Authorities
) -> None:
    front = FrontProcess(tmp_path, RedisServer(tmp_path / "away"), repository, authorities.fleet)
    await front.start()
    try:
        assert await front.end(signal.SIGTERM) == 0
    finally:
        await front.kill()


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
        await front.kill()
