"""Members over a real Redis and a real RabbitMQ: no job is lost or begins twice, wherever a member dies."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.fleet import member as members
from agent.fleet.entries import Claim, Ending
from agent.fleet.member import Member
from agent.fleet.record import Record
from agent.fleet.tickets import BrokerServer, Publisher, Taker
from tests.support.fleet_members import CountingAgent, alive
from tests.support.fleet_record import submitted
from tests.support.rabbit_server import RabbitServer

pytestmark = pytest.mark.host

JOBS = 24
SETTLES = 45.0  # seconds


@pytest.fixture
def broker(rabbit: RabbitServer) -> BrokerServer:
    return BrokerServer(url=rabbit.url)


@pytest.fixture
async def publisher(broker: BrokerServer) -> AsyncIterator[Publisher]:
    """A publisher, and no tickets of other tests."""
    async with Publisher.connected(broker) as publisher, Taker.connected(broker) as taker:
        await publisher.declare(["none"])
        while ticket := await taker.take(["none"], 0.1):
            await ticket.acknowledge()
        yield publisher


class Site:
    """A fleet of hosts with members, and what became of the jobs."""

    def __init__(self, record: Record, broker: BrokerServer, publisher: Publisher) -> None:
        self.record = record
        self.broker = broker
        self.publisher = publisher
        self.agents = [CountingAgent(f"h{n}") for n in range(3)]
        self.jobs: list[str] = []

    async def submit(self, **fields: Any) -> str:
        job_id = await submitted(self.record, f"u{len(self.jobs) % 4}", **fields)
        self.jobs.append(job_id)
        await self.publisher.publish("none")
        return job_id

    @contextlib.asynccontextmanager
    async def running(
        self, kind: type[Member] = Member, *, deaths: int = 0, hosts: int = 3
    ) -> AsyncIterator[None]:
        """Members, each of which dies so often."""
        chance = random.Random(7)
        tasks = [
            asyncio.create_task(
                alive(kind, self.record, self.broker, agent, [chance.randint(1, 60) for _ in range(deaths)])
            )
            for agent in self.agents[:hosts]
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for agent in self.agents:
                await agent.close()
        assert all(isinstance(each, asyncio.CancelledError) for each in done), done

    async def states(self) -> Counter[str]:
        rows = [await self.record.job(job_id) for job_id in self.jobs]
        return Counter(f"{row['state']} {row['status']}" for row in rows if row)

    async def settle(self, seconds: float = SETTLES) -> Counter[str]:
        """What became of the jobs, when all have ended or so much time has passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(not state.startswith("ended") for state in await self.states()):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        return await self.states()

    def twice(self) -> list[str]:
        """The jobs of which an attempt has begun more than once."""
        begun = Counter(each for agent in self.agents for each in agent.begun)
        return [job_id for (job_id, _), count in begun.items() if count > 1]


@pytest.fixture
def site(record: Record, broker: BrokerServer, publisher: Publisher) -> Site:
    return Site(record, broker, publisher)


# The right order


async def test_members_run_what_is_submitted(site: Site) -> None:
    async with site.running():
        for _ in range(JOBS):
            await site.submit()
        assert await site.settle() == {"ended COMPLETED": JOBS}
    assert site.twice() == []
    assert sum(len(agent.begun) for agent in site.agents) == JOBS


async def test_an_agent_hears_that_the_record_has_the_end_of_each_job(site: Site) -> None:
    """Also where a member dies between the two: before that, the host's retention leaves the job alone."""
    async with site.running(deaths=10):
        for _ in range(JOBS):
            await site.submit()
        assert await site.settle() == {"ended COMPLETED": JOBS}
        async with asyncio.timeout(SETTLES):
            while not told_by(site) >= set(site.jobs[:JOBS]):
                await site.submit()  # a host that has jobs hears of the earlier ones
                await asyncio.sleep(0.2)


def told_by(site: Site) -> set[str]:
    """The jobs of whose end their agents know that the record has it."""
    return {job_id for agent in site.agents for job_id in agent.told}


async def test_no_job_is_lost_or_begins_twice_wherever_members_die(site: Site) -> None:
    async with site.running(deaths=25):
        for _ in range(JOBS):
            await site.submit()
            await asyncio.sleep(0.05)
        assert await site.settle(2 * SETTLES) == {"ended COMPLETED": JOBS}
    assert site.twice() == []


class LosesAnswers:
    """A record whose first answers to claims are lost on their way."""

    def __init__(self, record: Record, count: int) -> None:
        self._record = record
        self._left = count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)

    async def claim_next(self, offer: Any) -> Any:
        answer = await self._record.claim_next(offer)
        self._left -= 1
        if self._left >= 0:
            raise AgentError(Problem.HOST, "The answer is lost.")
        return answer


