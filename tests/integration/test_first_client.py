"""The first client ever written for this contract must keep working (and whoever is no client must not)."""

import json
import subprocess
from pathlib import Path

import pytest

from agent.cli.job.profile import config_directory
from agent.config_files import load
from agent.identity import authority
from agent.identity.certificates import INVITED_UNTIL

from .conftest import Client, run, wait_for


def decodes(job: dict[str, object]) -> bool:
    """What the first client's decoder demands: three strings, none of them null."""
    return all(isinstance(job[field], str) for field in ("job_id", "container_id", "status"))


def test_every_state_of_a_job_decodes_also_while_it_waits(alice: Client) -> None:
    occupying = [alice.submit("hello.py", sleep="1") for _ in range(load().jobs.max_running)]
    waiting = alice.submit("hello.py", name="the first client")
    assert decodes(waiting)
    polled = alice.job(waiting["job_id"])
    assert polled["status"] == "PENDING"
    assert decodes(polled)
    assert alice.curl(f"/jobs/{waiting['job_id']}/logs").stdout == "\n200"
    done = alice.wait(waiting["job_id"], "COMPLETED", "FAILED")
    assert decodes(done)
    assert done["status"] == "COMPLETED"
    log, _, status = alice.curl(f"/jobs/{waiting['job_id']}/logs").stdout.rpartition("\n")
    assert (log.splitlines()[0], status) == ("Hello, the first client! (1 of 3)", "200")
    for job in occupying:
        alice.wait(job["job_id"], "COMPLETED")


def test_the_answer_to_a_submission_names_the_job(alice: Client) -> None:
    answer = alice.curl("/jobs", "--include", "--json", json.dumps({"script_name": "hello.py"})).stdout
    head, _, body = answer.replace("\r", "").partition("\n\n")
    job = json.loads(body.rpartition("\n")[0])
    assert "HTTP/1.1 202 Accepted" in head
    assert f"Location: /jobs/{job['job_id']}" in head


def test_a_job_of_somebody_else_does_not_exist(alice: Client, bob: Client) -> None:
    job_id = alice.submit("hello.py")["job_id"]
    for path in ("", "/logs", "/artifacts", "/artifacts/hello.txt"):
        status, problem = bob.call(f"/jobs/{job_id}{path}")
        assert (status, problem["type"]) == (404, "urn:ml-agent:problem:job-not-found")
    status, _ = bob.call(f"/jobs/{job_id}/cancel", "--json", "{}")
    assert status == 404
    assert job_id not in bob.curl("/jobs").stdout
    assert alice.wait(job_id, "COMPLETED", "FAILED", "CANCELLED")["status"] == "COMPLETED"


@pytest.fixture
def foreign_certificate(tmp_path: Path) -> Path:
    """A certificate for alice from an authority that is not this host's."""
    issued = authority.Authority.create(tmp_path / "pki", "somebody else").issue_client("alice")
    (tmp_path / "alice.crt").write_bytes(issued.certificate_pem())
    (tmp_path / "alice.key").write_bytes(issued.key_pem())
    return tmp_path


def anonymous_curl(*options: str) -> subprocess.CompletedProcess[str]:
    ca = str(config_directory() / "ca.crt")
    return run("curl", "--silent", "--cacert", ca, *options, f"https://localhost:{load().http.port}/scripts")


def test_without_a_certificate_nothing_is_answered() -> None:
    # An invitation that is still open on this host would have the agent say why it refuses.
    (load().pki_directory / INVITED_UNTIL).unlink(missing_ok=True)
    wait_for(lambda: anonymous_curl().returncode != 0, "no connection without a certificate")
    answer = anonymous_curl()
    assert (answer.returncode != 0, answer.stdout) == (True, "")


def test_with_a_foreign_certificate_nothing_is_answered(foreign_certificate: Path) -> None:
    answer = anonymous_curl(
        "--cert", str(foreign_certificate / "alice.crt"), "--key", str(foreign_certificate / "alice.key")
    )
    assert (answer.returncode != 0, answer.stdout) == (True, "")
