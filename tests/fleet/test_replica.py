"""What is promised is on the replica's disk: a promise that cannot be kept is not made."""

import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.fleet.record import Record
from tests.support.fleet_record import connected, member, new_job, submitted
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.host


@pytest.fixture
def replica(own_redis: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """A replica that has caught up."""
    with RedisServer.running(tmp_path / "replica", replica_of=own_redis.port) as server:
        deadline = time.monotonic() + 20
        while "master_link_status:up" not in server.cli("info", "replication"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield server


@pytest.fixture
async def record(own_redis: RedisServer, replica: RedisServer) -> AsyncIterator[Record]:
    async with connected(own_redis, replicas=1) as record:
        await record.load()
        yield record


@contextlib.contextmanager
def asleep(server: RedisServer) -> Iterator[None]:
    server.kill(signal.SIGSTOP)
    try:
        yield
    finally:
        server.kill(signal.SIGCONT)


async def test_an_accepted_job_is_on_the_replica(
    own_redis: RedisServer, replica: RedisServer, record: Record
) -> None:
    job_id = await submitted(record)
    own_redis.kill()
    replica.cli("replicaof", "no", "one")
    async with connected(replica) as promoted:
        host = await member(promoted)
        assert (await host.claimed()).job_id == job_id


async def test_nothing_is_promised_without_the_replica(replica: RedisServer, record: Record) -> None:
    job = new_job(key="k", fingerprint="f")
    with asleep(replica):
        # The second time the job is known, and its promise is still not kept.
        for _ in range(2):
            with pytest.raises(AgentError, match="0 of 1 replicas") as refused:
                await record.submit(job)
            assert refused.value.problem is Problem.HOST
    assert await record.submit(new_job(key="k", fingerprint="f")) == (job.id, False)


async def test_a_claim_that_the_replica_lacks_is_not_begun(replica: RedisServer, record: Record) -> None:
    """Promoted, such a replica would give the job to another host."""
    await submitted(record)
    host = await member(record)
    with asleep(replica):
        claim = await host.claimed()
        with pytest.raises(AgentError, match="0 of 1 replicas"):
            await record.confirm(claim.job_id, "h1", host.epoch, claim.fence)
    assert await record.confirm(claim.job_id, "h1", host.epoch, claim.fence) == "ok"
