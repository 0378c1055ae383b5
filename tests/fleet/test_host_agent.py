"""What a member asks of its host's agent, over TLS, from the agent itself."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.fleet.entries import Claim
from agent.fleet.host_agent import HostAgent
from agent.model.base import new_job_id
from agent.model.certificate import Role
from tests.support.served import Served


@pytest.fixture
async def served(serve: Callable[..., Any]) -> Served:
    started: Served = await serve(host="h1")
    return started


@pytest.fixture
async def agent(served: Served) -> AsyncIterator[HostAgent]:
    member = await served.known("member-1", Role.MEMBER)
    async with HostAgent.connected(served.base, member.tls) as agent:
        yield agent


def claim(owner: str = "alice", role: str = "analyst", **request: Any) -> Claim:
    asked = {"role": role, "source": "192.0.2.7", "request": {"script_name": "succeed.py", **request}}
    return Claim(new_job_id(), "1", 1, owner, json.dumps(asked))


def soon() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) + 60


async def test_a_claimed_job_becomes_the_agents_under_its_id(served: Served, agent: HostAgent) -> None:
    claimed = claim(hyperparameters={"depth": "3"}, priority=-1)
    job = await agent.take(claimed, soon())
    assert (job.job_id, job.owner, job.host) == (claimed.job_id, "alice", "h1")
    assert (job.hyperparameters, job.priority) == ({"depth": "3"}, -1)
    assert await agent.take(claimed, soon()) == job
    assert await agent.job(job.job_id) == job
    (row,) = await served.audited("alice")
    assert (row["action"], row["source"], row["via"]) == ("submitJob", "192.0.2.7", "member-1")


async def test_a_host_has_the_attempts_that_lost_hosts_have_left(agent: HostAgent) -> None:
    claimed = replace(claim(max_attempts=3), attempt=2)
    assert (await agent.take(claimed, soon())).max_attempts == 2


async def test_the_owners_role_is_passed_on(agent: HostAgent) -> None:
    with pytest.raises(AgentError) as refused:
        await agent.take(claim(priority=1), soon())
    assert refused.value.problem is Problem.FORBIDDEN
    await agent.take(claim("root", "administrator", priority=1), soon())


@pytest.mark.parametrize(
    ("late", "request_", "problem"),
    [
        (70.0, {}, Problem.DEADLINE_PASSED),
        (0.0, {"script_name": "nope.py"}, Problem.SCRIPT_NOT_FOUND),
        (0.0, {"limits": {"cpus": 64}}, Problem.INVALID_REQUEST),
        (0.0, {"of_a_later_version": 1}, Problem.INVALID_REQUEST),
    ],
)
async def test_the_agents_own_problem_is_told(
    agent: HostAgent, late: float, request_: dict[str, Any], problem: Problem
) -> None:
    with pytest.raises(AgentError) as refused:
        await agent.take(claim(**request_), soon() - late)
    assert refused.value.problem is problem
    assert refused.value.message


async def test_a_job_that_is_not_there_is_none(served: Served, agent: HostAgent) -> None:
    assert await agent.job(new_job_id()) is None
    alice = await served.known("alice")
    own = await alice.submit()
    assert await agent.job(own["job_id"]) is None
    assert await agent.jobs() == []


async def test_the_fleets_jobs_are_those_that_have_not_ended(agent: HostAgent) -> None:
    jobs = [await agent.take(claim(), soon()) for _ in range(3)]
    await agent.cancel(jobs[0])
    assert {job.job_id for job in await agent.jobs()} == {job.job_id for job in jobs[1:]}


async def test_a_job_whose_end_was_told_is_left_to_retention(served: Served, agent: HostAgent) -> None:
    job = await agent.take(claim(), soon())
    await served.finish({"job_id": job.job_id})
    await served.scene.store.jobs.mark_archived(job.job_id)
    await agent.tell(job.job_id)
    assert await served.scene.store.retention.remove_jobs([job.job_id]) == [job.job_id]


async def test_each_change_is_told(served: Served, agent: HostAgent) -> None:
    first = await agent.take(claim(), soon())
    async with contextlib.aclosing(agent.changes()) as changes, asyncio.timeout(20):
        assert (await anext(changes)).job_id == first.job_id
        second = await agent.take(claim(), soon())
        assert (await anext(changes)).job_id == second.job_id
        await agent.cancel(first)
        ended = await anext(changes)
        assert (ended.job_id, ended.status) == (first.job_id, "CANCELLED")


async def test_the_room_is_told(served: Served, agent: HostAgent) -> None:
    room = await agent.room()
    assert (room.host, room.draining, room.networks) == ("h1", False, ["none"])
    assert room.capacity.jobs == served.scene.settings.jobs.max_running


async def test_an_agent_that_is_away_is_a_problem_of_the_host(served: Served, agent: HostAgent) -> None:
    member = await served.known("member-2", Role.MEMBER)
    async with HostAgent.connected("https://localhost:1", member.tls) as away:
        for work in (away.room(), away.jobs(), away.take(claim(), soon())):
            with pytest.raises(AgentError) as refused:
                await work
            assert refused.value.problem is Problem.HOST


async def test_a_revoked_member_is_told_so(served: Served, agent: HostAgent) -> None:
    await served.scene.store.database.run(
        lambda db: db.execute("UPDATE certificates SET revoked_at = '2020-01-01T00:00:00.000Z'") and None
    )
    with pytest.raises(AgentError) as refused:
        await agent.room()
    assert refused.value.problem is Problem.CERTIFICATE_REFUSED
