"""Changes of jobs: who makes them, who is told."""

import asyncio
from functools import partial
from typing import Any

import pytest

from agent.host.systemd import UnitState
from agent.model.job import Job, JobState, Reason
from agent.service import JobParts
from tests.support.job_scene import (
    FAILURE,
    INVOCATION,
    Scene,
    driving,
    end_of,
    next_revision,
    starts_again,
    submit,
)
from tests.support.waiting import until


async def test_a_cancellation_is_recorded_although_its_client_hangs_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.units.states[job.unit] = UnitState(active_state="active", invocation_id=INVOCATION)
        committing, cancelled, update_job = asyncio.Event(), asyncio.Event(), scene.store.jobs.update

        async def slow(changed: Job, **options: Any) -> bool:
            committing.set()
            await cancelled.wait()
            return await update_job(changed, **options)

        monkeypatch.setattr(scene.store.jobs, "update", slow)
        known = await jobs.registry.get(job.job_id)
        call = asyncio.create_task(jobs.registry.cancel(job.job_id))
        await committing.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        cancelled.set()
        assert (await next_revision(jobs, known)).cancel_requested
        scene.units.states[job.unit] = UnitState()
        scene.ends(jobs, job, "success exited 143", stopping="success")
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED)


async def test_a_cancelled_waiting_job_never_starts(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await submit(jobs)
    cancelled = await jobs.registry.cancel(job.job_id)
    assert (cancelled.status, cancelled.reason) == (JobState.CANCELLED, Reason.CANCELLED)
    assert await jobs.registry.cancel(job.job_id) == cancelled
    async with driving(scene.jobs()) as later:
        other = await scene.start(later)
    assert scene.units.started == [other.unit]


async def ended_attempts(jobs: JobParts, job: Job, number: int) -> bool:
    """Whether so many attempts have ended."""
    return len((await jobs.registry.get(job.job_id)).attempts) == number


async def test_the_use_of_each_attempt_is_charged_once(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        charged = []
        for number in (1, 2):
            soon.ends(jobs, await starts_again(soon, jobs, job, number), FAILURE)
            await until(partial(ended_attempts, jobs, job, number))
            charged += await soon.store.jobs.uses()
    assert [use.owner for use in charged] == ["alice", "alice"]
    assert charged[1].seconds == pytest.approx(2 * charged[0].seconds, rel=0.01)
