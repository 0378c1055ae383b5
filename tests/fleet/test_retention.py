"""The retention of the fleet's record."""

from dataclasses import replace
from typing import Any

import pytest

from agent.config import RetentionSettings
from agent.errors import AgentError, Problem
from agent.fleet import retention
from agent.fleet.record import Record
from agent.fleet.record_server import library
from agent.fleet.retention import RecordRetention
from agent.model.base import new_job_id
from agent.model.retention import Moment
from tests.support.fleet_record import Member, member, new_job, submitted
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.host

DAY = 24 * 3600.0
START = Moment(wall=1_800_000_000.0, boot=1000.0, boot_id="a", synchronised=True)


class Clocks:
    """The clocks of the front's host."""

    def __init__(self) -> None:
        self.moment = START

    async def read(self) -> Moment:
        return self.moment

    def pass_time(self, seconds: float) -> None:
        self.moment = replace(self.moment, wall=self.moment.wall + seconds, boot=self.moment.boot + seconds)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(retention, "read_clocks", clocks.read)
    return clocks


def pruner(record: Record, **settings: Any) -> RecordRetention:
    usual = {"record_days": 30.0, "files_days": 1.0, "at_least_hours": 1.0}
    return RecordRetention("f1", record, RetentionSettings(**{**usual, **settings}))


async def ended(host: Member, owner: str = "alice", **fields: Any) -> str:
    """A job that ran."""
    job_id = await submitted(host.record, owner, priority=9, **fields)
    await host.end(await host.claimed())
    return job_id


async def left(record: Record) -> set[str]:
    return set((await record.page(limit=1000))[0])


async def test_old_records_go_and_leave_nothing(
    record: Record, shared_redis: RedisServer, clocks: Clocks
) -> None:
    host = await member(record)
    waiting = await submitted(record)
    before = keys(shared_redis)
    old = await ended(host, key="k", fingerprint="f")
    assert await pruner(record).prune() == 0
    clocks.pass_time(20 * DAY)
    young = await ended(host)
    assert await pruner(record).prune() == 0
    clocks.pass_time(11 * DAY)
    assert await pruner(record).prune() == 1
    assert await left(record) == {waiting, young}
    assert await record.job(old) is None
    clocks.pass_time(20 * DAY)
    await pruner(record).prune()
    assert await left(record) == {waiting}
    known = {"removed", "removed:alice", "tombstones", "age_clock", "aged", "uses", "sight:h1"}
    known |= {"elected:retention"}
    assert {key.removeprefix("fleet:") for key in keys(shared_redis) - before} <= known


def keys(server: RedisServer) -> set[str]:
    return set(server.cli("keys", "*").split())


async def test_a_key_of_a_removed_job_is_free_again(record: Record, clocks: Clocks) -> None:
    host = await member(record)
    old = await ended(host, key="k", fingerprint="f")
    await pruner(record).prune()
    clocks.pass_time(31 * DAY)
    await pruner(record).prune()
    job_id, new = await record.submit(new_job(key="k", fingerprint="f"))
    assert new
    assert job_id != old


async def test_a_removed_jobs_id_never_runs_again(record: Record, clocks: Clocks) -> None:
    old = await ended(await member(record))
    await pruner(record).prune()
    clocks.pass_time(31 * DAY)
    await pruner(record).prune()
    with pytest.raises(AgentError) as refused:
        await record.submit(new_job(id=old))
    assert refused.value.problem is Problem.JOB_ID_TAKEN


async def test_a_removal_is_a_change(record: Record, clocks: Clocks) -> None:
    old = await ended(await member(record))
    await pruner(record).prune()
    clocks.pass_time(31 * DAY)
    seen = (await record.history()).newest
    await pruner(record).prune()
    assert await record.changes(seen, owner="alice", limit=9) == [(seen + 1, old)]
    assert await record.change_of(old) == seen + 1
    assert (await record.newest(ended=9))[1] == []


