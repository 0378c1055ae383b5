"""The record in a real Redis: what it accepts, whose turn it is, and who may say what about a claim."""

import asyncio
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.fleet.entries import Claim, Ending, HostReport, Joined, NoClaim, Revision, Step
from agent.fleet.record import Record
from agent.scheduling.policy import Room
from tests.support.fleet_record import GIB, HOST, connected, member, new_job, submitted
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.host


async def state(record: Record, job_id: str) -> tuple[str, str, str]:
    """State, status and reason of a job."""
    job = await record.job(job_id)
    assert job is not None
    return job["state"], job["status"], job.get("reason", "")


def refusal(problem: Problem) -> Any:
    return pytest.raises(AgentError, check=lambda error: error.problem is problem)


# Submissions


async def test_the_same_key_and_body_give_the_job_that_is_known(record: Record) -> None:
    first = new_job(key="k", fingerprint="f")
    again = new_job(key="k", fingerprint="f")
    assert await record.submit(first) == (first.id, True)
    assert await record.submit(again) == (first.id, False)
    assert await record.job(again.id) is None
    assert await record.pending() == {"none": 1}


async def test_the_same_key_belongs_to_one_body_and_one_owner(record: Record) -> None:
    await record.submit(new_job(key="k", fingerprint="f"))
    with refusal(Problem.IDEMPOTENCY_MISMATCH):
        await record.submit(new_job(key="k", fingerprint="g"))
    await submitted(record, "bob", key="k", fingerprint="g")


async def test_two_ids_differ_in_their_first_eight_characters(record: Record) -> None:
    job_id = await submitted(record)
    with refusal(Problem.JOB_ID_TAKEN):
        await record.submit(new_job(id=job_id[:8] + "aaaa"))


async def test_an_owner_has_so_many_waiting_jobs_at_most(record: Record) -> None:
    for _ in range(2):
        await submitted(record, max_waiting=2)
    with refusal(Problem.TOO_MANY_JOBS):
        await submitted(record, max_waiting=2)
    await submitted(record, "bob", max_waiting=2)
    host = await member(record)
    await host.claimed()
    await host.claimed()
    await submitted(record, max_waiting=2)


async def test_many_submissions_with_one_key_make_one_job(record: Record) -> None:
    jobs = [new_job(key="k", fingerprint="f") for _ in range(30)]
    answers = await asyncio.gather(*(record.submit(job) for job in jobs))
    assert len({job_id for job_id, _ in answers}) == sum(new for _, new in answers) == 1


# Claims


async def test_a_host_claims_what_waits_once(record: Record) -> None:
    host, job_id = await member(record), await submitted(record, request='{"a": 1}')
    claim = await host.claimed()
    assert (claim.job_id, claim.attempt, claim.owner, claim.request) == (job_id, 1, "alice", '{"a": 1}')
    assert await state(record, job_id) == ("claimed", "PENDING", "")
    assert await host.claim() is NoClaim.EMPTY
    assert await record.pending() == {"none": 0}


async def test_hosts_that_claim_at_the_same_time_claim_different_jobs(record: Record) -> None:
    hosts = [await member(record, f"h{n}") for n in range(4)]
    jobs = {await submitted(record, f"u{n % 3}") for n in range(20)}
    claims = await asyncio.gather(*(host.claim() for host in hosts for _ in range(8)))
    claimed = [claim.job_id for claim in claims if isinstance(claim, Claim)]
    assert len(claimed) == len(set(claimed)) == 20
    assert set(claimed) == jobs


async def test_a_higher_priority_goes_first_and_then_the_older_job(record: Record) -> None:
    order = [await submitted(record, priority=priority) for priority in (0, 0, 5, -1)]
    host = await member(record)
    claimed = [(await host.claimed()).job_id for _ in order]
    assert claimed == [order[2], order[0], order[1], order[3]]


