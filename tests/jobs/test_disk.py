"""Jobs that take too much of the disk, and jobs that wait for room on it."""

import shutil
from collections import namedtuple

import pytest

from agent.host.systemd import UnitState
from agent.model.job import Job, JobState, Reason
from agent.model.paths import CLAIMED, ENDED, OVER, STARTED, STOPPING
from agent.service import JobParts
from tests.support.job_scene import FAILURE, INVOCATION, Scene, driving, end_of, starts_again, submit
from tests.support.small_site import with_jobs
from tests.support.waiting import until

DiskUsage = namedtuple("DiskUsage", "total used free")  # as shutil.disk_usage's


async def ends_for_its_quota(scene: Scene, jobs: JobParts, job: Job) -> None:
    """The unit of a job that is ended, from SIGTERM to its record."""

    async def stopped() -> bool:
        jobs.reconciler.look_at(job.unit)
        return job.unit in scene.units.stopped

    await until(stopped)
    assert scene.podman.killed == []
    scene.mark(job, STOPPING, "success")
    scene.units.states[job.unit] = UnitState("deactivating", invocation_id=INVOCATION)

    async def killed() -> bool:
        jobs.reconciler.look_at(job.unit)
        return f"ml-job-{job.job_id}" in scene.podman.killed

    await until(killed)
    scene.mark(job, ENDED, f"exit-code exited 137 {INVOCATION}")
    scene.units.states.pop(job.unit)
    jobs.reconciler.look_at(job.unit)
    ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.message) == (
        JobState.FAILED,
        Reason.ARTIFACT_QUOTA,
        "It took too much.",
    )


async def runs(scene: Scene, jobs: JobParts) -> Job:
    job = await scene.start(jobs)
    for mark in (CLAIMED, STARTED):
        scene.mark(job, mark)
    scene.units.states[job.unit] = UnitState("active", invocation_id=INVOCATION)

    async def running() -> bool:
        jobs.reconciler.look_at(job.unit)
        return (await jobs.registry.get(job.job_id)).status is JobState.RUNNING

    await until(running)
    return job


async def test_a_job_over_its_quota_is_stopped_then_killed_and_says_why(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await runs(scene, jobs)
        jobs.reconciler.order_end(job, Reason.ARTIFACT_QUOTA, "It took too much.")
        jobs.reconciler.order_end(job, Reason.ARTIFACT_QUOTA, "It took still more.")
        await ends_for_its_quota(scene, jobs, job)


async def test_the_next_agent_continues_to_end_a_job_over_its_quota(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await runs(scene, jobs)
    jobs.reconciler.order_end(job, Reason.ARTIFACT_QUOTA, "It took too much.")
    scene.units.stopped.clear()
    async with driving(scene.jobs()) as later:
        await ends_for_its_quota(scene, later, job)


async def test_the_excess_of_an_earlier_attempt_does_not_end_the_next(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        soon.ends(jobs, job, FAILURE)
        second = await starts_again(soon, jobs, job)
        jobs.reconciler.order_end(job, Reason.ARTIFACT_QUOTA, "It took too much.")
        assert not (soon.attempt(second).mark(OVER)).exists()


async def test_a_job_starts_once_the_disk_has_enough_free_bytes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agent.jobs.reconciler.LOOK_DELAY", 0.01)
    scene.settings = with_jobs(scene.settings, min_free_bytes=1000)
    free = 999
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10**6, 0, free))
    async with driving(scene.jobs()) as jobs:
        job = await submit(jobs)
        await until(lambda: caplog.text.count("The job waits until") > 2)
        assert (await jobs.registry.get(job.job_id)).status is JobState.PENDING
        free = 1000
        await until(lambda: job.unit in scene.units.started)
