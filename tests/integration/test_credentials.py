"""A credential is seen by its job and by nobody else: looked for wherever it could have leaked."""

import json
import tomllib
from pathlib import Path

import pytest

from agent.config_files import load

from .conftest import Client, run


@pytest.fixture
def password() -> str:
    """The password of the demo's secret, which was made at random and which Podman alone keeps."""
    shown = run("podman", "secret", "inspect", "--showsecret", "ml-agent.snowflake")
    (connection,) = tomllib.loads(json.loads(shown.stdout)[0]["SecretData"]).values()
    return str(connection["password"])


def leaks(password: str) -> list[str]:
    """Where the password can be read by somebody who is not the job."""
    wanted = password.encode()
    settings = load()
    found = [
        f"/proc/{pid.name}/{file}"
        for pid in Path("/proc").glob("[0-9]*")
        for file in ("environ", "cmdline")
        if wanted in readable(pid / file)
    ]
    for directory in (settings.state_directory, settings.runtime_directory / "systemd"):
        found += [str(path) for path in directory.rglob("*") if path.is_file() and wanted in readable(path)]
    if password in run("journalctl", "--no-pager", "--output=export", "--all").stdout:
        found.append("journal")
    return found


def readable(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_password_is_nowhere_to_be_found_while_the_job_runs_and_after(
    alice: Client, password: str
) -> None:
    job_id = alice.submit("train_churn_model.py", n_estimators="400")["job_id"]
    alice.wait(job_id, "RUNNING")
    assert leaks(password) == []
    inspected = run("podman", "inspect", f"ml-job-{job_id}").stdout
    assert password not in inspected
    done = alice.wait(job_id, "COMPLETED", "FAILED", "CANCELLED")
    assert done["status"] == "COMPLETED", alice.curl(f"/jobs/{job_id}/logs").stdout
    assert leaks(password) == []
    assert password not in alice.curl(f"/jobs/{job_id}/logs").stdout


def test_the_search_finds_what_it_looks_for(password: str) -> None:
    """A search that cannot find anything would prove nothing."""
    planted = load().state_directory / "planted"
    planted.write_text(password)
    try:
        assert leaks(password) == [str(planted)]
    finally:
        planted.unlink()