async def test_users_take_turns(record: Record) -> None:
    for owner in ("alice", "bob", "carol"):
        for _ in range(8):
            await submitted(record, owner)
    hosts = [await member(record, name) for name in ("h1", "h2")]
    owners = [(await host.claimed()).owner for host in hosts for _ in range(6)]
    assert [owners.count(owner) for owner in ("alice", "bob", "carol")] == [4, 4, 4]


async def test_a_host_claims_only_what_it_offers(record: Record) -> None:
    warehouse = await submitted(record, need="warehouse")
    image = await submitted(record, digest="sha256:1")
    host = await member(record)
    assert await host.claim() is NoClaim.NONE_FITS
    assert await host.claim(digests=("sha256:2",)) is NoClaim.NONE_FITS
    assert (await host.claimed(digests=("sha256:1", "sha256:2"))).job_id == image
    assert (await host.claimed(needs=("none", "warehouse"))).job_id == warehouse


async def test_what_a_host_cannot_run_does_not_hold_up_what_it_can(record: Record) -> None:
    for _ in range(5):
        await submitted(record, digest="sha256:1")
        await submitted(record, millicpus=9000)
    small = await submitted(record)
    host = await member(record)
    assert (await host.claimed()).job_id == small
    assert await host.claim() is NoClaim.NONE_FITS


async def test_a_host_claims_no_more_than_it_has_room_for(record: Record) -> None:
    for _ in range(9):
        await submitted(record, millicpus=3000, memory_bytes=2 * GIB)
    host = await member(record)
    first = await host.claimed()
    await host.claimed()
    assert await host.claim() is NoClaim.NONE_FITS
    await host.end(first)
    others = Room(jobs=1, millicpus=1000, memory_bytes=5 * GIB)
    assert await host.claim(others=others) is NoClaim.NONE_FITS
    await host.claimed(others=Room(jobs=1, millicpus=1000, memory_bytes=4 * GIB))
    assert await host.claim(others=Room(jobs=8, millicpus=0, memory_bytes=0)) is NoClaim.FULL


# Reservations


async def test_a_job_as_large_as_a_host_starts_when_what_runs_has_ended(record: Record) -> None:
    host = await member(record)
    for _ in range(4):
        await submitted(record, run_time=60.0)
    running = [await host.claimed() for _ in range(4)]
    large = await submitted(record, "bob", millicpus=8000)
    for _ in range(20):
        await submitted(record, "carol", run_time=600.0)
    claims = []
    for claim in running:
        claims.append(await host.claim())
        await host.end(claim)
    assert claims == [NoClaim.NONE_FITS] * 4
    assert (await host.claimed()).job_id == large


async def test_a_short_job_may_pass_a_reservation_that_it_does_not_delay(record: Record) -> None:
    host = await member(record)
    await submitted(record, run_time=600.0)
    await host.claimed()
    await submitted(record, "bob", millicpus=8000)
    await submitted(record, "carol", run_time=900.0)
    short = await submitted(record, "dave", run_time=60.0)
    assert (await host.claimed()).job_id == short
    assert await host.claim() is NoClaim.NONE_FITS


async def test_a_reservation_is_on_one_host(record: Record) -> None:
    one, other = await member(record, "h1"), await member(record, "h2")
    for host in (one, other):
        await submitted(record, run_time=600.0)
        await host.claimed()
    await submitted(record, "bob", millicpus=8000)
    long = await submitted(record, "carol", run_time=900.0)
    assert await one.claim() is NoClaim.NONE_FITS
    assert (await other.claimed()).job_id == long


async def test_a_reserved_job_goes_to_whichever_host_has_room_first(record: Record) -> None:
    one, other = await member(record, "h1"), await member(record, "h2")
    await submitted(record)
    await one.claimed()
    large = await submitted(record, "bob", millicpus=8000)
    small = await submitted(record, "carol")
    assert await one.claim() is NoClaim.NONE_FITS
    assert (await other.claimed()).job_id == large
    assert (await one.claimed()).job_id == small, "nothing is reserved any more"


# Claimed jobs


