"""Jobs that are tried again, and jobs that are not."""

from typing import Any, get_args

import pytest

from agent.host.systemd import UnitState
from agent.model.base import now
from agent.model.job import JobState, Reason, RetryReason
from agent.model.paths import CLAIMED, STARTED, STOPPING
from agent.runtime.outcome import ExitRecord
from tests.support.artifacts import list_of
from tests.support.job_scene import FAILURE, INVOCATION, Scene, driving, end_of, next_revision, starts_again
from tests.support.small_site import make_settings
from tests.support.waiting import until


async def test_a_job_is_retried_for_a_requested_reason(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        soon.ends(jobs, job, FAILURE)
        second = await starts_again(soon, jobs, job)
        assert (second.status, second.attempt, second.not_before) == (JobState.CREATED, 2, None)
        assert (second.reason, second.exit_status, second.invocation_id) == (None, None, None)
        soon.ends(jobs, second, "success exited 0", "f" * 32)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt, ended.exit_status) == (JobState.COMPLETED, None, 2, 0)
    assert [(each.number, each.reason, each.exit_status, each.invocation_id) for each in ended.attempts] == [
        (1, Reason.EXIT_CODE, 3, INVOCATION),
        (2, None, 0, "f" * 32),
    ]
    assert [plan.attempt.directory.name for plan in soon.compiler.compiled] == ["1", "2"]
    assert soon.units.forgotten == [job.unit]


async def test_the_end_of_the_last_attempt_is_the_end_of_the_job(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=3, retry_on=[Reason.EXIT_CODE])
        for number in (1, 2, 3):
            soon.ends(jobs, await starts_again(soon, jobs, job, number), FAILURE)
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
async def test_a_job_is_not_retried_unless_its_request_says_so(
    soon: Scene, fields: dict[str, Any], words: str, reason: Reason | None
) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, **fields)
        soon.ends(jobs, job, words)
        ended = await end_of(jobs, job)
    assert (ended.reason, ended.attempt, len(ended.attempts)) == (reason, 1, 1)


async def test_a_stopped_or_cancelled_job_is_not_retried(soon: Scene) -> None:
    everything = list(get_args(RetryReason))
    async with driving(soon.jobs()) as jobs:
        for cancel, reason in ((True, Reason.CANCELLED), (False, Reason.STOPPED)):
            job = await soon.start(jobs, max_attempts=3, retry_on=everything)
            if cancel:
                await jobs.registry.cancel(job.job_id)
            soon.ends(jobs, job, "success exited 143", stopping="success")
            ended = await end_of(jobs, job)
            assert (ended.status, ended.reason, ended.attempt) == (JobState.CANCELLED, reason, 1)


async def test_a_job_that_waits_for_its_retry_frees_its_room_and_can_be_cancelled(
    scene: Scene,
) -> None:
    scene.settings = make_settings(
        scene.settings.state_directory.parent / "small",
        runtime=scene.settings.runtime_directory,
        repository=scene.settings.scripts.repository,
        max_running=1,
    )
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        scene.ends(jobs, job, FAILURE)
        waiting = await next_revision(jobs, await jobs.registry.get(job.job_id))
        assert (waiting.status, waiting.attempt) == (JobState.PENDING, 2)
        assert waiting.queue is not None
        assert waiting.queue.waits_for.startswith("its next attempt, at the earliest at 2")
        other = await scene.start(jobs)
        assert (await list_of(jobs.results, waiting)).artifacts == []
        cancelled = await jobs.registry.cancel(job.job_id)
        assert (cancelled.status, cancelled.reason) == (JobState.CANCELLED, Reason.CANCELLED)
        assert (cancelled.attempt, len(cancelled.attempts), cancelled.not_before) == (2, 1, None)
        assert scene.units.started == [job.unit, other.unit]


async def test_the_delay_before_a_retry_survives_a_restart(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        scene.ends(jobs, job, FAILURE)
        waiting = await next_revision(jobs, await jobs.registry.get(job.job_id))
    async with driving(scene.jobs()) as jobs:
        other = await scene.start(jobs)
        assert await jobs.registry.get(job.job_id) == waiting
        assert waiting.not_before is not None
        assert scene.units.started == [job.unit, other.unit]


async def test_the_unit_of_the_previous_attempt_is_not_taken_for_the_next(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        soon.units.states[job.unit] = UnitState("deactivating", invocation_id=INVOCATION)
        soon.ends(jobs, job, FAILURE)

        async def admitted() -> bool:
            known = await jobs.registry.get(job.job_id)
            return (known.status, known.attempt) == (JobState.CREATED, 2)

        await until(admitted)
        looks = soon.units.looks
        jobs.reconciler.look_at(job.unit)
        await until(lambda: soon.units.looks > looks)
        assert soon.units.started == [job.unit]
        assert (await jobs.registry.get(job.job_id)).invocation_id is None
        soon.units.states[job.unit] = UnitState("failed", invocation_id=INVOCATION)
        jobs.reconciler.look_at(job.unit)
        await starts_again(soon, jobs, job)


async def test_an_interrupted_job_is_retried_after_the_boot(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=2)
        soon.mark(job, CLAIMED)
        soon.mark(job, STARTED)
    soon.units.identity = "boot:2"
    async with driving(soon.jobs()) as jobs:
        second = await starts_again(soon, jobs, job)
    assert [each.reason for each in second.attempts] == [Reason.INTERRUPTED]
    assert await soon.store.jobs.manager_of(job.job_id) == "boot:2"


async def test_no_attempt_starts_while_the_host_shuts_down(
    soon: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agent.jobs.reconciler.LOOK_DELAY", 0.01)
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=2)
        soon.units.stopping = True
        soon.ends(jobs, job, "success exited 143", stopping="success")
        await until(lambda: caplog.text.count("The host shuts down; the job is retried") > 2)
        waiting = await jobs.registry.get(job.job_id)
        assert (waiting.status, waiting.attempt) == (JobState.PENDING, 2)
    soon.units.stopping, soon.units.identity = False, "boot:2"
    async with driving(soon.jobs()) as jobs:
        assert (await starts_again(soon, jobs, job)).attempt == 2


async def test_a_job_stopped_without_an_exit_record_is_not_retried(soon: Scene) -> None:
    soon.journalled = ExitRecord("success", "-", "-", INVOCATION, now())
    async with driving(soon.jobs()) as jobs:
        job = await soon.start(jobs, max_attempts=3)
        for mark, text in ((CLAIMED, ""), (STARTED, ""), (STOPPING, "success")):
            soon.mark(job, mark, text)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.CANCELLED, Reason.STOPPED, 1)