async def test_tombstones_are_bounded_and_what_is_forgotten_is_told(
    record: Record, shared_redis: RedisServer, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = library()
    shared_redis.cli("function", "load", "replace", code.replace("TOMBSTONES = 100000", "TOMBSTONES = 2"))
    host = await member(record)
    jobs = [await ended(host) for _ in range(4)]
    await pruner(record).prune()
    clocks.pass_time(31 * DAY)
    await pruner(record).prune()
    remembered = [job_id for _, job_id in await record.changes(0, limit=9)]
    assert len(remembered) == 2
    history = await record.history()
    assert (history.newest - history.forgotten) == 2
    gone = next(job_id for job_id in jobs if job_id not in remembered)
    assert await record.submit(new_job(id=gone)) == (gone, True)


async def test_each_owner_has_an_equal_share_of_the_bound(record: Record, clocks: Clocks) -> None:
    host = await member(record)
    many = [await ended(host, "alice") for _ in range(8)]
    few = [await ended(host, "bob") for _ in range(2)]
    await pruner(record).prune()
    clocks.pass_time(2 * 3600)
    assert await pruner(record, max_jobs=5).prune() == 5
    assert await left(record) == {*many[5:], *few}


async def test_jobs_that_never_ran_go_first(record: Record, clocks: Clocks) -> None:
    host = await member(record)
    ran = await ended(host)
    never = await submitted(record)
    await record.cancel(never)
    await pruner(record).prune()
    clocks.pass_time(2 * 3600)
    assert await pruner(record, max_jobs=1).prune() == 1
    assert await left(record) == {ran}


async def test_bytes_are_bounded(record: Record, clocks: Clocks) -> None:
    host = await member(record)
    for _ in range(3):
        await ended(host, request="x" * 600_000)
    await pruner(record).prune()
    clocks.pass_time(2 * 3600)
    assert await pruner(record, max_record_bytes=2**20).prune() == 2
    assert len(await left(record)) == 1


async def test_what_is_too_young_stays_whatever_the_bound(record: Record, clocks: Clocks) -> None:
    host = await member(record)
    for _ in range(3):
        await ended(host)
    await pruner(record).prune()
    assert await pruner(record, max_jobs=0).prune() == 0
    assert len(await left(record)) == 3


async def test_pinned_jobs_stay_and_go_when_they_are_unpinned(record: Record, clocks: Clocks) -> None:
    host = await member(record)
    pinned, later = await ended(host), await ended(host)
    await record.pin(pinned, pinned=True, limit=9)
    await pruner(record).prune()
    await record.pin(later, pinned=True, limit=9)
    clocks.pass_time(31 * DAY)
    assert await pruner(record, max_jobs=0).prune() == 0
    assert await left(record) == {pinned, later}
    await record.pin(pinned, pinned=False, limit=9)
    await pruner(record).prune()
    clocks.pass_time(31 * DAY)
    assert await pruner(record).prune() == 1
    assert await left(record) == {later}
    assert await record.remove_ended([later]) == []


async def test_a_user_cannot_fill_the_record_with_jobs_that_are_too_young_to_go(record: Record) -> None:
    host = await member(record)
    await ended(host, request="x" * 10_000)
    with pytest.raises(AgentError, match="bytes, of which you may have 10000") as refused:
        await record.submit(new_job(max_record_bytes=10_000))
    assert refused.value.problem is Problem.TOO_MANY_JOBS
    await submitted(record, "bob", max_record_bytes=10_000)


# Clocks


async def test_a_clock_that_is_set_forward_removes_nothing(record: Record, clocks: Clocks) -> None:
    host = await member(record)
    await ended(host)
    await pruner(record).prune()
    clocks.moment = replace(clocks.moment, wall=clocks.moment.wall + 400 * DAY)
    assert await pruner(record).prune() == 0


async def test_another_fronts_uptime_is_no_age(record: Record, clocks: Clocks) -> None:
    host = await member(record)
    await ended(host)
    await pruner(record).prune()
    clocks.moment = Moment(wall=START.wall + 60, boot=400 * DAY, boot_id="b", synchronised=True)
    assert await pruner(record).prune() == 0
    clocks.pass_time(31 * DAY)
    assert await pruner(record).prune() == 1


async def test_time_without_any_front_counts_where_clocks_are_synchronised(
    record: Record, clocks: Clocks
) -> None:
    host = await member(record)
    await ended(host)
    await pruner(record).prune()
    clocks.moment = replace(clocks.moment, synchronised=False)
    clocks.pass_time(DAY)
    young = await ended(host)
    await pruner(record).prune()
    clocks.moment = Moment(wall=START.wall + 40 * DAY, boot=5.0, boot_id="b", synchronised=True)
    assert await pruner(record).prune() == 1
    assert await left(record) == {young}, "it ended after the last moment that a time server confirmed"


async def test_one_front_at_a_time_prunes(record: Record, clocks: Clocks) -> None:
    await ended(await member(record))
    await pruner(record).prune()
    clocks.pass_time(31 * DAY)
    other = RecordRetention("f2", record, RetentionSettings(record_days=30.0, files_days=1.0))
    assert await other.prune() == 0
    assert await record.elect("f2", 10), "the tickets are another task"
    assert await pruner(record).prune() == 1


async def test_a_full_record_still_forgets(record: Record, shared_redis: RedisServer, clocks: Clocks) -> None:
    host = await member(record)
    await ended(host)
    await pruner(record).prune()
    clocks.pass_time(31 * DAY)
    shared_redis.cli("config", "set", "maxmemory", "1mb")
    try:
        assert await pruner(record).prune() == 1
    finally:
        shared_redis.cli("config", "set", "maxmemory", "0")


async def test_what_waits_or_runs_is_never_removed(record: Record) -> None:
    host = await member(record)
    running, waiting = await submitted(record), await submitted(record)
    await host.claimed()
    assert await record.remove_ended([running, waiting, new_job_id()]) == []
    assert await left(record) == {running, waiting}
