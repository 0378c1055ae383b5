"""Bad days of the record's server: it is slow, it is away, and the end of its file is missing."""

import asyncio

import pytest

from agent.errors import AgentError, Problem
from agent.fleet import record_server
from agent.fleet.entries import Claim, Step
from agent.fleet.record import Record
from tests.support.fleet_record import connected, member, new_job, submitted
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.host


async def test_a_slow_record_accepts_each_job_once(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was not answered in time repeats the request, and gets the job that the first one made."""
    monkeypatch.setattr(record_server, "TIMEOUT", 0.5)
    async with connected(own_redis) as record:
        await record.load()
        await submitted(record)
        own_redis.cli("client", "pause", "1500", "all")
        with pytest.raises(AgentError) as refused:
            await record.submit(new_job(key="k", fingerprint="f"))
        assert refused.value.problem is Problem.HOST
        await asyncio.sleep(1.5)
        again = [await record.submit(new_job(key="k", fingerprint="f")) for _ in range(2)]
        assert again[1] == (again[0][0], False)
        assert await record.pending() == {"none": 2}


async def test_a_claim_whose_answer_came_too_late_is_found_again(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_server, "TIMEOUT", 0.5)
    async with connected(own_redis) as record:
        await record.load()
        host, job_id = await member(record), await submitted(record)
        own_redis.cli("client", "pause", "1500", "all")
        with pytest.raises(AgentError):
            await host.claim()
        await asyncio.sleep(1.5)
        claims = [claim.job_id for claim in await record.claims_of("h1")]
        if not claims:  # Redis had not read the call when its client gave up
            claims = [(await host.claimed()).job_id]
        assert claims == [job_id]
        assert await host.claim() == "empty"


def cut(server: RedisServer, missing: int) -> None:
    """Starts a server again that was killed, and whose file lacks the last bytes."""
    server.kill()
    (file,) = server.directory.glob("appendonlydir/*.incr.aof")
    with file.open("r+b") as written:
        written.truncate(file.stat().st_size - missing)
    server.start()


@pytest.mark.parametrize("missing", [1, 7, 150, 700])
async def test_a_file_whose_end_is_missing_has_no_half_of_a_step(
    own_redis: RedisServer, missing: int
) -> None:
    """As after a power cut under a disk that lies: the last steps are gone, each of them as a whole."""
    async with connected(own_redis) as record:
        await record.load()
        host = await member(record)
        first = await submitted(record)
        claim = await host.claimed()
        jobs = [await submitted(record, f"u{number % 3}") for number in range(20)]
    cut(own_redis, missing)
    async with connected(own_redis) as record:
        left = [job_id for job_id in jobs if await record.job(job_id)]
        assert left == jobs[: len(left)]
        assert len(jobs) - 3 <= len(left) < len(jobs)
        await everything_agrees(record, left)
        assert await record.confirm(first, "h1", host.epoch, claim.fence) is Step.OK
        host = await member(record)
        claims = [await host.claimed() for _ in range(7)]
        assert {claim.job_id for claim in claims} <= set(left)
        assert not isinstance(await host.claim(), Claim), "the host is full"


async def everything_agrees(record: Record, waiting: list[str]) -> None:
    """All that the record has of waiting jobs says the same."""
    assert await record.pending() == {"none": len(waiting)}
    rows = await record.jobs(waiting)
    assert all(row["state"] == "waiting" and row["document"] == "{}" for row in rows.values())
    assert set(await record.places(None, 100)) == set(waiting)
    assert set((await record.newest(ended=0))[1]) >= set(waiting)
    assert set((await record.page(limit=100))[0]) >= set(waiting)
    for job_id in waiting:
        with pytest.raises(AgentError):  # its id is taken
            await record.submit(new_job(id=job_id))


async def test_a_record_that_has_lost_its_end_is_known_by_its_numbers(own_redis: RedisServer) -> None:
    """A client's number of a change that is gone is higher than the newest: its list begins anew."""
    async with connected(own_redis) as record:
        await record.load()
        await submitted(record)
        await submitted(record)
        before = await record.history()
    cut(own_redis, 7)
    async with connected(own_redis) as record:
        after = await record.history()
    assert after.epoch == before.epoch
    assert after.newest < before.newest
