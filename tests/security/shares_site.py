"""The installed agent with a state directory of its own and small bounds, for attacks on shares."""

import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config_files import load
from tests.integration.conftest import Client, run, wait_for

ENDED = ("COMPLETED", "FAILED", "CANCELLED")
RECORD_BYTES = 2**20
BOUNDS = {
    "JOBS__MAX_RUNNING": "2",
    "JOBS__MAX_SNAPSHOT_BYTES_PER_USER": "2500000",
    "RETENTION__AT_LEAST_HOURS": "0",
    "RETENTION__MAX_RECORD_BYTES": str(RECORD_BYTES),
    "RETENTION__MAX_PINNED_BYTES_PER_USER": "10000000",
}
SCRIPT = """import os, sys, time
size, files = int(os.environ.get("HP_BYTES", 0)), int(os.environ.get("HP_FILES", 0))
with open("/artifacts/model", "wb") as model:
    model.write(os.urandom(size))
for number in range(files):
    open(f"/artifacts/{number}", "w").close()
time.sleep(float(os.environ.get("HP_SLEEP", 0)))
sys.exit(int(os.environ.get("HP_STATUS", 0)))
"""


@dataclass(frozen=True)
class Site:
    """The state of the agent, and commits that have the script."""

    state: Path
    commits: list[str]

    def environment(self, **rules: object) -> dict[str, str]:
        """The variables of the agent and of commands, with other rules of retention."""
        variables = BOUNDS | {f"RETENTION__{name}": str(value) for name, value in rules.items()}
        variables["STATE_DIRECTORY"] = str(self.state)
        return {f"ML_AGENT_{name}": value for name, value in variables.items()}

    def prune(self, says: str = "", **rules: object) -> tuple[list[dict[str, Any]], str]:
        """What `ml-agent prune` removes, and its stderr. `says`: what timedatectl says in its place."""
        with _timedatectl(says) as path:
            environment = os.environ | self.environment(**rules) | {"PATH": path}
            done = run("ml-agent", "prune", "--json", env=environment)
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout)["removed"]), done.stderr

    def ask(self, query: str, *values: object) -> list[Any]:
        """Rows of the agent's database, which this changes too."""
        with contextlib.closing(sqlite3.connect(self.state / "jobs.db", timeout=10)) as database, database:
            return database.execute(query, values).fetchall()

    def jobs_of(self, user: Client) -> set[str]:
        """The ids of a user's jobs on record."""
        return {job_id for (job_id,) in self.ask("SELECT id FROM jobs WHERE owner = ?", user.user)}

    def has_files(self, job_id: str) -> bool:
        """Whether a job's artifacts are there."""
        return (self.state / "jobs" / job_id / "attempts/1/artifacts/model").exists()

    def has_unit(self, job_id: str) -> bool:
        """Whether systemd still has the job's unit file."""
        return (load().runtime_directory / f"systemd/user/ml-job@{job_id}.service").exists()

    def submit(self, user: Client, commit: int = 0, **values: Any) -> tuple[int, dict[str, Any]]:
        """The answer to a submission of the script."""
        parameters = {name: str(value) for name, value in values.items() if name != "limits"}
        body = {"script_name": "share.py", "ref": self.commits[commit], "hyperparameters": parameters}
        body["limits"] = {"grace_seconds": 1, **values.get("limits", {})}
        return user.call("/jobs", "--json", json.dumps(body))

    def result(self, user: Client, **values: Any) -> dict[str, Any]:
        """A job of the script that has ended, and whose log is kept."""
        status, job = self.submit(user, **values)
        assert status == 202, job
        ended = user.wait(job["job_id"], *ENDED)
        unarchived = "SELECT 1 FROM unarchived WHERE job_id = ?"
        wait_for(lambda: not self.ask(unarchived, job["job_id"]), "the log to be kept")
        return ended


@contextlib.contextmanager
def _timedatectl(says: str) -> Iterator[str]:
    """The value of PATH, with a timedatectl of one's own if it is to say something."""
    if not says:
        yield os.environ["PATH"]
        return
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "timedatectl")
        program.write_text(f"#!/bin/sh\necho {says}\n")
        program.chmod(0o755)
        yield f"{directory}:{os.environ['PATH']}"


@contextlib.contextmanager
def agent_with(variables: dict[str, str]) -> Iterator[None]:
    """The installed agent with these variables, from a start of its own on."""
    assignments = [f"{name}={value}" for name, value in variables.items()]
    run("systemctl", "--user", "set-environment", *assignments)
    try:
        run("systemctl", "--user", "restart", "ml-agent.service")
        yield
    finally:
        run("systemctl", "--user", "unset-environment", *variables)
        run("systemctl", "--user", "restart", "ml-agent.service")


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """A state without jobs within the installed one, with its certificates; and commits of the script."""
    installed, token = load(), secrets.token_hex(4)
    state = installed.state_directory / f"shares-{token}"
    state.mkdir(mode=0o700)
    branch = f"refs/heads/test/shares-{token}"
    try:
        shutil.copytree(installed.pki_directory, state / "pki")
        source, copy = (sqlite3.connect(path) for path in (installed.database, state / "jobs.db"))
        with contextlib.closing(source), contextlib.closing(copy):
            source.backup(copy)
            for table in ("jobs", "leaving", "age_clock", "audit_days"):
                copy.execute(f"DELETE FROM {table}")
            copy.commit()
        yield Site(state, _commits(branch))
    finally:
        _git("update-ref", "-d", branch)
        # Snapshots are read-only.
        run("chmod", "--recursive", "u+rwX", str(state))
        shutil.rmtree(state)


def _git(*arguments: str, text: str = "") -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    command = ["git", "-C", str(load().scripts.repository), *identity, *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.strip()


def _commits(branch: str) -> list[str]:
    """Four commits of the script, each with a megabyte of data."""
    commits: list[str] = []
    for number in range(4):
        script = _git("hash-object", "-w", "--stdin", text=SCRIPT)
        data = _git("hash-object", "-w", "--stdin", text=str(number) * 10**6)
        entries = f"100644 blob {data}\tdata.txt\n100644 blob {script}\tshare.py\n"
        tree = _git("mktree", text=f"040000 tree {_git('mktree', text=entries)}\tscripts\n")
        parents = [word for commit in commits[-1:] for word in ("-p", commit)]
        commits.append(_git("commit-tree", tree, *parents, "-m", "Shares"))
    _git("update-ref", branch, commits[-1])
    return commits
