"""The files of an attempt: what the agent lays out, and what it reads from the marks."""

import json
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.jobs.attempt import AttemptFiles
from agent.model.base import now
from agent.model.job import JobState, Reason
from agent.model.paths import CLAIMED, ENDED, OVER, STARTED, STOPPING, JobPaths
from agent.runtime.outcome import MAX_MARK, ExitRecord
from tests.support.job_scene import INVOCATION, Scene, driving, end_of
from tests.support.jobs import make_job

JOB = make_job(hyperparameters={"depth": "3"})
SUCCESS = ExitRecord("success", "exited", "0", INVOCATION, now())


@pytest.fixture
def files(tmp_path: Path) -> AttemptFiles:
    made = AttemptFiles(JobPaths(tmp_path / "jobs", tmp_path / "runtime", JOB.job_id), 1)
    made.lay_out(JOB, proxied=False)
    return made


def begin(files: AttemptFiles) -> None:
    """Leaves the marks of a unit whose container runs."""
    files.paths.claim_directory.mkdir(parents=True)
    files.paths.mark(STARTED).touch()


def test_the_launcher_finds_the_script_its_parameters_and_the_mark_to_wait_for(files: AttemptFiles) -> None:
    described = json.loads(files.paths.description.read_text("utf-8"))
    assert described == {
        "job_id": JOB.job_id,
        "owner": JOB.owner,
        "commit": JOB.commit,
        "script_name": JOB.script_name,
        "hyperparameters": {"depth": "3"},
        "starts_after": "/run/ml-job/started",
    }
    files.lay_out(JOB, proxied=True)
    assert json.loads(files.paths.description.read_text("utf-8"))["proxy"] == "/run/ml-egress/proxy"


def test_room_for_the_marks_is_reserved_and_none_of_them_is_there(files: AttemptFiles) -> None:
    for mark in (STOPPING, ENDED, OVER):
        assert files.paths.reserved(mark).stat().st_size == MAX_MARK
        assert not files.has(mark)
    assert (files.has_begun(), files.started_at(), files.record(), files.container_id()) == (
        False,
        None,
        None,
        "",
    )


def test_files_that_cannot_be_written_are_a_full_storage(tmp_path: Path) -> None:
    (tmp_path / "jobs").touch()
    with pytest.raises(AgentError) as caught:
        AttemptFiles(JobPaths(tmp_path / "jobs", tmp_path, JOB.job_id), 1).lay_out(JOB, proxied=False)
    assert caught.value.problem is Problem.STORAGE_FULL


def test_an_attempt_has_begun_from_its_claim_on_and_after_a_boot_by_its_start(files: AttemptFiles) -> None:
    begin(files)
    assert files.has_begun()
    files.paths.mark(STARTED).unlink()
    assert files.has_begun()
    files.paths.claim_directory.rmdir()
    assert not files.has_begun()
    files.paths.mark(STARTED).touch()
    assert files.has_begun()
    assert files.started_at() is not None


def test_the_first_order_to_end_counts_and_explains_the_outcome(files: AttemptFiles) -> None:
    begin(files)
    files.order_end(Reason.ARTIFACT_QUOTA, "It took too much.")
    files.order_end(Reason.STORAGE_FULL, "The disk is full.")
    assert files.paths.mark(OVER).stat().st_size == MAX_MARK
    files.paths.mark(STOPPING).write_text("success")
    result = files.outcome(SUCCESS, cancelled=False, called_off=False)
    assert (result.status, result.reason, result.message) == (
        JobState.FAILED,
        Reason.ARTIFACT_QUOTA,
        "It took too much.",
    )


@pytest.mark.parametrize(
    ("cancelled", "called_off", "reason"),
    [(False, False, None), (False, True, Reason.STOPPED), (True, True, Reason.CANCELLED)],
)
def test_a_start_that_was_called_off_counts_as_a_stop(
    files: AttemptFiles, cancelled: bool, called_off: bool, reason: Reason | None
) -> None:
    begin(files)
    assert files.outcome(SUCCESS, cancelled=cancelled, called_off=called_off).reason is reason


def test_a_barred_attempt_has_a_claim_that_stays_on_disk(files: AttemptFiles) -> None:
    begin(files)
    files.bar()
    files.bar()
    claimed = files.paths.mark(CLAIMED)
    assert (claimed.is_file(), claimed.is_symlink()) == (True, False)
    assert not files.paths.claim_directory.exists()


async def test_the_claim_of_an_ended_attempt_moves_from_memory_to_disk(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
        scene.ends(jobs, job)
        await end_of(jobs, job)
    claimed = scene.attempt(job).mark(CLAIMED)
    assert claimed.is_file()
    assert not claimed.is_symlink()
    assert list((scene.settings.runtime_directory / "ml-agent/claims").iterdir()) == []