async def test_the_way_of_a_job(record: Record) -> None:
    host, job_id = await member(record), await submitted(record)
    claim = await host.claimed()
    assert await record.confirm(job_id, "h1", host.epoch, claim.fence) is Step.OK
    assert await record.acknowledge(job_id, "h1", claim.fence) is Step.OK
    assert (await record.jobs_on("h1")).keys() == {job_id}

    async def project(revision: int, status: str, *, ended: bool = False, document: str = "{}") -> Step:
        told = Revision(revision, status, "", ended, document)
        return await record.project(job_id, "h1", claim.fence, told)

    assert await project(2, "RUNNING", document='{"a": 2}') is Step.OK
    assert await project(2, "RUNNING") is Step.OLD
    job = await record.job(job_id)
    assert job is not None
    assert (job["status"], job["document"], job["host"]) == ("RUNNING", '{"a": 2}', "h1")
    assert await project(3, "COMPLETED", ended=True) is Step.OK
    assert await project(3, "COMPLETED", ended=True) is Step.OLD
    assert await project(4, "FAILED", ended=True) is Step.STALE, "an end is written once"
    assert await state(record, job_id) == ("ended", "COMPLETED", "")
    assert await record.jobs_on("h1") == {}
    (row,) = await record.hosts()
    assert (row.name, row.jobs, row.capacity) == ("h1", 0, HOST)


@pytest.mark.parametrize("fence", ["0", "999999"])
async def test_another_claims_fence_counts_for_nothing(record: Record, fence: str) -> None:
    host, job_id = await member(record), await submitted(record)
    await host.claimed()
    steps = [
        await record.confirm(job_id, "h1", host.epoch, fence),
        await record.acknowledge(job_id, "h1", fence),
        await record.release(job_id, "h1", fence, elsewhere=False),
        await record.project(job_id, "h1", fence, Revision(9, "COMPLETED", "", ended=True, document="{}")),
    ]
    assert steps == [Step.STALE] * 4
    assert await state(record, job_id) == ("claimed", "PENDING", "")


async def test_a_host_cannot_speak_for_another(record: Record) -> None:
    host, other, job_id = await member(record), await member(record, "h2"), await submitted(record)
    claim = await host.claimed()
    assert await record.confirm(job_id, "h2", other.epoch, claim.fence) is Step.STALE
    assert await record.acknowledge(job_id, "h2", claim.fence) is Step.STALE
    assert await record.release(job_id, "h2", claim.fence, elsewhere=True) is Step.STALE


async def test_a_released_job_keeps_its_turn_and_may_go_elsewhere(record: Record) -> None:
    host, other = await member(record), await member(record, "h2")
    job_id = await submitted(record)
    await submitted(record)
    claim = await host.claimed()
    assert await record.release(job_id, "h1", claim.fence, elsewhere=False) is Step.OK
    again = await host.claimed()
    assert (again.job_id, again.attempt) == (job_id, 1)
    assert again.fence != claim.fence
    assert await record.confirm(job_id, "h1", host.epoch, claim.fence) is Step.STALE
    await record.release(job_id, "h1", again.fence, elsewhere=True)
    assert (await host.claimed()).job_id != job_id
    assert (await other.claimed()).job_id == job_id


async def test_a_host_that_has_refused_a_job_is_asked_again_after_a_while(
    record: Record, shared_redis: RedisServer
) -> None:
    """It may have been upgraded, or have fetched the commit since."""
    host = await member(record)
    job_id = await submitted(record)
    claim = await host.claimed()
    await record.release(job_id, "h1", claim.fence, elsewhere=True)
    assert await host.claim() == "none-fits"
    assert (await record.places("alice", 1))[job_id][1] == "another host: h1 refused it or lost it"
    refusal = f"fleet:refused:{job_id} h1"
    assert 0 < int(shared_redis.cli("ttl", refusal)) <= 300
    shared_redis.cli("pexpire", refusal, "1")
    await asyncio.sleep(0.01)
    assert (await host.claimed()).job_id == job_id