async def test_a_claim_whose_answer_is_lost_is_taken_up(site: Site) -> None:
    losing = LosesAnswers(site.record, JOBS // 2)
    running = asyncio.create_task(alive(Member, losing, site.broker, site.agents[0], ()))  # type: ignore[arg-type]
    try:
        for _ in range(JOBS):
            await site.submit()
        assert await site.settle() == {"ended COMPLETED": JOBS}
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await site.agents[0].close()
    assert site.twice() == []


async def test_jobs_that_are_being_handed_over_have_time_left_at_the_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = site.agents[0]
    take, taken = agent.take, asyncio.Event()

    async def slowly(claim: Claim, not_after: float) -> Any:
        taken.set()
        await asyncio.sleep(0.3)
        return await take(claim, not_after)

    monkeypatch.setattr(agent, "take", slowly)
    async with Taker.connected(site.broker) as taker:
        member = Member("h0", site.record, agent, taker, last_seconds=SETTLES)
        running = asyncio.create_task(member.run())
        await site.submit()
        await asyncio.wait_for(taken.wait(), SETTLES)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert len(agent.begun) == 1
    await agent.close()


async def test_a_job_that_is_cancelled_on_its_host_ends_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.fleet_members.RUN_TIME", 30.0)
    async with site.running(hosts=1):
        job_id = await site.submit()
        async with asyncio.timeout(SETTLES):
            while not site.agents[0].begun:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await site.record.cancel(job_id) == (Ending.ON_HOST, "h0")
        job = await site.agents[0].job(job_id)
        assert job is not None
        await site.agents[0].cancel(job)  # as the front does
        assert await site.settle() == {"ended CANCELLED": 1}


async def test_a_job_that_its_host_refuses_runs_on_another(site: Site) -> None:
    site.agents[0].refuses = Problem.SECRET_MISSING
    async with site.running(hosts=1):
        await site.submit()
        async with asyncio.timeout(SETTLES):
            while not site.agents[0].refused or await site.states() != {"waiting PENDING": 1}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    await site.publisher.publish("none")
    async with site.running():
        assert await site.settle() == {"ended COMPLETED": 1}
    assert site.agents[0].begun == []


async def test_a_drained_host_leaves_its_tickets_to_others(site: Site) -> None:
    site.agents[0].draining = True
    async with site.running():
        for _ in range(6):
            await site.submit()
        assert await site.settle() == {"ended COMPLETED": 6}
    assert site.agents[0].begun == []


async def test_a_host_without_the_image_leaves_its_tickets_to_others(site: Site) -> None:
    site.agents[0].image_digest = ""
    async with site.running():
        for _ in range(6):
            await site.submit()
        assert await site.settle() == {"ended COMPLETED": 6}
    assert site.agents[0].begun == []


# A member that sleeps


class Sleeper(CountingAgent):
    """An agent whose member is stopped between the confirmation and the submission."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.asleep, self.awake = asyncio.Event(), asyncio.Event()

    async def take(self, claim: Claim, not_after: float) -> Any:
        if not self.asleep.is_set():
            self.asleep.set()
            await self.awake.wait()
        return await super().take(claim, not_after)


async def slept(site: Site, lease: float, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a job began whose first host slept, was forgotten, and woke up."""
    monkeypatch.setattr(members, "LEASE", lease)
    monkeypatch.setattr(members, "BEAT", 1000.0)
    sleeper = site.agents[0] = Sleeper("h0")
    async with site.running(hosts=1):
        await site.submit(max_attempts=2, again=True)
        async with asyncio.timeout(SETTLES):
            await sleeper.asleep.wait()
        await asyncio.sleep(1.5)
        assert isinstance(await site.record.forget("h0", silence=1), tuple)
        await site.publisher.publish("none")
        other = asyncio.create_task(alive(Member, site.record, site.broker, site.agents[1], []))
        try:
            assert await site.settle() == {"ended COMPLETED": 1}
            sleeper.awake.set()
            await asyncio.sleep(2)
        finally:
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
    return sum(len(agent.begun) for agent in site.agents)


async def test_a_member_that_wakes_up_begins_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await slept(site, 1.0, monkeypatch) == 1


# Other bad days


async def test_a_host_that_is_restored_from_an_old_backup_begins_nothing_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its agent has forgotten the jobs that it had, and the record has not."""
    monkeypatch.setattr("tests.support.fleet_members.RUN_TIME", 30.0)
    agent = site.agents[0]
    async with site.running(hosts=1):
        job_id = await site.submit()
        await _until(lambda: agent.begun)
        while (await site.record.job(job_id) or {})["state"] != "given":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    restored = site.agents[0] = CountingAgent("h0")
    async with site.running(hosts=1):
        assert await site.settle() == {"ended FAILED": 1}
    assert restored.begun == []


async def test_two_members_of_one_host_begin_each_job_once(site: Site) -> None:
    async with site.running(hosts=1):
        twin = asyncio.create_task(alive(Member, site.record, site.broker, site.agents[0], [5, 20, 40]))
        try:
            for _ in range(JOBS):
                await site.submit()
            assert await site.settle() == {"ended COMPLETED": JOBS}
        finally:
            twin.cancel()
            await asyncio.gather(twin, return_exceptions=True)
    assert site.twice() == []


async def test_hosts_whose_clocks_are_an_hour_off_change_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the record and members reckon with is the clock of Redis, and the time since boot."""
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() - 3600)
    ahead = site.agents[1]
    ahead.clock = timedelta(hours=1)
    async with site.running(hosts=2):
        jobs = [await site.submit() for _ in range(8)]
        assert await site.settle() == {"ended COMPLETED": 8}
    rows = (await site.record.jobs(jobs)).values()
    assert all(abs(float(row["finished"]) - wall()) < 60 for row in rows)
    assert {agent.host for agent in site.agents if agent.begun} == {"h0", "h1"}


async def _until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(SETTLES):
        while not met():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
