"""Pages of the fleet's jobs, the feed of changes, pins, and what hosts say of themselves."""

from dataclasses import replace

import pytest

from agent.errors import AgentError, Problem
from agent.fleet.entries import Ending, HostReport, Joined
from agent.fleet.record import MAX_REPORT, Record
from agent.scheduling.policy import Room
from tests.support.fleet_record import HOST, connected, member, submitted
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.host


# Pages


async def test_pages_are_newest_first_and_end(record: Record) -> None:
    jobs = [await submitted(record) for _ in range(5)]
    first, cursor = await record.page(limit=2)
    second, cursor = await record.page(cursor=cursor, limit=2)
    third, last = await record.page(cursor=cursor, limit=2)
    assert first + second + third == jobs[::-1]
    assert last is None
    assert await record.page(limit=5) == (jobs[::-1], None)
    assert await record.page("bob", limit=5) == ([], None)


async def test_a_page_has_one_owners_jobs_of_a_state_and_a_script(record: Record) -> None:
    await submitted(record, "bob", script="a.py")
    claimed = await submitted(record, script="a.py", priority=5)
    await submitted(record, script="b.py")
    waiting = await submitted(record, script="a.py")
    host = await member(record)
    claim = await host.claimed()
    assert claim.job_id == claimed
    await host.end(claim)
    assert await record.page("alice", "PENDING", "a.py") == ([waiting], None)
    assert await record.page("alice", "COMPLETED") == ([claimed], None)
    assert await record.page("alice", "RUNNING") == ([], None)
    assert len((await record.page("alice"))[0]) == 3
    assert len((await record.page(script="a.py"))[0]) == 3


