"""A fleet whose every part is killed: nothing is lost, begins twice or begins late. Wrong orders show."""

import time
from pathlib import Path
from typing import Any

import pytest

from agent.fleet import member as members
from agent.fleet.entries import Claim
from agent.fleet.member import Member
from agent.fleet.parts import Ticket
from tests.support.rabbit_server import RabbitServer
from tests.support.redis_server import RedisServer

from .harness.judge import Verdict
from .harness.site import Plan, fleet

pytestmark = pytest.mark.host


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of two seconds, so that a silent host can be forgotten soon."""
    monkeypatch.setattr(members, "LEASE", 2.0)
    monkeypatch.setattr(members, "BEAT", 0.5)


@pytest.fixture
def judged(shared_redis: RedisServer, rabbit: RabbitServer, tmp_path: Path, quick: None) -> Any:
    """Runs a plan that kills no server, with members of some kind."""

    async def run(plan: Plan, kind: type[Member] = Member) -> Verdict:
        async with fleet(plan, shared_redis, rabbit, tmp_path, kind=kind) as site:
            return await site.run()

    return run


async def test_nothing_is_lost_or_twice_or_late_whatever_is_killed(
    own_redis: RedisServer, own_rabbit: RabbitServer, tmp_path: Path, quick: None
) -> None:
    """The short form of `python -m tests.fleet.harness`."""
    plan = Plan(jobs=150, hosts=4, kills=1, between=4.0, partition=5.0, sleeper=True, twins=True, settle=40.0)
    async with fleet(plan, own_redis, own_rabbit, tmp_path) as site:
        verdict = await site.run()
    assert verdict.good, verdict
    assert sum(verdict.ended.values()) == plan.jobs
    assert site.deaths > 20


# The wrong orders, which must fail the same harness


class AcknowledgesFirst(Member):
    """Acknowledges the ticket before the claim."""

    async def _claim_with(self, ticket: Ticket) -> None:
        await ticket.acknowledge()
        claim = await self._claim()
        if isinstance(claim, Claim):
            self._start(claim)


class NeverRecovers(Member):
    """Does not take up what an earlier member has claimed."""

    async def _recover(self) -> None:
        pass


class SubmitsFirst(Member):
    """Submits the job that waits longest, and claims then."""

    async def _claim_with(self, ticket: Ticket) -> None:
        record: Any = self._fleet
        for _, job_id in await record.changes(0, limit=100):
            row = await record.job(job_id)
            if row and row["state"] == "waiting":
                claim = Claim(job_id, "", 1, row["owner"], "{}")
                await self._agent.take(claim, time.clock_gettime(time.CLOCK_BOOTTIME) + 60)
                break
        await super()._claim_with(ticket)


WITHOUT_HELP = Plan(jobs=60, hosts=3, reconciler=False, settle=5.0)


@pytest.mark.parametrize("kind", [AcknowledgesFirst, NeverRecovers])
async def test_this_order_leaves_jobs_that_never_begin(judged: Any, kind: type[Member]) -> None:
    verdict = await judged(WITHOUT_HELP, kind)
    assert verdict.lost != []
    assert verdict.twice == []


async def test_submitted_before_they_are_claimed_jobs_begin_twice(judged: Any) -> None:
    verdict = await judged(Plan(jobs=60, hosts=3, share=0.0, settle=5.0), SubmitsFirst)
    assert verdict.twice != []


async def test_without_a_deadline_a_forgotten_host_begins_jobs_late(
    judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same plan, without the wrong order, is part of the short form."""
    silence = members.LEASE + 1
    monkeypatch.setattr("tests.fleet.harness.site.Fleet.silence", silence)
    monkeypatch.setattr(members, "LEASE", 1000.0)
    verdict = await judged(Plan(jobs=30, hosts=3, share=0.0, sleeper=True, settle=15.0))
    assert verdict.late != []
