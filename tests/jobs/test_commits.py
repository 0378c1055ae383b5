"""Which commits jobs may run: when they are submitted, when they are run again, and when they start."""

from collections.abc import Callable
from typing import Any

import pytest

from agent.config import ScriptSettings
from agent.errors import AgentError, Problem
from agent.host.systemd import UnitState
from agent.host.tasks import background
from agent.jobs import guards
from agent.model.base import now
from agent.model.job import Job, JobState, Reason, Rerun
from agent.model.paths import CLAIMED, ENDED, STARTED, STOPPING
from agent.model.ref import MAX_WITHDRAWAL_REASON, Withdrawal
from agent.service import JobParts
from tests.support.git_repository import commit, drop_last_commit, git
from tests.support.job_scene import INVOCATION, Scene, driving, end_of, submit
from tests.support.small_site import with_jobs
from tests.support.waiting import until


def with_scripts(scene: Scene, **changes: Any) -> None:
    """The same site with other settings of `[scripts]`."""
    scripts = ScriptSettings.model_validate(scene.settings.scripts.model_dump() | changes)
    scene.settings = scene.settings.model_copy(update={"scripts": scripts})


def on_a_branch(scene: Scene, name: str) -> str:
    """A commit on a branch of its own, with the branch before checked out again."""
    repository = scene.settings.scripts.repository
    git(repository, "checkout", "-q", "-b", name)
    made = commit(repository)
    git(repository, "checkout", "-q", "-")
    return made


async def withdraw(
    scene: Scene, job_commit: str, *, stop_running: bool = False, reason: str = "It leaks."
) -> None:
    await scene.store.withdrawals.withdraw(
        Withdrawal(commit=job_commit, reason=reason, by="ml", at=now(), stop_running=stop_running)
    )


async def refusal(jobs: JobParts, **fields: Any) -> AgentError:
    with pytest.raises(AgentError) as caught:
        await submit(jobs, **fields)
    return caught.value


def dangling(scene: Scene) -> str:
    return git(scene.settings.scripts.repository, "commit-tree", "-m", "no branch", "HEAD^{tree}")


def pull_request(scene: Scene) -> str:
    made = on_a_branch(scene, "pull")
    git(scene.settings.scripts.repository, "update-ref", "refs/pull/1/head", made)
    git(scene.settings.scripts.repository, "branch", "-q", "-D", "pull")
    return made


def unmerged(scene: Scene) -> str:
    return on_a_branch(scene, "feature/x")


@pytest.mark.parametrize("make", [dangling, pull_request, unmerged])
async def test_what_nobody_has_reviewed_is_neither_run_nor_listed(
    scene: Scene, make: Callable[[Scene], str]
) -> None:
    made, jobs = make(scene), scene.jobs()
    for ref in (made, made[:12]):
        error = await refusal(jobs, ref=ref)
        assert (error.problem, error.fields[0].field) == (Problem.COMMIT_REFUSED, "ref")
        with pytest.raises(AgentError) as caught:
            await jobs.commits.scripts(ref)
        assert caught.value.problem is Problem.COMMIT_REFUSED
    assert (await jobs.registry.page()).jobs == []
    assert scene.snapshots().commits() == []


async def test_what_has_been_reviewed_runs_by_whatever_name(scene: Scene) -> None:
    first = git(scene.settings.scripts.repository, "rev-parse", "HEAD")
    commit(scene.settings.scripts.repository)
    git(scene.settings.scripts.repository, "tag", "v1", first)
    for ref in (first, first[:10], "v1", "HEAD~1"[:4]):
        assert await submit(scene.jobs(), ref=ref)


async def test_a_rerun_asks_anew_and_names_no_ref(scene: Scene) -> None:
    job = await submit(scene.jobs())
    repository = scene.settings.scripts.repository
    commit(repository)
    assert (await scene.jobs().submission.rerun("alice", job, Rerun())).commit == job.commit
    git(repository, "update-ref", "refs/keep/it", job.commit)
    git(repository, "checkout", "-q", "--orphan", "other")
    commit(repository, "other")
    with pytest.raises(AgentError) as caught:
        await scene.jobs().submission.rerun("alice", job, Rerun())
    assert (caught.value.problem, caught.value.fields) == (Problem.COMMIT_REFUSED, ())
    assert job.commit[:12] in caught.value.message


