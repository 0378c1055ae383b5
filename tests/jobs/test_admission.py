"""Drains as the agent keeps them: over restarts, beside another process, and until they end by themselves."""

from datetime import timedelta
from functools import partial

import pytest

from agent.audit.chain import Caller
from agent.errors import AgentError, Problem
from agent.host.tasks import background
from agent.jobs import admission as admission_module
from agent.model.base import now
from agent.model.host import Drain
from agent.model.job import Job, JobState
from agent.scheduling.queue import START_AND_STOP_SECONDS
from agent.service import JobParts
from agent.store.store import Store
from tests.support.job_host import Host
from tests.support.job_scene import Scene, driving, end_of, submit
from tests.support.waiting import until

OSCAR = Caller(actor="oscar", role="account", source="this host")
SHORT = {"run_time_seconds": 5}


async def drain(scene: Scene, **seconds: float) -> Drain:
    """What `ml-agent drain` records: the drain begins and ends in so many seconds."""
    moment = now()
    wanted = Drain(
        begins_at=moment + timedelta(seconds=seconds.get("begins", 0)),
        ends_at=moment + timedelta(seconds=seconds["ends"]) if "ends" in seconds else None,
        reason="kernel",
    )
    return await scene.store.drains.set(wanted, deed=OSCAR.did("drainHost"))


async def resume(scene: Scene) -> None:
    await scene.store.drains.end(deed=OSCAR.did("undrainHost"))


async def words(jobs: JobParts, job: Job) -> str:
    place = (await jobs.registry.get(job.job_id)).queue
    return place.waits_for if place else ""


