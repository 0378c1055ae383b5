"""The installed agent as its users meet it: `ml-job` and curl, systemctl and journalctl.

These tests run as the service account of a host on which `tests/host/host install` was done.
"""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.cli.job.profile import config_directory
from agent.config_files import load

PATIENCE = 120.0  # seconds; generous, since a predicate is waited for and not a time


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without an installed agent there is nothing to meet."""
    if not (config_directory() / "alice.crt").exists():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="no agent is installed (tests/host/host install)"))


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command's result, whatever its exit status."""
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, **options
    )


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of the condition."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
    return value


@dataclass(frozen=True)
class Client:
    """The `ml-job` command and curl, as one user."""

    user: str

    def ml_job(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `ml-job --identity USER …`."""
        return run("ml-job", "--identity", self.user, *arguments)

    def curl(self, path: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs curl with the user's certificate; the HTTP status follows the body on a line of its own."""
        return run(*self.curl_command(path, *options))

    def curl_command(self, path: str, *options: str) -> list[str]:
        """What `curl` runs."""
        files = config_directory()
        return [
            "curl",
            "--silent",
            "--show-error",
            *("--cacert", str(files / "ca.crt")),
            *("--cert", str(files / f"{self.user}.crt"), "--key", str(files / f"{self.user}.key")),
            *("--write-out", "\n%{http_code}"),
            *options,
            f"https://localhost:{load().http.port}{path}",
        ]

    def call(self, path: str, *options: str) -> tuple[int, Any]:
        """The HTTP status, and the JSON body."""
        body, _, status = self.curl(path, *options).stdout.rpartition("\n")
        return int(status), json.loads(body)

    def submit(self, script_name: str, **hyperparameters: str) -> dict[str, Any]:
        """Posts a job the way the first client does, and returns what it decodes."""
        body = json.dumps({"script_name": script_name, "hyperparameters": hyperparameters})
        status, job = self.call("/jobs", "--json", body)
        assert status == 202, job
        return dict(job)

    def job(self, job_id: str) -> dict[str, Any]:
        """The job now."""
        status, job = self.call(f"/jobs/{job_id}")
        assert status == 200, job
        return dict(job)

    def wait(self, job_id: str, *states: str) -> dict[str, Any]:
        """The job as soon as it is in one of the states."""
        return dict(
            wait_for(
                lambda: job if (job := self.job(job_id))["status"] in states else None,
                f"job {job_id} to be {' or '.join(states)}",
            )
        )


@pytest.fixture
def alice() -> Client:
    return Client("alice")


@pytest.fixture
def bob() -> Client:
    return Client("bob")