async def test_a_job_that_its_host_has_lost_is_not_begun_there_again(record: Record) -> None:
    host, other = await member(record), await member(record, "h2")
    once = await submitted(record)
    again = await submitted(record, max_attempts=2, again=True)
    for job_id in (once, again):
        claim = await host.claimed()
        await record.acknowledge(job_id, "h1", claim.fence)
        assert await record.confirm(job_id, "h1", host.epoch, claim.fence) is Step.GIVEN
        assert await record.release(job_id, "h1", claim.fence, elsewhere=True) is Step.OK
    assert await state(record, once) == ("ended", "FAILED", "interrupted")
    elsewhere = await other.claimed()
    assert (elsewhere.job_id, elsewhere.attempt) == (again, 2)


# Cancelling


async def test_a_job_that_waits_ends_at_once(record: Record) -> None:
    host, job_id = await member(record), await submitted(record)
    assert await record.cancel(job_id) == (Ending.ENDED, "")
    assert await record.cancel(job_id) == (Ending.OVER, "")
    assert await state(record, job_id) == ("ended", "CANCELLED", "cancelled")
    assert await host.claim() is NoClaim.EMPTY
    assert await record.pending() == {"none": 0}
    assert await record.cancel("aaaaaaaaaaaa") == (Ending.ABSENT, "")


async def test_a_claimed_job_that_is_cancelled_is_not_begun(record: Record) -> None:
    host, job_id = await member(record), await submitted(record)
    claim = await host.claimed()
    assert await record.cancel(job_id) == (Ending.ON_HOST, "h1")
    assert await record.confirm(job_id, "h1", host.epoch, claim.fence) is Step.CANCELLED
    assert await state(record, job_id) == ("ended", "CANCELLED", "cancelled")
    assert await record.confirm(job_id, "h1", host.epoch, claim.fence) is Step.STALE


async def test_a_job_that_is_cancelled_between_confirmation_and_submission_is_ended_by_its_host(
    record: Record,
) -> None:
    host, job_id = await member(record), await submitted(record)
    claim = await host.claimed()
    await record.confirm(job_id, "h1", host.epoch, claim.fence)
    await record.cancel(job_id)
    assert await record.acknowledge(job_id, "h1", claim.fence) is Step.CANCELLED
    await host.end(claim, "CANCELLED", "cancelled")
    assert await state(record, job_id) == ("ended", "CANCELLED", "cancelled")


async def test_a_cancelled_job_that_its_host_refuses_does_not_wait_again(record: Record) -> None:
    host, job_id = await member(record), await submitted(record)
    claim = await host.claimed()
    await record.cancel(job_id)
    await record.release(job_id, "h1", claim.fence, elsewhere=True)
    assert await state(record, job_id) == ("ended", "CANCELLED", "cancelled")


# Hosts


async def test_a_drained_host_claims_nothing(record: Record) -> None:
    host, job_id = await member(record), await submitted(record)
    assert await record.drain("h1", draining=True)
    assert await host.claim() is NoClaim.DRAINING
    assert (await record.hosts())[0].draining
    await record.drain("h1", draining=False)
    assert (await host.claimed()).job_id == job_id
    assert not await record.drain("h2", draining=True)


async def test_a_host_that_is_to_be_drained_leaves_long_jobs_to_others(record: Record) -> None:
    host, other = await member(record, "h1"), await member(record, "h2")
    long, short = await submitted(record, longest=4000.0), await submitted(record, "bob", longest=900.0)
    assert (await host.claimed(closes_in=1000.0)).job_id == short
    assert await host.claim(closes_in=1000.0) is NoClaim.NONE_FITS
    assert (await other.claimed()).job_id == long
    again = await submitted(record, longest=4000.0)
    assert await host.claim(closes_in=3999.0) is NoClaim.NONE_FITS
    assert (await host.claimed()).job_id == again  # once nothing is planned any more