async def test_a_job_whose_commit_is_on_no_branch_any_more_does_not_start(scene: Scene) -> None:
    scene.settings = with_jobs(scene.settings, retry_delay_seconds=0.01)
    jobs = scene.jobs()
    job = await submit(jobs, max_attempts=5)
    git(scene.settings.scripts.repository, "update-ref", "refs/keep/it", job.commit)
    git(scene.settings.scripts.repository, "checkout", "-q", "--orphan", "other")
    commit(scene.settings.scripts.repository, "other")
    async with driving(jobs):
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.FAILED, Reason.START_FAILED, 1)
    assert ended.message is not None
    assert ended.message.startswith(f"Commit {job.commit[:12]} may not run here: it is on none of: HEAD.")
    assert scene.units.started == []
    assert scene.compiler.compiled == []


async def test_a_job_waits_while_the_repository_cannot_be_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.jobs.reconciler.LOOK_DELAY", 0.01)
    jobs = scene.jobs()
    job = await submit(jobs)
    repository = scene.settings.scripts.repository
    away = repository.rename(repository.with_name("away"))
    async with driving(jobs):
        await until(lambda: jobs.registry.active(job.job_id).looked.is_set())  # type: ignore[union-attr]
        assert scene.units.started == []
        away.rename(repository)
        await until(lambda: scene.units.started == [job.unit])


# Development branches


async def test_a_commit_in_development_gets_no_shared_secret(scene: Scene) -> None:
    with_scripts(scene, development_refs=["feature/*"])
    made = unmerged(scene)
    error = await refusal(scene.jobs(), script_name="declared.py", ref=made)
    assert (error.problem, error.fields[0].field) == (Problem.SECRET_MISSING, "script_name")
    assert "no secrets that users share" in error.message
    assert "ml-job secret set warehouse" in error.hint
    assert await submit(scene.jobs(), ref=made)


async def test_a_commit_in_development_gets_its_owners_own_secret(scene: Scene) -> None:
    with_scripts(scene, development_refs=["feature/*"])
    scene.podman.own_secrets = frozenset({("warehouse", "alice")})
    made = unmerged(scene)
    jobs = scene.jobs()
    job = await submit(jobs, script_name="declared.py", ref=made)
    async with driving(jobs):
        await until(lambda: scene.units.started == [job.unit])
    (unit,) = scene.compiler.compiled
    assert [secret.podman_secret for secret in unit.secrets] == ["ml-agent.warehouse.alice"]


async def test_a_commit_that_falls_back_to_development_loses_shared_secrets_before_it_starts(
    scene: Scene,
) -> None:
    with_scripts(scene, development_refs=["feature/*"])
    made = unmerged(scene)
    git(scene.settings.scripts.repository, "merge", "-q", "--ff-only", "feature/x")
    jobs = scene.jobs()
    job = await submit(jobs, script_name="declared.py", ref=made)
    git(scene.settings.scripts.repository, "reset", "-q", "--hard", "HEAD~1")
    async with driving(jobs):
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.START_FAILED)
    assert "no secrets that users share" in str(ended.message)
    assert scene.units.started == []


# Withdrawals


async def test_a_withdrawn_commit_is_refused_with_the_reason_until_it_is_restored(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await submit(jobs)
    await withdraw(scene, job.commit)
    error = await refusal(jobs)
    assert (error.problem, error.fields[0].field) == (Problem.COMMIT_REFUSED, "ref")
    assert error.message == f"Commit {job.commit[:12]} was withdrawn: It leaks."
    with pytest.raises(AgentError, match="was withdrawn: It leaks"):
        await jobs.submission.rerun("alice", job, Rerun())
    with pytest.raises(AgentError, match="was withdrawn: It leaks"):
        await jobs.commits.scripts(None)
    await scene.store.withdrawals.restore(job.commit)
    assert await submit(jobs)
    assert await jobs.submission.rerun("alice", job, Rerun())


async def test_a_commit_on_top_of_a_withdrawn_one_runs(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await submit(jobs)
    await withdraw(scene, job.commit)
    later = commit(scene.settings.scripts.repository)
    assert (await submit(jobs)).commit == later


async def test_jobs_that_wait_for_a_withdrawn_commit_end_and_others_do_not(scene: Scene) -> None:
    scene.settings = with_jobs(scene.settings, max_running=1)
    jobs = scene.jobs()
    await jobs.reconciler.load()
    first = await submit(jobs, max_attempts=5)
    later = commit(scene.settings.scripts.repository)
    other = await submit(jobs)
    assert other.commit == later
    await jobs.withdrawal_guard.look()
    assert (await jobs.registry.get(first.job_id)).status is JobState.PENDING
    await withdraw(scene, first.commit)
    await jobs.withdrawal_guard.look()
    ended = await jobs.registry.get(first.job_id)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.START_FAILED)
    assert ended.message == f"Commit {first.commit[:12]} was withdrawn: It leaks."
    assert ended.finished_at is not None
    assert (await jobs.registry.get(other.job_id)).status is JobState.PENDING


async def test_a_withdrawal_is_noticed_without_a_question(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "WITHDRAWALS_INTERVAL", 0.01)
    scene.settings = with_jobs(scene.settings, max_running=1)
    jobs = scene.jobs()
    async with driving(jobs), background(jobs.withdrawal_guard.run()):
        running = await running_job(scene, jobs)
        waiting = await submit(jobs)
        await withdraw(scene, waiting.commit)
        assert (await end_of(jobs, waiting)).status is JobState.FAILED
        assert (await jobs.registry.get(running.job_id)).status is JobState.RUNNING


async def test_a_job_whose_commit_is_withdrawn_at_its_turn_does_not_start(scene: Scene) -> None:
    scene.settings = with_jobs(scene.settings, retry_delay_seconds=0.01)
    jobs = scene.jobs()
    job = await submit(jobs, max_attempts=5)
    await withdraw(scene, job.commit)
    async with driving(jobs):
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.FAILED, Reason.START_FAILED, 1)
    assert "was withdrawn: It leaks" in str(ended.message)
    assert scene.units.started == []


