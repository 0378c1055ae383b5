"""Operators, and the audit of an installed agent with the heads that journald has of it."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.cli.job.profile import config_directory
from agent.config_files import load

from .conftest import Client, run, wait_for


@pytest.fixture
def oscar() -> Iterator[Client]:
    """An operator."""
    directory = config_directory()
    issued = run("ml-agent", "issue", "oscar", "--operator", "--replace", "--output", str(directory))
    assert issued.returncode == 0, issued.stderr
    yield Client("oscar")
    for file in directory.glob("oscar.*"):
        file.unlink()


def audited(user: str, since: str = "10m") -> list[dict[str, Any]]:
    rows = run("ml-agent", "audit", "--user", user, "--since", since, "--json", "-n", "1000").stdout
    return [dict(row) for row in json.loads(rows)]


def test_an_operator_looks_at_anothers_job_and_ends_it_and_that_is_audited(
    alice: Client, oscar: Client
) -> None:
    job_id = alice.submit("hello.py", sleep="60")["job_id"]
    alice.wait(job_id, "RUNNING")
    assert oscar.curl(f"/jobs/{job_id}/logs").stdout.endswith("\n200")
    assert oscar.call(f"/jobs/{job_id}/rerun", "--json", "{}")[0] == 403
    assert oscar.ml_job("cancel", job_id).returncode == 0
    assert alice.wait(job_id, "CANCELLED")["reason"] == "cancelled"
    rows = [row for row in audited("oscar") if row["subject"] == job_id]
    assert [(row["action"], row["result"], row["details"]["owner"]) for row in rows] == [
        ("getLogs", "shown", "alice"),
        ("rerunJob", "refused", "alice"),
        ("cancelJob", "done", "alice"),
    ]
    assert {row["source"] for row in rows} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    (submitted,) = [row for row in audited("alice") if row["subject"] == job_id]
    declared = ["lines", "name", "sleep", "status"]  # the defaults are part of what it runs with
    assert (submitted["action"], submitted["details"]["parameters"]) == ("submitJob", declared)


def test_a_secret_that_is_set_and_removed_is_audited_without_its_value() -> None:
    value = "canary-4f1c77e2"
    set_it = run("ml-agent", "secret", "set", "audited", "--user", "alice", input=value)
    assert set_it.returncode == 0, set_it.stderr
    assert run("ml-agent", "secret", "rm", "audited", "--user", "alice").returncode == 0
    account = run("id", "--user", "--name").stdout.strip()
    rows = [row for row in audited(account) if row["subject"] == "audited"][-2:]
    assert [(row["action"], row["details"]) for row in rows] == [
        ("setSecret", {"owner": "alice"}),
        ("removeSecret", {"owner": "alice"}),
    ]
    assert not [
        file for file in load().database.parent.glob("jobs.db*") if value.encode() in file.read_bytes()
    ]


def test_the_chain_is_whole_and_its_end_cannot_be_cut_off(alice: Client, tmp_path: Path) -> None:
    alice.submit("hello.py")
    # Told when the agent ends, and where it was killed, by the next one.
    run("systemctl", "--user", "restart", "ml-agent.service")
    alice.curl("/jobs")
    verified = wait_for(
        lambda: said if " 0 remembered" not in (said := run("ml-agent", "audit", "--verify").stdout) else "",
        "the head in the journal",
    )
    assert "each as it was written" in verified

    (tmp_path / "state").mkdir()
    for file in load().database.parent.glob("jobs.db*"):
        shutil.copy(file, tmp_path / "state")
    with closing(sqlite3.connect(tmp_path / "state/jobs.db")) as database, database:
        database.execute("DROP TRIGGER audit_kept")
        database.execute("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)")
    copied = os.environ | {"ML_AGENT_STATE_DIRECTORY": str(tmp_path / "state")}
    cut = run("ml-agent", "audit", "--verify", env=copied)
    assert cut.returncode == 1
    assert "it is missing" in cut.stderr
    assert run("ml-agent", "audit", "--verify", "--no-journal", env=copied).returncode == 0
