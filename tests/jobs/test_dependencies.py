"""Jobs that wait for others: accepted, started, ended, and taken up by the next agent."""

from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.jobs.requests import as_asked, fingerprint_of
from agent.model.base import now
from agent.model.job import MAX_AFTER, MAX_CHAIN, Job, JobRequest, JobState, Reason, Rerun
from agent.model.schedule import ScheduledJob
from agent.service import JobParts
from agent.store.jobs import JobStore
from tests.support.job_scene import FAILURE, Scene, driving, end_of, starts_again, submit
from tests.support.jobs import let_ages_begin, make_job, refused_fields
from tests.support.waiting import until


async def submit_after(jobs: JobParts, *others: Job, **fields: Any) -> Job:
    return await submit(jobs, after=[each.job_id for each in others], **fields)


def outcome(job: Job) -> tuple[JobState, Reason | None, str | None]:
    return job.status, job.reason, job.message


def lost(other: Job, how: str) -> tuple[JobState, Reason, str]:
    """How a job ends that waited for the other one."""
    message = f"Job {other.job_id}, which had to complete first, {how}."
    return JobState.CANCELLED, Reason.DEPENDENCY, message


async def refused(jobs: JobParts, request: JobRequest, owner: str = "alice") -> dict[str, str]:
    with pytest.raises(AgentError) as caught:
        await jobs.submission.submit(owner, request)
    assert caught.value.problem is Problem.INVALID_REQUEST
    return {each.field: each.message for each in caught.value.fields}


