"""An agent takes over the state directory of an earlier one, with jobs that wait, run and have just ended."""

from pathlib import Path

import pytest

from agent.config import Settings
from agent.host.systemd import UnitState
from agent.model.job import Job, JobRequest, JobState, Reason
from agent.model.paths import ENDED, STOPPING
from tests.support.artifacts import list_of
from tests.support.earlier_state import make_database, make_files, read_by_itself
from tests.support.git_repository import commit
from tests.support.job_scene import INVOCATION, Scene, driving, end_of
from tests.support.small_site import make_repository, make_settings, with_jobs
from tests.support.waiting import until

READ = read_by_itself()
JOBS = {kind: Job.model_validate(document) for kind, document in READ["jobs"].items() if document}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    # The repository has gone on: earlier jobs run from the earlier agent's snapshot.
    repository = tmp_path / "repository"
    assert make_repository(repository, {"succeed.py": "echo hello"}) == JOBS["waiting"].commit
    (repository / "scripts/succeed.py").write_text("echo another\n")
    commit(repository)
    settings = make_settings(tmp_path, runtime=tmp_path / "runtime")
    make_database(settings.database)
    make_files(settings.state_directory, settings.runtime_directory)
    return with_jobs(settings, max_running=len(JOBS), cpus=float(len(JOBS)))


@pytest.fixture
def scene(scene: Scene) -> Scene:
    """The earlier agent's jobs that still run, as systemd has them."""
    for kind in ("running", "cancelling"):
        scene.units.states[JOBS[kind].unit] = UnitState("active", invocation_id=INVOCATION)
    return scene


async def test_jobs_that_run_go_on_and_end(scene: Scene) -> None:
    running, cancelling = JOBS["running"], JOBS["cancelling"]
    async with driving(scene.jobs()) as jobs:
        await jobs.reconciler.wait_until_reconciled()
        assert await jobs.registry.get(running.job_id) == running
        assert scene.units.stopped == [cancelling.unit]
        scene.mark(cancelling, STOPPING, "success")
        for job, words in ((running, "success exited 0"), (cancelling, "exit-code exited 143")):
            scene.mark(job, ENDED, f"{words} {INVOCATION}")
            scene.units.states.pop(job.unit)
            jobs.reconciler.look_at(job.unit)
        assert (await end_of(jobs, running)).status is JobState.COMPLETED
        assert (await end_of(jobs, cancelling)).reason is Reason.CANCELLED


async def test_a_job_that_ended_while_no_agent_ran_has_its_outcome_and_its_artifacts(scene: Scene) -> None:
    job = JOBS["ending"]
    result = scene.settings.paths_of(job.job_id).attempt(1).artifacts / "result.txt"
    result.write_text("done")
    async with driving(scene.jobs()) as jobs:
        await jobs.reconciler.wait_until_reconciled()
        ended = await jobs.registry.get(job.job_id)
    assert (ended.status, ended.exit_status) == (JobState.COMPLETED, 0)
    manifest = await list_of(jobs.results, ended)
    assert [artifact.path for artifact in manifest.artifacts] == ["result.txt"]


async def test_jobs_that_wait_start_from_the_earlier_snapshot(scene: Scene) -> None:
    starting = {JOBS[kind].unit for kind in ("created", "waiting")}
    async with driving(scene.jobs()):
        await until(lambda: starting <= set(scene.units.started))
    snapshot = scene.settings.snapshots_directory / JOBS["waiting"].commit
    assert {plan.snapshot for plan in scene.compiler.compiled} == {snapshot}


async def test_a_repeated_key_is_answered_with_the_earlier_agents_job(scene: Scene) -> None:
    job = JOBS["waiting"]
    request = JobRequest(script_name=job.script_name, hyperparameters=job.hyperparameters, priority=-3)
    jobs = scene.jobs()
    await jobs.reconciler.load()
    again = await jobs.submission.submit("alice", request, idempotency_key=READ["key"]["key"])
    assert again.job_id == job.job_id


async def test_artifacts_of_jobs_that_ended_are_served(scene: Scene) -> None:
    jobs = scene.jobs()
    for kind in ("completed", "failed", "pinned", "unarchived"):
        async with jobs.results.opened(JOBS[kind], "result.txt") as published:
            assert published.file.read() == f"of {JOBS[kind].job_id}\n".encode()
