"""Jobs that take too much of the disk, and jobs that wait for room on it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent.host.machine import Room
from agent.host.systemd import UnitState
from agent.model.inputs import RequestedLimits
from agent.model.job import Job, JobState, Reason
from agent.model.paths import CLAIMED, ENDED, OVER, STARTED, STOPPING
from agent.service import JobParts
from tests.support.artifacts import list_of
from tests.support.job_scene import FAILURE, INVOCATION, Scene, driving, end_of, starts_again, submit
from tests.support.waiting import run, until


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


@pytest.mark.parametrize("short", ["bytes", "inodes"])
async def test_a_job_starts_once_the_disk_has_enough_bytes_and_inodes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, short: str
) -> None:
    monkeypatch.setattr("agent.jobs.reconciler.LOOK_DELAY", 0.01)
    floor = Room(2**20, 1000)
    free = replace(floor, **{short: 999})
    monkeypatch.setattr("agent.jobs.admission.room_left", lambda _: (free, floor))
    async with driving(scene.jobs()) as jobs:
        job = await submit(jobs)
        await until(lambda: caplog.text.count("has 1.0 MiB and 1000 inodes free") > 2)
        assert (await jobs.registry.get(job.job_id)).status is JobState.PENDING
        free = floor
        await until(lambda: job.unit in scene.units.started)


def many_files(scene: Scene, job: Job, count: int) -> Path:
    """What a job leaves that makes many files: some of them below directories, closed or deep; the place."""
    artifacts = scene.attempt(job).artifacts
    for number in range(count):
        (artifacts / f"empty-{number}").touch()
    (artifacts / "kept").write_text("result")
    deep = artifacts / "a/b/c"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    os.mkfifo(deep / "pipe")
    (artifacts / "a/link").symlink_to("/")
    (artifacts / "a/b").chmod(0)
    return artifacts


@pytest.mark.parametrize("ended", ["success exited 0", "exit-code exited 3"])
async def test_what_exceeds_the_quota_is_deleted_and_the_rest_is_kept(scene: Scene, ended: str) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs, limits=RequestedLimits(artifact_files=50))
        artifacts = many_files(scene, job, 500)
        scene.ends(jobs, job, ended)
        over = await end_of(jobs, job)
        assert over.status is JobState.FAILED
        if ended == "success exited 0":
            assert (over.reason, over.message) == (
                Reason.ARTIFACT_QUOTA,
                "The job left more than 50 files in /artifacts.",
            )
        published = await list_of(jobs.results, over)
        assert 0 < len(published.artifacts) <= 50
        assert "./" in published.skipped
        left = [path for path in artifacts.rglob("*") if not path.is_dir()]
        assert sorted(str(path.relative_to(artifacts)) for path in left) == sorted(
            artifact.path for artifact in published.artifacts
        )
        for artifact in published.artifacts:
            async with jobs.results.opened(over, artifact.path) as file:
                assert file.sha256 == artifact.sha256


async def test_blocks_behind_the_end_of_a_file_count_and_are_deleted(scene: Scene) -> None:
    """fallocate(2) can keep a file's size, and take any room for it."""
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs, limits=RequestedLimits(artifact_bytes=2**20))
        artifacts = scene.attempt(job).artifacts
        hidden = artifacts / "hidden"
        hidden.touch()
        await run("fallocate", "--keep-size", "--length=8M", str(hidden))
        scene.ends(jobs, job, "success exited 0")
        over = await end_of(jobs, job)
        assert (over.reason, (await list_of(jobs.results, over)).skipped) == (
            Reason.ARTIFACT_QUOTA,
            ["hidden"],
        )
        assert not hidden.exists()


async def test_an_agent_that_is_killed_while_it_deletes_the_excess_still_tells_the_truth(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        for path in artifacts.glob("empty-*"):
            path.unlink()
        raise RuntimeError("killed")

    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs, limits=RequestedLimits(artifact_files=50))
        artifacts = many_files(scene, job, 500)
        with monkeypatch.context() as patch:
            patch.setattr("agent.jobs.artifacts.delete_others", killed)
            scene.ends(jobs, job, "success exited 0")
            await until(lambda: not list(artifacts.glob("empty-*")))
    async with driving(scene.jobs()) as later:
        over = await end_of(later, job)
        assert (over.status, over.reason) == (JobState.FAILED, Reason.ARTIFACT_QUOTA)


async def test_a_job_within_its_quota_keeps_all_that_it_left(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs, limits=RequestedLimits(artifact_files=50))
        artifacts = many_files(scene, job, 10)
        scene.ends(jobs, job, "success exited 0")
        assert (await end_of(jobs, job)).status is JobState.COMPLETED
        (artifacts / "a/b").chmod(0o700)
        assert (artifacts / "a/b/c/pipe").exists()
        assert (artifacts / "a/link").is_symlink()


@pytest.mark.parametrize(("size", "files", "kept"), [(1000, 1, True), (2**21, 1, False), (1, 150, False)])
async def test_a_job_that_waits_for_its_next_attempt_holds_no_room(
    soon: Scene, size: int, files: int, kept: bool
) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        artifacts = soon.attempt(job).artifacts
        (artifacts / "inner").mkdir()
        for number in range(files):
            (artifacts / f"inner/{number}").write_bytes(b"x" * size)
        (artifacts / "inner").chmod(0)
        soon.ends(jobs, job, FAILURE)
        second = await starts_again(soon, jobs, job)
        if not kept:
            await until(lambda: not list(artifacts.iterdir()))
        soon.ends(jobs, second, "success exited 0")
        ended = await end_of(jobs, second)
        assert (ended.status, len(ended.attempts)) == (JobState.COMPLETED, 2)
        assert (artifacts / "inner").exists() is kept
        if kept:
            (artifacts / "inner").chmod(0o700)
