"""Changes of jobs: who makes them, who is told."""

import asyncio
from typing import Any

import pytest

from agent.host.systemd import UnitState
from agent.model.job import Job, JobState, Reason
from agent.model.paths import CLAIMED, ENDED, STARTED, STOPPING
from tests.support.job_scene import INVOCATION, Scene, driving, end_of, fail, starts_again, submit
from tests.support.waiting import until


async def test_a_cancellation_whose_client_hung_up_does_not_stop_the_jobs_record(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        scene.units.states[job.unit] = UnitState(active_state="active", invocation_id=INVOCATION)
        committing, update_job = asyncio.Event(), scene.store.jobs.update

        async def slow(changed: Job, **options: Any) -> bool:
            committing.set()
            await asyncio.sleep(0.05)
            return await update_job(changed, **options)

        monkeypatch.setattr(scene.store.jobs, "update", slow)
        call = asyncio.create_task(jobs.registry.cancel(job.job_id))
        await committing.wait()
        call.cancel()

        async def recorded() -> bool:
            return (await jobs.registry.get(job.job_id)).cancel_requested

        await until(recorded)
        scene.mark(job, CLAIMED)
        scene.mark(job, STARTED)
        scene.mark(job, STOPPING, "success")
        scene.mark(job, ENDED, f"success exited 143 {INVOCATION}")
        scene.units.states[job.unit] = UnitState()
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED)


async def test_a_waiting_job_that_is_cancelled_never_starts(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await submit(jobs)
    cancelled = await jobs.registry.cancel(job.job_id)
    assert (cancelled.status, cancelled.reason) == (JobState.CANCELLED, Reason.CANCELLED)
    assert await jobs.registry.cancel(job.job_id) == cancelled
    async with driving(scene.jobs()):
        await asyncio.sleep(0.1)
    assert scene.units.started == []


async def test_who_waits_for_a_change_is_told_of_the_end(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await submit(jobs)
    waiting = [asyncio.create_task(jobs.registry.changed(job)) for _ in range(3)]
    await asyncio.sleep(0)
    await jobs.registry.cancel(job.job_id)
    assert {(await task).status for task in waiting} == {JobState.CANCELLED}
    assert (await jobs.registry.changed(job)).status is JobState.CANCELLED
    assert jobs.registry._waiters == {}


async def test_each_attempts_use_is_charged_once(soon: Scene) -> None:
    charged: list[float] = []
    update_job = soon.store.jobs.update

    async def noted(changed: Job, **options: Any) -> bool:
        if options["use"] is not None:
            charged.append(options["use"].seconds)
        return await update_job(changed, **options)

    soon.store.jobs.update = noted  # type: ignore[method-assign]
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        for number in (1, 2):
            fail(soon, await starts_again(soon, jobs, job, number))
            jobs.reconciler.look_at(job.unit)
        await end_of(jobs, job)
    assert len(charged) == 2
    assert charged[1] == pytest.approx(2 * charged[0], rel=0.01)
