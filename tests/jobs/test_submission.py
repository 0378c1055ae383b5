"""What is accepted, and what a job is made of."""

import asyncio
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.jobs.requests import as_asked
from agent.model.inputs import Limits, RequestedLimits
from agent.model.job import Job, JobRequest, JobState, Reason, Rerun
from tests.support.git_repository import commit, drop_last_commit
from tests.support.job_scene import DIGEST, Scene, driving, end_of, submit
from tests.support.small_site import IMAGE, with_jobs
from tests.support.waiting import run, until


async def test_a_job_records_commit_image_and_limits(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await submit(jobs, hyperparameters={"a": "1"})
    assert (job.status, job.owner, job.container_id) == (JobState.PENDING, "alice", "")
    assert (job.image, job.image_digest, len(job.commit), len(job.script_sha256)) == (IMAGE, DIGEST, 40, 64)
    assert job.limits == Limits(
        memory_bytes=64 * 2**20,
        cpus=1.0,
        tasks=512,
        run_time_seconds=60,
        artifact_bytes=8 * 2**30,
        artifact_files=10_000,
    )


async def test_a_job_and_its_rerun_must_leave_what_the_script_declares(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await submit(jobs, "declared.py")
    assert job.artifacts == ["model.joblib"]
    # As a job that an earlier version accepted.
    earlier = job.model_copy(update={"artifacts": []})
    assert (await jobs.submission.rerun("alice", earlier, Rerun())).artifacts == ["model.joblib"]


async def test_a_job_and_its_rerun_record_the_defaults_that_they_run_with(scene: Scene) -> None:
    jobs = scene.jobs()
    job = await submit(jobs, "defaults.py", hyperparameters={"depth": "7"})
    assert job.hyperparameters == {"depth": "7", "alpha": "0.5"}
    # A later default is no part of it; a job that an earlier version accepted has none recorded.
    for earlier in (job, job.model_copy(update={"hyperparameters": {"depth": "7"}})):
        anew = await jobs.submission.rerun("alice", earlier, Rerun(hyperparameters={"alpha": "0.9"}))
        assert anew.hyperparameters == {"depth": "7", "alpha": "0.9"}
        assert (await jobs.submission.rerun("alice", earlier, Rerun())).hyperparameters == job.hyperparameters


async def test_defaults_are_no_part_of_what_a_key_stands_for(scene: Scene) -> None:
    jobs = scene.jobs()
    asked = JobRequest(script_name="defaults.py")
    job = await jobs.submission.submit("alice", asked, idempotency_key="k")
    assert (await jobs.submission.submit("alice", asked, idempotency_key="k")).job_id == job.job_id
    same_values = JobRequest(script_name="defaults.py", hyperparameters=job.hyperparameters)
    with pytest.raises(AgentError) as refused:
        await jobs.submission.submit("alice", same_values, idempotency_key="k")
    assert refused.value.problem is Problem.IDEMPOTENCY_MISMATCH


@pytest.mark.parametrize(
    ("request_", "problem", "name"),
    [
        (JobRequest(script_name="absent.py"), Problem.SCRIPT_NOT_FOUND, "script_name"),
        (JobRequest(script_name="succeed.py", ref="no-such"), Problem.REF_NOT_FOUND, "ref"),
        (JobRequest(script_name="networked.py"), Problem.INVALID_REQUEST, "script_name"),
        (
            JobRequest(script_name="declared.py", hyperparameters={"depth": "11"}),
            Problem.INVALID_REQUEST,
            "hyperparameters.depth",
        ),
        (
            JobRequest(script_name="succeed.py", limits=RequestedLimits(tasks=100_000)),
            Problem.INVALID_REQUEST,
            "limits.tasks",
        ),
        (
            JobRequest(script_name="succeed.py", limits=RequestedLimits(grace_seconds=301)),
            Problem.INVALID_REQUEST,
            "limits.grace_seconds",
        ),
    ],
)
async def test_a_refused_request_leaves_no_row_and_no_directory(
    scene: Scene, request_: JobRequest, problem: Problem, name: str
) -> None:
    jobs = scene.jobs()
    with pytest.raises(AgentError) as caught:
        await jobs.submission.submit("alice", request_)
    assert (caught.value.problem, caught.value.fields[0].field) == (problem, name)
    assert (await jobs.registry.page()).jobs == []
    assert not (scene.settings.state_directory / "jobs").exists()
    assert jobs.registry.idle


async def test_the_requested_grace_reaches_the_unit(scene: Scene) -> None:
    request = JobRequest(script_name="succeed.py", limits=RequestedLimits(grace_seconds=90))
    async with driving(scene.jobs()) as jobs:
        job = await jobs.submission.submit("alice", request)

        (plan,) = await until(lambda: scene.compiler.compiled)
    assert (job.limits.grace_seconds, plan.limits.grace_seconds) == (90, 90)


async def test_a_missing_secret_is_refused_at_submission(scene: Scene) -> None:
    scene.podman.secrets = frozenset()
    with pytest.raises(AgentError) as caught:
        await submit(scene.jobs(), "declared.py")
    assert caught.value.problem is Problem.SECRET_MISSING
    assert "ml-agent secret set warehouse" in caught.value.hint


async def test_the_message_of_a_job_whose_secret_was_removed_while_it_waited_is_one_line(
    scene: Scene,
) -> None:
    jobs = scene.jobs()
    job = await submit(jobs, "declared.py")
    scene.podman.secrets = frozenset()
    async with driving(jobs):
        ended = await end_of(jobs, job)
    assert ended.reason is Reason.START_FAILED
    assert "needs the secret warehouse" in str(ended.message)
    messages = [ended.message, *(attempt.message for attempt in ended.attempts)]
    assert all(message and len(message.splitlines()) == 1 for message in messages)


async def test_a_repeated_key_returns_the_same_job_even_if_the_script_is_gone(scene: Scene) -> None:
    jobs, request = scene.jobs(), JobRequest(script_name="succeed.py")
    job = await jobs.submission.submit("alice", request, idempotency_key="k")
    repository = scene.settings.scripts.repository
    await run("git", "-C", str(repository), "update-ref", "-d", "HEAD")
    assert await jobs.submission.submit("alice", request, idempotency_key="k") == job
    with pytest.raises(AgentError) as caught:
        await jobs.submission.submit("alice", JobRequest(script_name="fail.py"), idempotency_key="k")
    assert caught.value.problem is Problem.IDEMPOTENCY_MISMATCH


async def test_a_rerun_is_refused_once_the_repository_has_dropped_the_commit(scene: Scene) -> None:
    job = await submit(scene.jobs())
    drop_last_commit(scene.settings.scripts.repository)
    with pytest.raises(AgentError) as caught:
        await scene.jobs().submission.rerun("alice", job, Rerun())
    assert caught.value.problem is Problem.REF_NOT_FOUND


@pytest.mark.parametrize("later", [False, True])
async def test_a_job_whose_commit_is_gone_says_so(scene: Scene, later: bool) -> None:
    first = scene.jobs()
    job = await submit(first)
    drop_last_commit(scene.settings.scripts.repository)
    scene.snapshots().retire(job.commit)
    jobs = scene.jobs() if later else first  # which has the catalogue in memory
    with pytest.raises(AgentError) as caught:
        await jobs.submission.rerun("alice", job, Rerun())
    assert (caught.value.problem, caught.value.fields) == (Problem.REF_NOT_FOUND, ())
    assert job.commit in caught.value.message
    assert "Submit the script as a new job" in caught.value.hint
    assert len((await jobs.registry.page()).jobs) == 1
    async with driving(jobs):
        ended = await end_of(jobs, job)
    assert (ended.reason, ended.message) == (Reason.START_FAILED, str(caught.value))


async def test_a_job_runs_although_its_client_hangs_up_during_the_commit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    committing, cancelled = asyncio.Event(), asyncio.Event()
    add_job = scene.store.jobs.add

    async def slow(*arguments: Any, **options: Any) -> Job:
        committing.set()
        await cancelled.wait()
        return await add_job(*arguments, **options)

    monkeypatch.setattr(scene.store.jobs, "add", slow)
    async with driving(scene.jobs()) as jobs:
        call = asyncio.create_task(submit(jobs))
        await committing.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        cancelled.set()
        (unit,) = await until(lambda: scene.units.started)
        assert [job.unit for job in (await jobs.registry.page()).jobs] == [unit]


async def test_client_values_reach_the_input_file_and_not_the_unit(scene: Scene) -> None:
    values = {"a": '$(id) %n \\x41 "; [Service]', "b": "ä\u202e"}
    async with driving(scene.jobs()) as jobs:
        job = await submit(jobs, hyperparameters=values)
        await until(lambda: scene.units.started)
    attempt = scene.attempt(job)
    assert '"hyperparameters"' in attempt.description.read_text()
    (unit,) = scene.compiler.compiled
    assert not any(value in repr(unit) for value in values.values())


@pytest.fixture
def commits(scene: Scene) -> list[str]:
    """Commits of the scripts' repository with some 100 KB each."""
    repository, made = scene.settings.scripts.repository, []
    for number in range(4):
        (repository / "scripts/data.txt").write_text(str(number) * 100_000)
        made.append(commit(repository))
    return made


def with_snapshots(scene: Scene, *, share: int, kept: int) -> None:
    """Bounds the bytes of snapshots, of each user and of all that nobody needs."""
    jobs = scene.settings.jobs.model_copy(update={"max_snapshot_bytes_per_user": share})
    retention = scene.settings.retention.model_copy(update={"max_snapshot_bytes": kept})
    scene.settings = scene.settings.model_copy(update={"jobs": jobs, "retention": retention})


async def test_the_snapshots_of_a_users_unfinished_jobs_have_a_share(
    scene: Scene, commits: list[str]
) -> None:
    with_snapshots(scene, share=400_000, kept=10**9)
    jobs = scene.jobs()
    first, second = [await submit(jobs, ref=each) for each in commits[:2]]
    with pytest.raises(AgentError) as caught:
        await submit(jobs, ref=commits[2])
    assert (caught.value.problem, caught.value.fields[0].field) == (Problem.TOO_MANY_JOBS, "ref")
    assert "the limit is 400000" in caught.value.message
    assert not scene.snapshots().has_tree(commits[2])  # asked before it is written
    for each in commits[:2]:
        await submit(jobs, ref=each)
    # Another user has another share; and so has this one's job that has ended.
    assert (await jobs.submission.submit("bob", request(commits[2]))).commit == commits[2]
    await jobs.registry.cancel(first.job_id)
    with pytest.raises(AgentError):
        await submit(jobs, ref=commits[3])
    for job in (await jobs.registry.page(owner="alice")).jobs:
        if job.commit == first.commit:
            await jobs.registry.cancel(job.job_id)
    assert (await submit(jobs, ref=commits[3])).commit == commits[3]
    assert jobs.registry.commits_of("alice") == {second.commit, commits[3]}


async def test_one_commit_can_always_be_run(scene: Scene, commits: list[str]) -> None:
    with_snapshots(scene, share=0, kept=0)
    jobs = scene.jobs()
    for _ in range(2):
        await submit(jobs, ref=commits[0])
    with pytest.raises(AgentError):
        await submit(jobs, ref=commits[1])


async def test_the_share_of_snapshots_is_known_after_a_restart(scene: Scene, commits: list[str]) -> None:
    with_snapshots(scene, share=200_000, kept=10**9)
    await submit(scene.jobs(), ref=commits[0])
    later = scene.jobs()
    await later.registry.load()
    with pytest.raises(AgentError):
        await submit(later, ref=commits[1])


async def test_snapshots_that_no_unfinished_job_needs_make_room(scene: Scene, commits: list[str]) -> None:
    with_snapshots(scene, share=10**9, kept=400_000)
    jobs = scene.jobs()
    waits = await submit(jobs, ref=commits[0])
    for each in commits[1:]:
        ended = await submit(jobs, ref=each)
        await jobs.registry.cancel(ended.job_id)
    kept = scene.snapshots().commits()
    assert waits.commit in kept
    assert len(kept) <= 3
    anew = await jobs.submission.rerun("alice", await jobs.registry.get(ended.job_id), Rerun())
    assert scene.snapshots().has_tree(anew.commit)


async def test_a_refused_submission_writes_no_snapshot(scene: Scene, commits: list[str]) -> None:
    scene.settings = with_jobs(scene.settings, max_waiting_per_user=1)
    jobs = scene.jobs()
    await submit(jobs, ref=commits[0])
    tries = (submit(jobs, ref=each) for each in commits[1:])
    refused = await asyncio.gather(*tries, return_exceptions=True)
    assert {error.problem for error in refused if isinstance(error, AgentError)} == {Problem.TOO_MANY_JOBS}
    assert scene.snapshots().commits() == [commits[0]]


async def test_a_user_who_submits_at_many_commits_at_once_stays_within_the_share(
    scene: Scene, commits: list[str]
) -> None:
    with_snapshots(scene, share=400_000, kept=10**9)
    jobs = scene.jobs()
    await asyncio.gather(*(submit(jobs, ref=each) for each in commits), return_exceptions=True)
    assert len(scene.snapshots().commits()) == len(jobs.registry.commits_of("alice")) == 2


def request(ref: str) -> JobRequest:
    return JobRequest(script_name="succeed.py", ref=ref)


def test_a_rerun_that_says_nothing_new_is_the_one_that_an_earlier_version_knows() -> None:
    """A key that an earlier version has kept is known again."""
    said = Rerun(hyperparameters={"depth": "4"}, max_attempts=2)
    earlier = said.model_dump(mode="json")
    del earlier["name"], earlier["labels"]
    assert as_asked(said) == earlier
    for changes in ({"name": "again"}, {"labels": {"run": "2"}}):
        assert as_asked(said.model_copy(update=changes)) == earlier | changes
