"""Hostile values through the installed agent into real jobs, which write down what they received."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli.job.profile import config_directory
from agent.config_files import load
from tests.integration.conftest import Client, run
from tests.support.git_repository import git

from .corpus import VALUES
from .packed import named, packed

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(
        not (config_directory() / "alice.crt").exists(),
        reason="no agent is installed (tests/host/host install)",
    ),
]

SCRIPT = "receive.py"
REF = "refs/heads/test/receive"  # tests/host/install-account.sh lets such branches run
SOURCE = Path(__file__).with_name(SCRIPT)
HARMLESS = {"p": "1"}
OF_ITS_OWN = {
    b"JOB_ID",
    b"HOSTNAME",
}  # what no two jobs have in common; Podman names the host by the container


@pytest.fixture(scope="module")
def commit() -> Iterator[str]:
    """A commit of the installed agent's repository, on a branch of its own, with one script in it."""
    repository = load().scripts.repository
    blob = git(repository, "hash-object", "-w", "--stdin", stdin=SOURCE.read_bytes())
    scripts = git(repository, "mktree", stdin=f"100644 blob {blob}\t{SCRIPT}\n".encode())
    tree = git(repository, "mktree", stdin=f"040000 tree {scripts}\t{load().scripts.directory}\n".encode())
    git(repository, "update-ref", REF, git(repository, "commit-tree", "-m", "a script for tests", tree))
    yield git(repository, "rev-parse", REF)
    git(repository, "update-ref", "-d", REF)


@pytest.fixture
def alice() -> Client:
    return Client("alice")


def submitted(client: Client, body: dict[str, Any], file: Path) -> str:
    """Posts the body and returns the job's id."""
    file.write_text(json.dumps(body))
    status, job = client.call("/jobs", "--json", f"@{file}")
    assert status == 202, job
    for name in ("hyperparameters", "labels", "name"):
        assert job.get(name, {}) == body.get(name, {})
    return str(job["job_id"])


def received(client: Client, job_id: str) -> dict[str, Any]:
    """What the script wrote down, in bytes where it wrote hexadecimal digits."""
    job = client.wait(job_id, "COMPLETED", "FAILED", "CANCELLED")
    assert job["status"] == "COMPLETED", (job, client.curl(f"/jobs/{job_id}/logs").stdout)
    status, found = client.call(f"/jobs/{job_id}/artifacts/received.json")
    assert status == 200
    environment = {bytes.fromhex(name): bytes.fromhex(value) for name, value in found["environment"].items()}
    return {**found, "environment": environment, "job": json.loads(bytes.fromhex(found["job"]))}


def unit(job_id: str) -> list[str]:
    """The lines of the job's unit as systemd has it, the words of its command in their order."""
    path = Path(os.environ["XDG_RUNTIME_DIR"]) / f"systemd/user/ml-job@{job_id}.service"
    lines = path.read_text("utf-8").replace(job_id, "JOB").splitlines()
    return [" ".join(sorted(line.split(" "))) if line.startswith("ExecStart=") else line for line in lines]


def test_a_job_receives_every_byte_of_every_value_and_nothing_else(
    alice: Client, commit: str, told: Callable[[str], None], tmp_path: Path
) -> None:
    bodies = [
        {"script_name": SCRIPT, "hyperparameters": HARMLESS},
        *packed(SCRIPT, VALUES),
        named(SCRIPT, VALUES),
    ]
    ids = [submitted(alice, body | {"ref": commit}, tmp_path / "body.json") for body in bodies]
    harmless = received(alice, ids[0])
    values = 0
    for job_id, body in zip(ids, bodies, strict=True):
        got = received(alice, job_id)
        mine = {
            b"HP_" + name.upper().encode(): value.encode() for name, value in body["hyperparameters"].items()
        }
        assert of_the_job(got) == mine | {b"JOB_ID": job_id.encode()}
        assert of_the_image(got) == of_the_image(harmless)
        assert got["job"]["hyperparameters"] == body["hyperparameters"]
        for name in ("arguments", "command", "directory"):
            assert got[name] == harmless[name], name
        assert unit(job_id) == unit(ids[0])
        values += len(mine)
    shown = run("systemctl", "--user", "show", "--property=Environment", f"ml-job@{ids[-1]}.service").stdout
    assert "HP_" not in shown
    told(f"values and names received by real jobs: {values} in {len(ids)} jobs, 0 differences")


def of_the_job(got: dict[str, Any]) -> dict[bytes, bytes]:
    """The variables that are the job's own."""
    environment: dict[bytes, bytes] = got["environment"]
    return {k: v for k, v in environment.items() if k.startswith(b"HP_") or k == b"JOB_ID"}


def of_the_image(got: dict[str, Any]) -> dict[bytes, bytes]:
    """The variables that every job has."""
    environment: dict[bytes, bytes] = got["environment"]
    return {k: v for k, v in environment.items() if not k.startswith(b"HP_") and k not in OF_ITS_OWN}