async def test_a_host_that_speaks_is_not_forgotten(record: Record) -> None:
    host = await member(record)
    await submitted(record)
    await host.claimed()
    silent = await record.forget("h1", silence=30)
    assert isinstance(silent, float)
    assert silent < 5
    assert await record.forget("h2", silence=0) is None
    assert (await record.jobs_on("h1")) != {}


async def test_a_forgotten_host_has_lost_its_jobs_and_every_say(record: Record) -> None:
    host, other = await member(record), await member(record, "h2")
    once = await submitted(record)
    again = await submitted(record, max_attempts=2, again=True)
    claims = {claim.job_id: claim for claim in [await host.claimed(), await host.claimed()]}
    await record.acknowledge(once, "h1", claims[once].fence)
    forgotten = await record.forget("h1", silence=0)
    assert isinstance(forgotten, tuple)
    assert (forgotten[0], set(forgotten[1])) == ("2", {once, again})
    assert await state(record, once) == ("ended", "FAILED", "interrupted")
    assert await state(record, again) == ("waiting", "PENDING", "")
    # The host wakes up, and goes on where it was.
    assert await host.claim() is NoClaim.FENCED
    for job_id, claim in claims.items():
        assert await record.confirm(job_id, "h1", "1", claim.fence) is Step.STALE
        assert await record.confirm(job_id, "h1", "2", claim.fence) is Step.STALE
        told = Revision(9, "COMPLETED", "", ended=True, document="{}")
        step = await record.project(job_id, "h1", claim.fence, told)
        assert step is Step.STALE
    elsewhere = await other.claimed()
    assert (elsewhere.job_id, elsewhere.attempt) == (again, 2)
    # It ends what it had, and joins as new.
    assert await record.join("h1", HostReport(capacity=HOST)) == Joined(known=False, epoch="2")
    epoch = "2"
    assert not await record.back("h1", "1")
    assert await record.back("h1", epoch)
    await host.join()
    assert host.epoch == "2"
    await submitted(record)
    await host.claimed()


async def test_a_job_never_goes_back_to_a_host_that_was_forgotten_with_it(record: Record) -> None:
    host, job_id = await member(record), await submitted(record, max_attempts=3, again=True)
    await host.claimed()
    await record.forget("h1", silence=0)
    await record.back("h1", "2")
    await host.join()
    assert await host.claim() is NoClaim.NONE_FITS
    assert (await (await member(record, "h2")).claimed()).job_id == job_id


async def test_attempts_on_hosts_that_were_lost_count(record: Record) -> None:
    """A host counts its own attempts, from 1; the fleet counts them all."""
    hosts = [await member(record, name) for name in ("h1", "h2", "h3")]
    job_id = await submitted(record, max_attempts=4, again=True)
    for host, had, attempt in zip(hosts, (2, 1, 1), (1, 3, 4), strict=True):
        claim = await host.claimed()
        assert claim.attempt == attempt
        await record.acknowledge(job_id, host.name, claim.fence)
        told = Revision(9, "RUNNING", "", ended=False, document="{}", attempt=had)
        assert await record.project(job_id, host.name, claim.fence, told) is Step.OK
        await record.forget(host.name, silence=0)
    assert await state(record, job_id) == ("ended", "FAILED", "interrupted")


async def test_a_job_that_asked_for_no_second_attempt_gets_none(record: Record) -> None:
    """A claim that was never acknowledged is no proof that the job did not begin."""
    host = await member(record)
    fields: list[dict[str, Any]] = [{"max_attempts": 2}, {"again": True}, {}]
    jobs = [await submitted(record, **each) for each in fields]
    for _ in jobs:
        await host.claimed()
    await record.forget("h1", silence=0)
    for job_id in jobs:
        assert await state(record, job_id) == ("ended", "FAILED", "interrupted")


async def test_a_cancelled_job_of_a_lost_host_was_cancelled(record: Record) -> None:
    host, job_id = await member(record), await submitted(record, max_attempts=2, again=True)
    await host.claimed()
    await record.cancel(job_id)
    await record.forget("h1", silence=0)
    assert await state(record, job_id) == ("ended", "CANCELLED", "cancelled")