async def test_a_job_starts_once_the_others_have_completed(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        first, second = await scene.start(jobs), await scene.start(jobs)
        last = await submit_after(jobs, first, second)
        assert last.after == [first.job_id, second.job_id]
        assert last.queue
        assert last.queue.waits_for == f"job {first.job_id} and 1 more to complete"
        for job in (first, second):
            assert last.unit not in scene.units.started
            scene.ends(jobs, job)
            await end_of(jobs, job)
        await until(lambda: last.unit in scene.units.started)
        scene.ends(jobs, last)
        assert outcome(await end_of(jobs, last)) == (JobState.COMPLETED, None, None)


async def test_a_failure_ends_all_jobs_down_the_chain(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        first = await scene.start(jobs)
        second = await submit_after(jobs, first)
        third = await submit_after(jobs, second)
        scene.ends(jobs, first, FAILURE)
        assert outcome(await end_of(jobs, second)) == lost(first, "is FAILED")
        assert outcome(await end_of(jobs, third)) == lost(second, "is CANCELLED")
    assert scene.units.started == [first.unit]
    assert jobs.registry.idle


async def test_a_cancelled_job_ends_those_that_wait_for_it(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        first = await scene.start(jobs)
        second = await submit_after(jobs, first)
        third = await submit_after(jobs, second)
        await jobs.registry.cancel(second.job_id)
        assert outcome(await end_of(jobs, third)) == lost(second, "is CANCELLED")
        assert (await jobs.registry.get(second.job_id)).reason is Reason.CANCELLED


async def test_a_retried_job_is_waited_for_until_its_last_attempt(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        first = await soon.start(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        second = await submit_after(jobs, first, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        soon.ends(jobs, first, FAILURE)
        again = await starts_again(soon, jobs, first)
        assert (await jobs.registry.get(second.job_id)).status is JobState.PENDING
        soon.ends(jobs, again)
        await until(lambda: second.unit in soon.units.started)
        soon.ends(jobs, second, FAILURE)
        soon.ends(jobs, await starts_again(soon, jobs, second))
        assert (await end_of(jobs, second)).status is JobState.COMPLETED


async def test_a_rerun_waits_for_nobody(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        first = await scene.start(jobs)
        second = await submit_after(jobs, first)
        scene.ends(jobs, first, FAILURE)
        again = await jobs.submission.rerun("alice", await end_of(jobs, second), Rerun())
        assert again.after == []
        await until(lambda: again.unit in scene.units.started)


@pytest.mark.parametrize("status", [JobState.FAILED, JobState.COMPLETED])
async def test_the_next_agent_acts_on_an_end_that_this_one_only_recorded(
    scene: Scene, status: JobState
) -> None:
    jobs = scene.jobs()
    first = await submit(jobs)
    second = await submit_after(jobs, first)
    end = {"status": status, "finished_at": now(), "revision": 2}
    assert await scene.store.jobs.update(first.model_copy(update=end))  # and there it dies
    async with driving(scene.jobs()) as jobs:
        if status is JobState.FAILED:
            assert outcome(await end_of(jobs, second)) == lost(first, "is FAILED")
        else:
            await until(lambda: second.unit in scene.units.started)


async def test_the_next_agent_starts_a_job_once_that_has_begun(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        first = await scene.start(jobs)
        second = await submit_after(jobs, first)
        scene.ends(jobs, first)
        await until(lambda: second.unit in scene.units.started)
    async with driving(scene.jobs()) as jobs:
        scene.ends(jobs, second)
        assert (await end_of(jobs, second)).status is JobState.COMPLETED
    assert scene.units.started == [first.unit, second.unit]


async def test_a_job_whose_other_has_left_the_record_is_cancelled(scene: Scene) -> None:
    """Retention keeps it; somebody may still change the store by hand."""
    jobs = scene.jobs()
    first = await submit(jobs)
    second = await submit_after(jobs, first)
    await scene.store.database.run(lambda db: db.execute("DELETE FROM jobs WHERE id = ?", (first.job_id,)))
    async with driving(scene.jobs()) as jobs:
        assert outcome(await end_of(jobs, second)) == lost(first, "is no longer on record")


async def test_an_end_between_the_check_and_the_commit_counts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driving(scene.jobs()) as jobs:
        first = await scene.start(jobs)
        add = JobStore.add

        async def add_late(store: JobStore, job: Job, **how: Any) -> Job:
            if job.after:
                scene.ends(jobs, first, FAILURE)
                await end_of(jobs, first)
            return await add(store, job, **how)

        monkeypatch.setattr(JobStore, "add", add_late)
        second = await submit_after(jobs, first)
        assert outcome(await end_of(jobs, second)) == lost(first, "is FAILED")
    assert scene.units.started == [first.unit]


async def test_retention_leaves_a_job_alone_while_another_waits_for_it(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        first = await scene.start(jobs)
        blocker = await scene.start(jobs)
        second = await submit_after(jobs, first, blocker)
        scene.ends(jobs, first)
        await end_of(jobs, first)
        records, ids = scene.store.retention, [first.job_id]
        await scene.store.jobs.mark_archived(first.job_id)
        await let_ages_begin(scene.store)
        assert await records.removable(ids) == await records.remove_jobs(ids) == []
        await jobs.registry.cancel(second.job_id)
        assert [each.job_id for each in await records.removable(ids)] == ids


async def test_jobs_that_can_not_be_waited_for_are_refused_by_their_place(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        mine = await submit(jobs)
        theirs = await jobs.submission.submit("bob", JobRequest(script_name="succeed.py"))
        failed = await scene.start(jobs)
        scene.ends(jobs, failed, FAILURE)
        await end_of(jobs, failed)
        absent = make_job().job_id
        ids = [mine.job_id, theirs.job_id, failed.job_id, absent]
        request = JobRequest(script_name="succeed.py", after=ids)
        assert await refused(jobs, request) == {
            "after.1": f"must be a job that you may read; {theirs.job_id} is none",
            "after.2": f"must be a job that can still complete; {failed.job_id} is FAILED",
            "after.3": f"must be a job that you may read; {absent} is none",
        }
        read_all = await jobs.submission.submit(
            "carol", request.model_copy(update={"after": ids[:2]}), may_read=lambda _: True
        )
        assert read_all.after == ids[:2]


async def test_a_chain_is_bounded(scene: Scene) -> None:
    jobs = scene.jobs()
    last = await submit(jobs)
    for _ in range(MAX_CHAIN):
        last = await submit_after(jobs, last)
    request = JobRequest(script_name="succeed.py", after=[last.job_id])
    assert list(await refused(jobs, request)) == ["after"]
    one_of_the_first = (await jobs.registry.page(limit=MAX_CHAIN + 1)).jobs[-2]
    assert (await submit_after(jobs, one_of_the_first)).status is JobState.PENDING


async def test_a_repeated_key_returns_the_job_even_if_the_other_one_has_failed(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        first = await scene.start(jobs)
        request = JobRequest(script_name="succeed.py", after=[first.job_id])
        second = await jobs.submission.submit("alice", request, idempotency_key="k")
        scene.ends(jobs, first, FAILURE)
        ended = await end_of(jobs, second)
        assert await jobs.submission.submit("alice", request, idempotency_key="k") == ended


def test_a_request_that_names_no_job_has_the_fingerprint_of_earlier_versions() -> None:
    request = JobRequest(script_name="succeed.py", hyperparameters={"a": "1"})
    known = "22c7fc130147fda201512205c071f54e86bf0a9cd5edf2db72fbd91ca68ee3a2"
    assert fingerprint_of(as_asked(request)) == known
    scheduled = ScheduledJob.model_validate(request.model_dump())
    assert fingerprint_of(as_asked(scheduled)) == known
    waits = request.model_copy(update={"after": ["a" * 12]})
    assert fingerprint_of(as_asked(waits)) != known


def test_the_list_has_a_bound_and_no_job_twice() -> None:
    assert refused_fields(after=["a" * 12, "a" * 12]) == ["after"]
    assert refused_fields(after=["A" * 12]) == ["after.0"]
    many = [make_job().job_id for _ in range(MAX_AFTER + 1)]
    assert refused_fields(after=many) == ["after"]
    assert JobRequest(script_name="a", after=many[:-1]).after == many[:-1]