async def test_a_drain_outlives_the_agent_and_running_jobs_go_on(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        runs = await scene.start(jobs)
        await drain(scene)
        await jobs.admission.look()
        waits = await submit(jobs)
        assert await words(jobs, waits) == (
            "this host to take up work again: its operator has drained it (kernel)"
        )
    async with driving(scene.jobs()) as jobs:  # another agent
        assert "drained" in await words(jobs, waits)
        scene.ends(jobs, runs)
        assert (await end_of(jobs, runs)).status is JobState.COMPLETED
        assert not jobs.registry.idle  # it is awake while a job waits
        await resume(scene)
        await jobs.admission.look()
        await until(lambda: waits.unit in scene.units.started)
    assert scene.units.started == [runs.unit, waits.unit]


async def test_jobs_start_again_by_themselves(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "INTERVAL", 0.05)
    planned = await drain(scene, ends=1.5)
    async with driving(scene.jobs()) as jobs:
        job = await submit(jobs)
        assert "the end of the maintenance" in await words(jobs, job)
        assert scene.units.started == []
        async with background(jobs.admission.run()):
            await until(lambda: job.unit in scene.units.started)
    assert planned.ends_at is not None
    assert now() >= planned.ends_at


async def test_only_a_job_that_ends_before_the_beginning_starts(scene: Scene) -> None:
    await drain(scene, begins=300)
    async with driving(scene.jobs()) as jobs:
        long = await submit(jobs, limits={"run_time_seconds": 60})
        short = await submit(jobs, limits=SHORT)
        await until(lambda: short.unit in scene.units.started)
        assert "it could run into that" in await words(jobs, long)
        assert long.unit not in scene.units.started


async def test_a_drain_that_the_queue_has_not_heard_of_still_counts(scene: Scene) -> None:
    """A job that has its turn in the moment of the drain goes back, and keeps its place."""
    async with driving(scene.jobs()) as jobs:
        await drain(scene)
        first, second = await submit(jobs), await submit(jobs)
        for job in (first, second):
            await until(partial(words, jobs, job))
        assert scene.units.started == []
        assert (await jobs.registry.get(first.job_id)).revision == first.revision
        await resume(scene)
        await jobs.admission.look()
        await until(lambda: len(scene.units.started) == 2)
    assert scene.units.started == [first.unit, second.unit]


async def test_a_start_that_took_long_is_taken_back(scene: Scene) -> None:
    """Podman or systemd did not answer, and meanwhile the host was drained."""
    async with driving(scene.jobs()) as jobs:
        scene.compiler.refuses = AgentError(Problem.HOST, "It does not answer.")
        job = await submit(jobs)
        await until(lambda: scene.compiler.refused)
        assert (await jobs.registry.get(job.job_id)).status is JobState.CREATED
        await drain(scene)
        scene.compiler.refuses = None
        jobs.reconciler.look_at(job.unit)
        await until(lambda: words(jobs, job))
        waiting = await jobs.registry.get(job.job_id)
        assert (waiting.status, waiting.attempt, scene.units.started) == (JobState.PENDING, 1, [])
        await resume(scene)
        await jobs.admission.look()
        await until(lambda: job.unit in scene.units.started)
        scene.ends(jobs, job)
        assert (await end_of(jobs, job)).status is JobState.COMPLETED


async def test_a_retry_and_a_job_after_another_wait_as_well(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        tried = await soon.start(jobs, max_attempts=2, retry_on=["exit-code"])
        after = await submit(jobs, after=[tried.job_id])
        await drain(soon)
        await jobs.admission.look()
        soon.ends(jobs, tried, "exit-code exited 3")
        await until(lambda: drained(jobs, tried))
        assert await words(jobs, after) == f"job {tried.job_id} to complete"
        await resume(soon)
        await jobs.admission.look()
        await until(lambda: soon.units.started.count(tried.unit) == 2)
        soon.ends(jobs, await jobs.registry.get(tried.job_id))
        await until(lambda: after.unit in soon.units.started)


async def drained(jobs: JobParts, job: Job) -> bool:
    return "drained" in await words(jobs, job)


async def test_the_drain_is_recorded_with_its_row_of_the_audit(scene: Scene) -> None:
    store, at = scene.store, now()
    first = Drain(begins_at=at, reason="disk")
    assert await store.drains.set(first, deed=OSCAR.did("drainHost")) == first
    again = Drain(begins_at=at + timedelta(hours=1))
    assert await store.drains.set(again, deed=OSCAR.did("drainHost")) == first  # which says it all
    later = Drain(begins_at=at + timedelta(hours=1), ends_at=at + timedelta(hours=2))
    assert await store.drains.set(later, deed=OSCAR.did("drainHost")) == later
    assert await store.drains.end(deed=OSCAR.did("undrainHost")) == later
    assert await store.drains.end(deed=OSCAR.did("undrainHost")) is None
    over = Drain(begins_at=at, ends_at=at)
    await store.drains.set(over, deed=OSCAR.did("drainHost"))
    assert await store.drains.end(deed=OSCAR.did("undrainHost")) is None
    actions = [row.content()["action"] for row in await store.audit.newest(limit=9)]
    assert actions == ["drainHost", "drainHost", "undrainHost", "drainHost"]


@pytest.mark.host
async def test_a_real_job_runs_after_the_maintenance_and_a_short_one_before(host: Host) -> None:
    moment, deed = now(), OSCAR.did("drainHost")
    async with (
        Store.open(host.settings.database) as other_process,
        background(host.jobs.admission.run()),
    ):
        soon = moment + timedelta(seconds=START_AND_STOP_SECONDS + 60)
        await other_process.drains.set(Drain(begins_at=soon), deed=deed)
        await until(lambda: host.jobs.status.drain)
        short = await host.submit("succeed.py", limits={"run_time_seconds": 20})
        long = await host.submit("succeed.py", limits={"run_time_seconds": 120})
        assert (await host.end_of(short)).status is JobState.COMPLETED
        assert "it could run into that" in await words(host.jobs, long)
        ends = now() + timedelta(seconds=4)
        await other_process.drains.set(Drain(begins_at=now(), ends_at=ends), deed=deed)
        done = await host.end_of(long)
    assert (done.status, done.started_at and done.started_at >= ends) == (JobState.COMPLETED, True)
