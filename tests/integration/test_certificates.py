"""A certificate's life with the installed agent: issued, used, renewed from within its cage, revoked."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config_files import load
from agent.model.job import Job

from .conftest import run

USER = "passing"  # of this test alone


class Holder:
    """`ml-job` with files of its own."""

    def __init__(self, directory: Path) -> None:
        self.files = directory / "ml-job"
        server = f"https://localhost:{load().http.port}"
        self._environment = os.environ | {"XDG_CONFIG_HOME": str(directory), "ML_JOB_SERVER": server}

    def ml_job(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run("ml-job", *arguments, env=self._environment)

    def follow(self, job_id: str) -> subprocess.Popen[str]:
        """Follows the log of a job that waits or runs."""
        return subprocess.Popen(
            ["ml-job", "logs", "--follow", job_id],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def serials(self) -> dict[str, bool]:
        """The serial numbers that the host has for the user, each with whether it was revoked."""
        known = json.loads(run("ml-agent", "list", "--json").stdout)
        return {one["serial"]: "revoked_at" in one for one in known if one["user"] == USER}


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    made = Holder(tmp_path)
    issued = run("ml-agent", "issue", USER, "--days", "2", "--output", str(made.files))
    assert issued.returncode == 0, issued.stderr
    yield made
    run("ml-agent", "revoke", "--user", USER)


@pytest.mark.host
def test_a_holder_renews_and_is_gone_within_seconds_of_a_revocation(holder: Holder) -> None:
    before = (holder.files / f"{USER}.crt").read_bytes()
    said = holder.ml_job("list").stderr
    assert "`ml-job renew` renews it" in " ".join(said.split())
    renewed = holder.ml_job("renew", "--json")
    assert renewed.returncode == 0, renewed.stderr
    assert (holder.files / f"{USER}.crt").read_bytes() != before
    assert "ends at" not in holder.ml_job("list").stderr
    serial = json.loads(renewed.stdout)["serial"]
    assert holder.serials()[serial] is False

    submitted = holder.ml_job("submit", "hello.py", *("-p", "lines=600", "-p", "sleep=1"), "--json")
    assert submitted.returncode == 0, submitted.stderr
    job = Job.model_validate_json(submitted.stdout, extra="ignore")
    with holder.follow(job.job_id) as follower:
        try:
            assert follower.stdout is not None
            assert follower.stdout.readline()
            assert run("ml-agent", "revoke", "--user", USER).returncode == 0
            _, errors = follower.communicate(timeout=60)
        finally:
            follower.kill()
    assert follower.returncode == 2
    assert "was revoked" in errors
    assert holder.ml_job("list").returncode == 2
    assert set(holder.serials().values()) == {True}
    # The job goes on: its end is its owner's or an operator's to ask for.
    assert run("systemctl", "--user", "stop", job.unit).returncode == 0
