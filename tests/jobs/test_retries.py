"""Jobs that are tried again, and jobs that are not."""

import asyncio
from typing import Any, get_args

import pytest

from agent.host.systemd import UnitState
from agent.model.base import now
from agent.model.job import JobState, Reason, RetryReason
from agent.model.paths import CLAIMED, STARTED, STOPPING
from agent.runtime.outcome import ExitRecord
from tests.support.job_scene import INVOCATION, Scene, driving, end_of, fail, starts_again
from tests.support.small_site import make_settings
from tests.support.waiting import until


async def test_a_job_is_tried_again_for_a_reason_that_was_given_and_ends_once(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        fail(soon, job)
        jobs.reconciler.look_at(job.unit)
        second = await starts_again(soon, jobs, job)
        assert (second.status, second.attempt, second.not_before) == (JobState.CREATED, 2, None)
        assert (second.reason, second.exit_status, second.invocation_id) == (None, None, None)
        fail(soon, second, "success exited 0", "f" * 32)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt, ended.exit_status) == (JobState.COMPLETED, None, 2, 0)
    assert [(each.number, each.reason, each.exit_status, each.invocation_id) for each in ended.attempts] == [
        (1, Reason.EXIT_CODE, 3, INVOCATION),
        (2, None, 0, "f" * 32),
    ]
    assert [plan.attempt.directory.name for plan in soon.compiler.plans] == ["1", "2"]
    assert soon.units.forgotten == [job.unit]


async def test_the_last_attempts_end_is_the_jobs(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=3, retry_on=[Reason.EXIT_CODE])
        for number in (1, 2, 3):
            fail(soon, await starts_again(soon, jobs, job, number))
            jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.FAILED, Reason.EXIT_CODE, 3)
    assert [each.number for each in ended.attempts] == [1, 2, 3]


@pytest.mark.parametrize(
    ("fields", "words", "reason"),
    [
        ({}, "exit-code exited 3", Reason.EXIT_CODE),
        ({"max_attempts": 3}, "exit-code exited 3", Reason.EXIT_CODE),
        ({"max_attempts": 3, "retry_on": ["exit-code"]}, "timeout exited 143", Reason.TIMEOUT),
        ({"max_attempts": 3}, "success exited 0", None),
    ],
)
async def test_a_job_that_did_not_ask_for_it_is_not_tried_again(
    soon: Scene, fields: dict[str, Any], words: str, reason: Reason | None
) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, **fields)
        fail(soon, job, words)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.reason, ended.attempt, len(ended.attempts)) == (reason, 1, 1)


async def test_what_somebody_stopped_is_not_tried_again(soon: Scene) -> None:
    everything = list(get_args(RetryReason))
    async with driving(soon.jobs()) as jobs:
        for cancel, reason in ((True, Reason.CANCELLED), (False, Reason.STOPPED)):
            job = await soon.begun(jobs, max_attempts=3, retry_on=everything)
            soon.mark(job, STOPPING, "success")
            fail(soon, job, "success exited 143")
            if cancel:
                await jobs.registry.cancel(job.job_id)
            jobs.reconciler.look_at(job.unit)
            ended = await end_of(jobs, job)
            assert (ended.status, ended.reason, ended.attempt) == (JobState.CANCELLED, reason, 1)


async def test_a_job_that_waits_to_be_tried_again_says_so_gives_its_room_back_and_can_be_cancelled(
    scene: Scene,
) -> None:
    scene.settings = make_settings(
        scene.settings.state_directory.parent / "small",
        runtime=scene.settings.runtime_directory,
        repository=scene.settings.scripts.repository,
        max_running=1,
    )
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        fail(scene, job)
        jobs.reconciler.look_at(job.unit)
        waiting = await jobs.registry.changed(await jobs.registry.get(job.job_id))
        assert (waiting.status, waiting.attempt) == (JobState.PENDING, 2)
        assert waiting.queue is not None
        assert waiting.queue.waits_for.startswith("its next attempt, at the earliest at 2")
        other = await scene.begun(jobs)
        assert (await jobs.results.manifest(waiting)).artifacts == []
        cancelled = await jobs.registry.cancel(job.job_id)
        assert (cancelled.status, cancelled.reason) == (JobState.CANCELLED, Reason.CANCELLED)
        assert (cancelled.attempt, len(cancelled.attempts), cancelled.not_before) == (2, 1, None)
        assert scene.units.started == [job.unit, other.unit]


async def test_a_back_off_outlives_the_agent(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        fail(scene, job)
        jobs.reconciler.look_at(job.unit)
        waiting = await jobs.registry.changed(await jobs.registry.get(job.job_id))
    async with driving(scene.jobs()) as jobs:
        await asyncio.sleep(0.05)
        assert await jobs.registry.get(job.job_id) == waiting
        assert waiting.not_before is not None
        assert scene.units.started == [job.unit]


async def test_what_is_left_of_the_attempt_before_is_not_taken_for_the_next(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        soon.units.states[job.unit] = UnitState("deactivating", invocation_id=INVOCATION)
        fail(soon, job)
        jobs.reconciler.look_at(job.unit)

        async def admitted() -> bool:
            known = await jobs.registry.get(job.job_id)
            return (known.status, known.attempt) == (JobState.CREATED, 2)

        await until(admitted)
        await asyncio.sleep(0.05)
        assert soon.units.started == [job.unit]
        assert (await jobs.registry.get(job.job_id)).invocation_id is None
        soon.units.states[job.unit] = UnitState("failed", invocation_id=INVOCATION)
        jobs.reconciler.look_at(job.unit)
        await starts_again(soon, jobs, job)


async def test_a_job_that_the_host_took_down_is_tried_again_after_the_boot(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2)
        soon.mark(job, CLAIMED)
        soon.mark(job, STARTED)
    soon.units.identity = "boot:2"
    async with driving(soon.jobs()) as jobs:
        second = await starts_again(soon, jobs, job)
    assert [each.reason for each in second.attempts] == [Reason.INTERRUPTED]
    assert await soon.store.jobs.manager_of(job.job_id) == "boot:2"


async def test_a_host_that_goes_down_takes_one_attempt_and_not_the_next_as_well(
    soon: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.jobs.reconciler.LOOK_DELAY", 0.01)
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=2)
        soon.units.stopping = True
        soon.mark(job, STOPPING, "success")
        fail(soon, job, "success exited 143")
        jobs.reconciler.look_at(job.unit)

        async def waits() -> bool:
            return (await jobs.registry.get(job.job_id)).attempt == 2

        await until(waits)
        await asyncio.sleep(0.1)
        assert (await jobs.registry.get(job.job_id)).status is JobState.PENDING
    soon.units.stopping, soon.units.identity = False, "boot:2"
    async with driving(soon.jobs()) as jobs:
        assert (await starts_again(soon, jobs, job)).attempt == 2


async def test_without_a_record_a_job_that_was_stopped_is_not_tried_again(soon: Scene) -> None:
    soon.journalled = ExitRecord("success", "-", "-", INVOCATION, now())
    async with driving(soon.jobs()) as jobs:
        job = await soon.begun(jobs, max_attempts=3)
        for mark, text in ((CLAIMED, ""), (STARTED, ""), (STOPPING, "success")):
            soon.mark(job, mark, text)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.CANCELLED, Reason.STOPPED, 1)