async def running_job(scene: Scene, jobs: JobParts, **fields: Any) -> Job:
    """A job that runs, as its unit and its marks say."""
    job = await submit(jobs, **fields)
    await until(lambda: job.unit in scene.units.started)
    scene.mark(job, CLAIMED)
    scene.mark(job, STARTED)
    scene.units.states[job.unit] = UnitState("active", invocation_id=INVOCATION)
    jobs.reconciler.look_at(job.unit)

    async def runs() -> bool:
        return (await jobs.registry.get(job.job_id)).status is JobState.RUNNING

    await until(runs)
    return job


async def test_a_running_job_goes_on_unless_it_is_to_stop(scene: Scene) -> None:
    jobs = scene.jobs()
    reason = "ü" * MAX_WITHDRAWAL_REASON
    async with driving(jobs):
        job = await running_job(scene, jobs, max_attempts=5)
        await withdraw(scene, job.commit, reason=reason)
        await jobs.withdrawal_guard.look()
        jobs.reconciler.look_at(job.unit)
        assert (await jobs.registry.get(job.job_id)).status is JobState.RUNNING
        assert scene.units.stopped == []
        await withdraw(scene, job.commit, stop_running=True, reason=reason)
        for _ in range(2):
            await jobs.withdrawal_guard.look()
        await until(lambda: job.unit in scene.units.stopped)
        scene.mark(job, STOPPING, "success")
        scene.mark(job, ENDED, f"signal killed KILL {INVOCATION}")
        scene.units.states.pop(job.unit)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.CANCELLED, Reason.STOPPED, 1)
    assert ended.message == f"Commit {job.commit[:12]} was withdrawn: {reason}."


async def test_a_job_that_is_stopped_before_its_container_is_up_says_why(scene: Scene) -> None:
    jobs = scene.jobs()
    async with driving(jobs):
        job = await submit(jobs)
        await until(lambda: job.unit in scene.units.started)
        scene.mark(job, CLAIMED)
        scene.units.states[job.unit] = UnitState("activating", invocation_id=INVOCATION)
        await withdraw(scene, job.commit, stop_running=True)
        await jobs.withdrawal_guard.look()
        await until(lambda: job.unit in scene.units.stopped)
        scene.mark(job, ENDED, f"signal killed TERM {INVOCATION}")
        scene.units.states.pop(job.unit)
        jobs.reconciler.look_at(job.unit)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.STOPPED)
    assert "was withdrawn" in str(ended.message)


async def test_an_agent_with_nothing_to_do_does_not_read_withdrawals(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unexpected() -> list[Withdrawal]:
        raise AssertionError

    jobs = scene.jobs()
    monkeypatch.setattr(scene.store.withdrawals, "all", unexpected)
    await jobs.withdrawal_guard.look()
    assert jobs.registry.idle


async def test_a_dropped_commit_is_not_found_by_a_job_that_waits(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await submit(jobs, max_attempts=5)
    drop_last_commit(scene.settings.scripts.repository)
    async with driving(jobs):
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.FAILED, Reason.START_FAILED, 1)
    assert "can no longer be found" in str(ended.message)
