"""What a job has left, while it runs, once it has ended, and once retention has removed it."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.jobs.artifacts import manifest
from agent.jobs.results import MAX_SENDING
from agent.model.base import now
from agent.model.job import Job, JobState, Reason, Removal, RetentionRule
from agent.service import JobParts
from tests.support.artifacts import list_of
from tests.support.job_scene import FAILURE, Scene, driving, end_of, submit
from tests.support.small_site import with_jobs
from tests.support.waiting import until


async def ended_job(scene: Scene, jobs: JobParts) -> Job:
    """A job that has ended and left `result.txt`."""
    job = await scene.start(jobs)
    (scene.attempt(job).artifacts / "result.txt").write_text("done")
    scene.ends(jobs, job)
    return await end_of(jobs, job)


async def test_the_manifest_is_final_once_the_job_has_ended(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        running = await scene.start(jobs)
        (scene.attempt(running).artifacts / "early").touch()
        found = await list_of(jobs.results, await jobs.registry.get(running.job_id))
        assert ([each.path for each in found.artifacts], found.complete) == (["early"], False)
        job = await ended_job(scene, jobs)
        found = await list_of(jobs.results, job)
        assert ([each.path for each in found.artifacts], found.complete) == (["result.txt"], True)
        assert scene.attempt(job).manifest.is_file()


async def test_a_waiting_job_has_no_artifacts(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await submit(jobs)
    assert (await list_of(jobs.results, job)).artifacts == []
    assert (await jobs.results.measure(job)).files == 0


async def test_an_opened_artifact_is_closed_at_the_end_of_the_context(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await ended_job(scene, jobs)
        async with jobs.results.opened(job, "result.txt") as published:
            assert [chunk async for chunk in published.read(1, 4)] == [b"one"]
        assert published.file.closed


async def test_removed_files_are_not_an_empty_list_nor_a_missing_artifact(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await ended_job(scene, jobs)
    await scene.store.jobs.mark_archived(job.job_id)
    removal = Removal(at=now(), rule=RetentionRule.AGE)
    assert await scene.store.retention.remove_files({job.job_id: removal}) == [job.job_id]
    shutil.rmtree(scene.settings.paths_of(job.job_id).directory)
    with pytest.raises(AgentError) as caught:
        async with jobs.results.opened(job, "result.txt"):
            pass
    assert caught.value.problem is Problem.REMOVED_BY_RETENTION
    with pytest.raises(AgentError) as caught:
        await list_of(jobs.results, job)
    assert caught.value.problem is Problem.REMOVED_BY_RETENTION


async def test_what_a_job_has_taken_is_measured_against_its_limits(scene: Scene) -> None:
    limits = scene.settings.jobs.default_limits.model_copy(update={"artifact_files": 2})
    scene.settings = with_jobs(scene.settings, default_limits=limits)
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        for number in range(3):
            (scene.attempt(job).artifacts / str(number)).touch()
        taken = await jobs.results.measure(job)
    assert (taken.files, taken.excess) == (3, "The job left more than 2 files in /artifacts.")


async def test_a_successful_job_over_its_quota_fails(scene: Scene) -> None:
    limits = scene.settings.jobs.default_limits.model_copy(update={"artifact_files": 1})
    scene.settings = with_jobs(scene.settings, default_limits=limits)
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        for number in range(2):
            (scene.attempt(job).artifacts / str(number)).touch()
        scene.ends(jobs, job)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.message) == (
        JobState.FAILED,
        "The job left more than 1 files in /artifacts.",
    )


async def test_running_jobs_of_one_owner_are_hashed_one_at_a_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashing, most = 0, 0
    go_on = asyncio.Event()

    async def slow(*arguments: object, **options: object) -> object:
        nonlocal hashing, most
        hashing += 1
        most = max(most, hashing)
        await go_on.wait()
        hashing -= 1
        return await manifest(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("agent.jobs.results.manifest", slow)
    async with driving(scene.jobs()) as jobs:
        job = await jobs.registry.get((await scene.start(jobs)).job_id)
        asked = [asyncio.create_task(list_of(jobs.results, job)) for _ in range(3)]
        await until(lambda: hashing)
        go_on.set()
        await asyncio.gather(*asked)
    assert most == 1


async def test_a_fifth_unread_list_of_an_owners_running_jobs_waits_and_one_of_an_ended_job_does_not(
    scene: Scene,
) -> None:
    async with driving(scene.jobs()) as jobs:
        ended = await ended_job(scene, jobs)
        job = await jobs.registry.get((await scene.start(jobs)).job_id)
        async with contextlib.AsyncExitStack() as unread:
            for _ in range(MAX_SENDING):
                await unread.enter_async_context(jobs.results.manifest(job))
            waiting = asyncio.create_task(list_of(jobs.results, job))
            assert (await list_of(jobs.results, ended)).complete
            async with jobs.results.opened(ended, "result.txt") as published:
                assert published.sha256
            assert not waiting.done()
        assert not (await waiting).complete


async def ends_with(scene: Scene, wanted: list[str], leave: Callable[[Path], None], record: str = "") -> Job:
    """A job whose script declares that it leaves the `wanted` files, after its end."""
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        active = jobs.registry.active(job.job_id)
        assert active
        await jobs.registry.change(active, lambda latest: latest.model_copy(update={"artifacts": wanted}))
        leave(scene.attempt(job).artifacts)
        scene.ends(jobs, job, *([record] if record else []))
        return await end_of(jobs, job)


def leave_nothing(directory: Path) -> None:
    assert directory.is_dir()


def leave_a_link(directory: Path) -> None:
    (directory / "model.joblib").symlink_to("/etc/hosts")


def leave_a_directory(directory: Path) -> None:
    (directory / "model.joblib").mkdir()


def leave_too_much(directory: Path) -> None:
    (directory / "model.joblib").touch()
    os.truncate(directory / "model.joblib", 2**41)


@pytest.mark.parametrize(
    ("leave", "message"),
    [
        (leave_nothing, "The job left no file model.joblib in /artifacts."),
        (leave_a_link, "model.joblib was not published: it is a link."),
        (leave_a_directory, "The job left no file model.joblib in /artifacts."),
    ],
)
async def test_a_job_without_an_artifact_that_its_script_declares_fails_with_the_reason(
    scene: Scene, leave: Callable[[Path], None], message: str
) -> None:
    ended = await ends_with(scene, ["model.joblib"], leave)
    assert (ended.status, ended.reason, ended.message) == (
        JobState.FAILED,
        Reason.ARTIFACT_MISSING,
        message,
    )
    assert ended.exit_status == 0


async def test_a_job_that_leaves_what_its_script_declares_is_completed(scene: Scene) -> None:
    wanted = ["model.joblib", "plots/100%41 größe.png"]

    def leave(directory: Path) -> None:
        (directory / "plots").mkdir()
        for path in wanted:
            (directory / path).touch()

    ended = await ends_with(scene, wanted, leave)
    assert (ended.status, ended.reason) == (JobState.COMPLETED, None)


@pytest.mark.parametrize(
    ("leave", "record", "reason"),
    [(leave_nothing, FAILURE, Reason.EXIT_CODE), (leave_too_much, "", Reason.ARTIFACT_QUOTA)],
)
async def test_a_job_that_failed_says_why_first(
    scene: Scene, leave: Callable[[Path], None], record: str, reason: Reason
) -> None:
    assert (await ends_with(scene, ["absent"], leave, record)).reason is reason
