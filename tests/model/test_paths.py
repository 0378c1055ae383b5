"""Where the files of a job are: an operator and an older agent find them there, too."""

from pathlib import Path

from agent.model.paths import CLAIMED, ENDED, OVER, STARTED, STOPPING, JobPaths

STATE, RUNTIME = Path("/state"), Path("/run/user/1000")
JOB = JobPaths(STATE / "jobs", RUNTIME, "abcdefghijkl")


def test_the_files_of_a_job_are_where_earlier_versions_have_them() -> None:
    assert JOB.directory == STATE / "jobs/abcdefghijkl"
    assert JOB.log == STATE / "jobs/abcdefghijkl/log.gz"
    assert JOB.metrics == STATE / "jobs/abcdefghijkl/metrics.json"
    assert JOB.unit_file == RUNTIME / "systemd/user/ml-job@abcdefghijkl.service"
    assert JOB.container_id == RUNTIME / "ml-job@abcdefghijkl.cid"


def test_the_files_of_an_attempt_are_where_earlier_versions_have_them() -> None:
    attempt = JOB.attempt(2)
    directory = STATE / "jobs/abcdefghijkl/attempts/2"
    assert attempt.directory == directory
    assert (attempt.input, attempt.artifacts) == (directory / "input", directory / "artifacts")
    assert (attempt.description, attempt.manifest) == (
        directory / "input/job.json",
        directory / "manifest.json",
    )
    assert attempt.claim_directory == RUNTIME / "ml-agent/claims/abcdefghijkl.2"


def test_marks_and_their_reserved_files_are_where_units_make_them() -> None:
    directory = JOB.attempt(1).directory
    names = {CLAIMED: "claimed", STARTED: "input/started", STOPPING: "stopping", ENDED: "ended", OVER: "over"}
    for mark, name in names.items():
        assert JOB.attempt(1).mark(mark) == directory / name
        assert JOB.attempt(1).reserved(mark) == directory / f"{name}.new"