async def test_what_a_page_leaves_out_does_not_end_it(
    shared_redis: RedisServer, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call looks at 500 jobs at most, and a page at a bounded number of calls."""
    old = await submitted(record, script="old.py")
    shared_redis.cli(
        "eval",
        "for i = 1, 1200 do redis.call('ZADD', KEYS[1], i + 10, 'x' .. i)"
        " redis.call('HSET', 'fleet:job:x' .. i, 'script', 'new.py') end",
        "1",
        "fleet:jobs",
    )
    assert await record.page(script="old.py", limit=1) == ([old], None)
    monkeypatch.setattr("agent.fleet.lists.LOOKS", 2)
    found, cursor = await record.page(script="old.py", limit=1)
    assert found == []
    assert cursor is not None
    assert await record.page(script="old.py", limit=1, cursor=cursor) == ([old], None)


# Changes


async def test_the_newest_are_what_has_not_ended_and_some_that_have(record: Record) -> None:
    host = await member(record)
    jobs = [await submitted(record) for _ in range(4)]
    claims = [await host.claimed() for _ in range(3)]
    await host.end(claims[1])
    await host.end(claims[0])
    await submitted(record, "bob")
    history, found = await record.newest("alice", ended=1)
    assert found == [jobs[3], jobs[2], jobs[0]]
    assert (await record.newest("alice", ended=0))[1] == [jobs[3], jobs[2]]
    assert len((await record.newest(ended=9))[1]) == 5
    assert (history.forgotten, history.epoch) == (0, (await record.history()).epoch)
    assert history.newest == await record.change_of((await record.page("bob"))[0][0])


async def test_the_feed_goes_over_active_and_ended_jobs_in_order(record: Record) -> None:
    host = await member(record)
    first, second, third = [await submitted(record) for _ in range(3)]
    await host.end(await host.claimed())
    feed = await record.changes(0, limit=10)
    assert [job_id for _, job_id in feed] == [second, third, first]
    assert [number for number, _ in feed] == sorted(number for number, _ in feed)
    assert await record.changes(feed[0][0], owner="alice", limit=1) == feed[1:2]
    assert await record.missed(feed[0][0], limit=10) == 2
    assert await record.missed(0, limit=2) == 2
    assert await record.missed(0, owner="bob", limit=2) == 0
    assert await record.change_of("aaaaaaaaaaaa") is None


async def test_a_record_keeps_its_name(record: Record) -> None:
    history = await record.history()
    await record.load()
    assert history.epoch != ""
    assert (await record.history()).epoch == history.epoch


# Pins


async def test_pins_are_counted_by_owner(record: Record) -> None:
    first, second = await submitted(record), await submitted(record)
    other = await submitted(record, "bob")
    assert await record.pin(first, pinned=True, limit=1)
    assert await record.pin(first, pinned=True, limit=1), "it is pinned already"
    with pytest.raises(AgentError, match="has 1 pinned jobs; the limit is 1") as refused:
        await record.pin(second, pinned=True, limit=1)
    assert refused.value.problem is Problem.TOO_MANY_PINNED
    assert await record.pin(other, pinned=True, limit=1)
    assert await record.pin(first, pinned=False, limit=1)
    assert await record.pin(second, pinned=True, limit=1)
    assert not await record.pin("aaaaaaaaaaaa", pinned=True, limit=1)
    pinned = {job_id for job_id, job in (await record.jobs([first, second])).items() if "pinned" in job}
    assert pinned == {second}


async def test_a_pin_is_a_change(record: Record) -> None:
    job_id = await submitted(record)
    before = await record.change_of(job_id)
    await record.pin(job_id, pinned=True, limit=1)
    assert before is not None
    assert await record.change_of(job_id) == before + 1


# Hosts


async def test_a_host_says_what_it_has(record: Record) -> None:
    report = HostReport(
        capacity=HOST,
        url="https://h1.example.com:8443",
        image="localhost/ml-runner",
        image_digest="sha256:1",
        networks=("none", "warehouse"),
        versions={"agent": "0.1.0"},
        secrets_key="age1",
        others=Room(1, 500, 0),
    )
    await record.join("h1", report)
    (row,) = await record.hosts()
    assert (row.report, row.capacity, row.draining) == (report, HOST, False)
    later = replace(report, draining=True, capacity=Room(4, 4000, 2**30))
    await record.join("h1", later)
    (row,) = await record.hosts()
    assert (row.report, row.draining) == (later, True)


async def test_a_host_does_not_fill_the_record_with_what_it_says(record: Record) -> None:
    with pytest.raises(AgentError, match="more of itself") as refused:
        await record.join("h1", HostReport(capacity=HOST, image="x" * MAX_REPORT))
    assert refused.value.problem is Problem.INVALID_REQUEST
    assert await record.hosts() == []


async def test_a_host_is_told_which_of_its_jobs_must_end(record: Record) -> None:
    """Also when the front that was asked for the end dies before it tells the host's agent."""
    host, job_id = await member(record), await submitted(record)
    claim = await host.claimed()
    await record.acknowledge(job_id, "h1", claim.fence)
    assert await record.cancel(job_id) == (Ending.ON_HOST, "h1")
    report = HostReport(capacity=HOST)
    assert await record.join("h1", report) == Joined(known=True, epoch="1", stop=(job_id,))
    await host.end(claim, "CANCELLED", "cancelled")
    assert await record.join("h1", report) == Joined(known=True, epoch="1")


# Limits


async def test_no_more_of_a_users_jobs_run_than_the_site_says(shared_redis: RedisServer) -> None:
    shared_redis.cli("flushall")
    async with connected(shared_redis, max_running=2) as record:
        await record.load()
        for _ in range(4):
            await submitted(record)
        theirs = await submitted(record, "bob", priority=-5)
        one, other = await member(record, "h1"), await member(record, "h2")
        first, _ = await one.claimed(), await other.claimed()
        assert (await other.claimed()).job_id == theirs
        assert await one.claim() == "none-fits"
        await one.end(first)
        assert (await other.claimed()).owner == "alice"
        assert await other.claim() == "none-fits"


async def test_a_job_with_room_reserved_counts_as_running(shared_redis: RedisServer) -> None:
    """Otherwise its owner's small jobs would go on elsewhere, and it would be one too many."""
    shared_redis.cli("flushall")
    async with connected(shared_redis, max_running=2) as record:
        await record.load()
        one, other = await member(record, "h1"), await member(record, "h2", Room(8, 4000, 2**33))
        await submitted(record, run_time=600.0)
        running = await one.claimed()
        large = await submitted(record, millicpus=8000)
        assert await one.claim() == "none-fits"
        await submitted(record, run_time=900.0)
        assert await other.claim() == "none-fits"
        await one.end(running)
        assert (await one.claimed()).job_id == large


async def test_many_jobs_that_no_host_can_run_hold_up_nobody(
    record: Record, shared_redis: RedisServer
) -> None:
    """A claim looks at 500 jobs at most; the next one goes on behind those that the host can never run."""
    for _ in range(600):
        await submitted(record, "alice", priority=5, digest="sha256:gone")
    behind = await submitted(record, "bob")
    host = await member(record)
    assert await host.claim() == "none-fits"
    assert (await host.claimed()).job_id == behind
    assert await host.claim() == "none-fits", "what is skipped still waits"
    assert 0 < int(shared_redis.cli("ttl", "fleet:skip:h1")) <= 300, "nor is anything skipped for ever"
    # With another image, the host sees them again.
    assert (await host.claimed(digests=("sha256:gone",))).owner == "alice"


async def test_what_waits_again_is_seen_again(record: Record) -> None:
    one, other = await member(record, "h1"), await member(record, "h2")
    job_id = await submitted(record, digest="sha256:1")
    await submitted(record, digest="sha256:2")
    claim = await other.claimed(digests=("sha256:1",))
    assert await one.claim() == "none-fits"
    await record.release(claim.job_id, "h2", claim.fence, elsewhere=True)
    assert await other.claim(digests=("sha256:1",)) == "none-fits"
    assert (await one.claimed(digests=("sha256:1",))).job_id == job_id
