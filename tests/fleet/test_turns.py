"""Whose turn it is in the fleet: on one host, what `scheduling.policy` decides."""

from collections.abc import AsyncIterator
from dataclasses import replace
from operator import attrgetter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.fleet.entries import Claim, NoClaim
from agent.fleet.record import Record
from agent.fleet.record_server import library
from agent.scheduling import policy
from agent.scheduling.policy import Room, Running, Snapshot, Waiting
from tests.support.fleet_record import GIB, HALF_LIFE, HOST, Member, connected, member, submitted
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.host

START = 1_000_000_000
OWNERS = ("alice", "bob", "carol")


class Site:
    """One host, as the record and as the policy see it, by a clock that the test sets."""

    def __init__(self, server: RedisServer, record: Record, max_running: int | None) -> None:
        self.record = record
        self._max_running = max_running
        self._server = server

    async def begin(self) -> None:
        """An empty record whose functions ask a list for the time, instead of Redis."""
        self.host = Member(self.record, "h1")
        self.running: dict[str, Running] = {}
        self.waiting: dict[str, Waiting] = {}
        self.used: dict[str, float] = {}
        self.claims: dict[str, Claim] = {}
        self.reserved: str | None = None
        self.closes_in: float | None = None  # when the host is drained
        self._accepted = 0
        self._since = 0.0
        code = library()
        asked = code.replace("redis.call('TIME')", "redis.call('LRANGE', 'test:clock', 0, 1)")
        assert asked != code
        self._server.cli("flushall")
        self._server.cli("function", "load", "replace", asked)
        self.set_clock(START)
        await self.host.join()

    def set_clock(self, now: int) -> None:
        self.now = now
        self._server.cli(
            "eval",
            "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], ARGV[1], 0)",
            "1",
            "test:clock",
            str(now),
        )

    async def submit(self, job: Waiting) -> None:
        """Submits a job at its time of acceptance."""
        now = self.now
        self._accepted += 1
        # Jobs are accepted in the order of their times.
        self._since = max(self._since, job.since)
        # No two jobs end at the same time: which of them is counted first would be chance.
        job = replace(job, since=self._since, sequence=self._accepted, run_time=job.run_time + self._accepted)
        self.set_clock(int(job.since))
        job_id = await submitted(
            self.record,
            job.owner,
            priority=job.priority,
            millicpus=job.room.millicpus,
            memory_bytes=job.room.memory_bytes,
            run_time=job.run_time,
            longest=job.longest,
        )
        self.set_clock(now)
        self.waiting[job_id] = replace(job, job_id=job_id)

    async def claim_all(self) -> list[str]:
        """What the host claims until there is nothing to claim."""
        claimed = []
        while isinstance(claim := await self.host.claim(closes_in=self.closes_in), Claim):
            job = self.waiting.pop(claim.job_id)
            claimed.append(claim.job_id)
            self.claims[claim.job_id] = claim
            self.running[claim.job_id] = Running(
                claim.job_id, job.owner, job.room, self.now, self.now + job.run_time, job.longest
            )
        assert isinstance(claim, NoClaim)
        return claimed

    async def end(self, job_id: str) -> None:
        """Ends a running job, which is charged to its owner."""
        job = self.running.pop(job_id)
        await self.host.end(self.claims.pop(job_id))
        cost = policy.cost(job.room, HOST, job.had(self.now))
        self.used[job.owner] = self.used.get(job.owner, 0.0) + cost

    def pass_time(self, seconds: int) -> None:
        self.set_clock(self.now + seconds)
        self.used = {owner: used * 2 ** (-seconds / HALF_LIFE) for owner, used in self.used.items()}

    def snapshot(self) -> Snapshot:
        return Snapshot(
            now=self.now,
            capacity=HOST,
            running=tuple(self.running.values()),
            waiting=tuple(self.waiting.values()),
            used=self.used,
            max_running_per_user=self._max_running,
            reserved=self.reserved,
            window=None if self.closes_in is None else policy.Window(self.now + self.closes_in),
        )

    def decision(self) -> policy.Decision:
        return policy.decide(self.snapshot())


@pytest.fixture
async def site(shared_redis: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """A site with a limit of running jobs a user, if the test gives one."""
    max_running = getattr(request, "param", None)
    async with connected(shared_redis, max_running=max_running) as record:
        yield Site(shared_redis, record, max_running)
    shared_redis.cli("function", "flush")


@st.composite
def jobs(draw: st.DrawFn) -> Waiting:
    """A job without an id. Its room is a half, a quarter … of the host, so that sums of shares are exact."""
    return Waiting(
        job_id="",
        owner=draw(st.sampled_from(OWNERS)),
        room=Room(
            1, draw(st.sampled_from([1000, 2000, 4000, 8000, 16000])), draw(st.sampled_from([1, 2, 4])) * GIB
        ),
        run_time=float(draw(st.sampled_from([60, 600, 3600]))),
        priority=draw(st.sampled_from([0, 0, 0, 3, -2])),
        sequence=0,
        since=float(START - draw(st.sampled_from([0, 3000, 4000, 9000]))),
        longest=float(draw(st.sampled_from([300, 900, 20_000]))),
    )


closings = st.sampled_from([None, 0.0, 400.0, 1000.0, 4000.0, 20_000.0, 30_000.0])
rounds = st.tuples(st.lists(jobs(), max_size=8), st.integers(0, 3), st.sampled_from([1, 5, 100, 4000]))


@pytest.mark.parametrize("site", [None, 2], indirect=True)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(st.lists(rounds, min_size=1, max_size=4), st.lists(closings, min_size=4, max_size=4))
async def test_one_host_claims_what_the_policy_decides(
    site: Site, history: list[tuple[list[Waiting], int, int]], drains: list[float | None]
) -> None:
    await site.begin()
    for (submitted_now, ending, seconds), site.closes_in in zip(history, drains, strict=False):
        for job in sorted(submitted_now, key=attrgetter("since")):
            await site.submit(job)
        if site.reserved is None:  # with a reservation, its job comes first in its priority
            order = [job.job_id for job in policy.in_order(site.snapshot())]
            assert list(await site.record.places(None, 1000)) == order
        decision = site.decision()
        assert tuple(await site.claim_all()) == decision.start
        site.reserved = decision.reserved
        for job_id in list(site.running)[:ending]:
            await site.end(job_id)
        site.pass_time(seconds)


async def test_a_burst_of_places_is_split_evenly(record: Record) -> None:
    """100 places that become free at once, and 20 users with 30 waiting jobs each."""
    for owner in (f"u{n:02}" for n in range(20)):
        for _ in range(30):
            await submitted(record, owner)
    hosts = [await member(record, f"h{n}", Room(10, 10_000, 16 * GIB)) for n in range(10)]
    owners = [(await host.claimed()).owner for _ in range(10) for host in hosts]
    counts = [owners.count(f"u{n:02}") for n in range(20)]
    assert (min(counts), max(counts)) == (5, 5)


async def test_a_lowered_priority_rises_with_age(site: Site) -> None:
    await site.begin()
    now = site.now
    old = Waiting("", "alice", Room(1, 1000, GIB), 60.0, -1, 0, float(now - 3700), 100.0)
    young = replace(old, owner="bob", priority=0, since=float(now))
    await site.submit(young)
    await site.submit(old)
    await site.submit(replace(old, owner="carol", since=float(now)))
    start = site.decision().start
    assert [site.waiting[job_id].owner for job_id in start] == ["bob", "alice", "carol"]
    assert tuple(await site.claim_all()) == start