async def test_the_reservation_of_a_lost_host_is_free_again(record: Record) -> None:
    one, other = await member(record, "h1"), await member(record, "h2")
    for host in (one, other):
        await submitted(record, run_time=600.0)
        await host.claimed()
    await submitted(record, "bob", millicpus=8000)
    await submitted(record, "carol", run_time=900.0)
    assert await one.claim() is NoClaim.NONE_FITS
    await record.forget("h1", silence=0)
    assert await other.claim() is NoClaim.NONE_FITS, "the large job is reserved here now"


# Changes


async def test_each_job_has_its_newest_change(record: Record) -> None:
    host = await member(record)
    first, second = await submitted(record), await submitted(record, "bob")
    seen = (await record.history()).newest
    assert [job_id for _, job_id in await record.changes(0, limit=10)] == [first, second]
    assert [job_id for _, job_id in await record.changes(0, owner="bob", limit=10)] == [second]
    claim = await host.claimed()
    assert claim.job_id == first
    assert await record.changes(seen, limit=10) == [(seen + 1, first)]
    assert [job_id for _, job_id in await record.changes(0, limit=10)] == [second, first]
    assert len(await record.changes(0, limit=1)) == 1
    await host.end(claim)
    job = await record.job(first)
    assert job is not None
    assert job["revision"] == "3"


async def test_a_change_rings_the_bell(record: Record) -> None:
    async with record.bell() as rung, asyncio.timeout(10):
        job_id = await submitted(record)
        number = await anext(rung)
        assert await record.changes(number - 1, limit=10) == [(number, job_id)]


# The server


async def test_what_was_accepted_survives_a_kill(own_redis: RedisServer) -> None:
    async with connected(own_redis) as record:
        await record.load()
        jobs = [await submitted(record) for _ in range(20)]
        host = await member(record)
        claim = await host.claimed()
        own_redis.kill()
        with refusal(Problem.HOST):
            await submitted(record)
        own_redis.start()
        assert sorted(job_id for _, job_id in await record.changes(0, limit=100)) == sorted(jobs)
        assert await record.confirm(claim.job_id, "h1", host.epoch, claim.fence) is Step.OK
        assert len({(await host.claimed()).job_id for _ in range(7)} - {claim.job_id}) == 7


async def test_a_full_record_accepts_nothing_and_still_drains(own_redis: RedisServer) -> None:
    async with connected(own_redis) as record:
        await record.load()
        host = await member(record)
        waiting = [await submitted(record) for _ in range(3)]
        claim = await host.claimed()
        before = (await record.history()).newest
        own_redis.cli("config", "set", "maxmemory", "1mb")
        with refusal(Problem.HOST):
            await submitted(record)
        assert (await record.history()).newest == before, "a refused job leaves nothing"
        await host.end(claim)
        assert (await host.claimed()).job_id == waiting[1]
        assert await record.cancel(waiting[2]) == (Ending.ENDED, "")
        assert await record.drain("h1", draining=True)
        assert isinstance(await record.forget("h1", silence=0), tuple)
        own_redis.cli("config", "set", "maxmemory", "0")
        await submitted(record)


async def test_the_functions_are_loaded_once(own_redis: RedisServer) -> None:
    async with connected(own_redis) as record:
        await record.load()
        before = written(own_redis)
        await record.load()
        assert written(own_redis) == before
        own_redis.cli(
            "function",
            "load",
            "replace",
            "#!lua name=fleet1\nredis.register_function('other', function() end)",
        )
        await record.load()
        assert written(own_redis) > before
        await submitted(record)


def written(server: RedisServer) -> int:
    """The bytes of the server's append-only file."""
    lines = server.cli("info", "persistence").splitlines()
    return next(int(line.partition(":")[2]) for line in lines if line.startswith("aof_current_size"))
