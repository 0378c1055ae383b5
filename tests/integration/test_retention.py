"""What retention removes on a real host, by the operator's hand and by the agent's own."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.config_files import load

from .conftest import Client, run, wait_for

ALL_UNITS = {"UNIT_HOURS": "0", "AT_LEAST_HOURS": "0"}
ALL_FILES = ALL_UNITS | {"FILES_DAYS": "0"}


def failed(client: Client) -> dict[str, Any]:
    """A job that has failed, and whose log is kept."""
    job = client.wait(client.submit("hello.py", status="3")["job_id"], "FAILED")
    wait_for((load().paths_of(job["job_id"]).log).exists, "the log to be kept")
    return job


def prune(rules: dict[str, str], *options: str) -> Any:
    variables = {f"ML_AGENT_RETENTION__{name}": value for name, value in rules.items()}
    done = run("ml-agent", "prune", "--json", *options, env=os.environ | variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def failed_units() -> str:
    return run("systemctl", "--user", "list-units", "--failed", "--plain", "--no-legend").stdout


def unit_file(job: dict[str, Any]) -> Path:
    return load().runtime_directory / "systemd/user" / str(job["unit"])


@contextmanager
def agent_with(rules: dict[str, str]) -> Iterator[None]:
    """The installed agent under other rules, from a start of its own on."""
    names = [f"ML_AGENT_RETENTION__{name}" for name in rules]
    values = [f"{name}={value}" for name, value in zip(names, rules.values(), strict=True)]
    run("systemctl", "--user", "set-environment", *values)
    try:
        run("systemctl", "--user", "restart", "ml-agent.service")
        yield
    finally:
        run("systemctl", "--user", "unset-environment", *names)
        run("systemctl", "--user", "restart", "ml-agent.service")


def test_systemd_forgets_a_failed_unit_and_the_job_stays(alice: Client) -> None:
    job = failed(alice)
    assert job["unit"] in failed_units()
    planned = prune(ALL_UNITS, "--dry-run")
    assert {"what": "unit", "job_id": job["job_id"], "bytes": 0, "rule": "age"}.items() <= next(
        entry for entry in planned["removed"] if entry["job_id"] == job["job_id"]
    ).items()
    assert unit_file(job).exists()
    assert job["job_id"] in [entry["job_id"] for entry in prune(ALL_UNITS)["removed"]]
    assert job["unit"] not in failed_units()
    assert not unit_file(job).exists()
    assert "could not be found" in run("systemctl", "--user", "status", job["unit"]).stderr
    assert alice.job(job["job_id"]) == job
    assert alice.call(f"/jobs/{job['job_id']}/artifacts")[0] == 200
    assert "Hello" in alice.curl(f"/jobs/{job['job_id']}/logs").stdout


def test_a_unit_that_runs_is_left_alone(alice: Client) -> None:
    job = alice.wait(alice.submit("hello.py", sleep="60")["job_id"], "RUNNING")
    removed = prune(ALL_FILES)["removed"]
    assert job["job_id"] not in [entry.get("job_id") for entry in removed]
    assert unit_file(job).exists()
    assert alice.ml_job("cancel", job["job_id"]).returncode == 0
    alice.wait(job["job_id"], "CANCELLED")


def test_the_agent_itself_removes_what_is_due_and_leaves_what_is_pinned(alice: Client) -> None:
    pinned, job = failed(alice), failed(alice)
    assert alice.ml_job("pin", pinned["job_id"]).returncode == 0
    closed = load().paths_of(job["job_id"]).attempt(1).artifacts / "closed"
    (closed / "inner").mkdir(parents=True)
    (closed / "inner/model").write_text("model")
    for path in (closed / "inner", closed):
        path.chmod(0)
    with agent_with(ALL_FILES):
        alice.call("/jobs?limit=1")
        wait_for(lambda: "removed" in alice.job(job["job_id"]), "the agent to come to it")
        wait_for(lambda: not load().paths_of(job["job_id"]).directory.exists(), "the directory to be gone")
    assert job["unit"] not in failed_units()
    assert pinned["unit"] in failed_units()
    for part in ("artifacts", "logs"):
        status, problem = alice.call(f"/jobs/{job['job_id']}/{part}")
        assert (status, problem["type"]) == (410, "urn:ml-agent:problem:removed-by-retention")
        assert alice.curl(f"/jobs/{pinned['job_id']}/{part}").stdout.endswith("\n200")
    shown = alice.ml_job("logs", job["job_id"])
    assert "Retention removed the artifacts and the log" in shown.stderr
    assert alice.ml_job("unpin", pinned["job_id"]).returncode == 0
    assert pinned["job_id"] in [entry.get("job_id") for entry in prune(ALL_FILES)["removed"]]
    assert pinned["unit"] not in failed_units()
