"""What one user can take from another, and from the disk: attacks on each share of the installed agent.

    python -m tests.security.shares

Runs as the service account. The agent gets a state directory of its own and small bounds; alice attacks, bob
has a few results. Prints a table; exit status 1 where a share did not hold.
"""

import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.config_files import load
from tests.integration.conftest import Client, run, wait_for

ENDED = ("COMPLETED", "FAILED", "CANCELLED")
YEAR = 365 * 24 * 3600
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


@dataclass
class Report:
    """The rows of the table: what was tried, what was seen, what is right, and whether it is."""

    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def add(self, attack: str, seen: str, right: str, *, held: bool) -> None:
        """Adds a row, and prints it."""
        self.rows.append((attack, seen, right, held))
        print(
            f"{'ok' if held else 'NOT HELD':<9}{attack}\n{'':9}seen: {seen}\n{'':9}right: {right}", flush=True
        )

    def status(self) -> int:
        """The exit status."""
        broken = [attack for attack, _, _, held in self.rows if not held]
        print(f"{len(self.rows)} attacks on shares, {len(broken)} got through")
        return 1 if broken or not self.rows else 0


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

    def submit(self, user: Client, commit: int = 0, **values: object) -> tuple[int, dict[str, Any]]:
        """The answer to a submission of the script."""
        parameters = {name: str(value) for name, value in values.items() if name != "limits"}
        body = {"script_name": "share.py", "ref": self.commits[commit], "hyperparameters": parameters}
        body |= {"limits": values["limits"]} if "limits" in values else {}
        return user.call("/jobs", "--json", json.dumps(body))

    def result(self, user: Client, **values: object) -> dict[str, Any]:
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


ALICE, BOB = Client("alice"), Client("bob")


def waiting_jobs(where: Site, report: Report, bobs: list[str]) -> None:
    """Alice fills her places, and cancels a hundred jobs that wait."""
    sleepers = [where.submit(ALICE, sleep=600)[1]["job_id"] for _ in range(2)]
    for job_id in sleepers:
        ALICE.wait(job_id, "RUNNING")
    for _ in range(100):
        ALICE.call(f"/jobs/{where.submit(ALICE)[1]['job_id']}/cancel", "--request", "POST")
    for job_id in sleepers:
        ALICE.call(f"/jobs/{job_id}/cancel", "--request", "POST")
        ALICE.wait(job_id, *ENDED)
    wait_for(lambda: not where.ask("SELECT 1 FROM unarchived"), "logs to be kept")
    where.prune(MAX_JOBS=20)
    left, mine = where.jobs_of(BOB) | where.jobs_of(ALICE), where.jobs_of(ALICE)
    held = set(bobs) <= left and set(sleepers) <= mine and len(left) <= 20
    seen = f"bob keeps {len(where.jobs_of(BOB))} of {len(bobs)} jobs, alice {len(mine)}, with those that ran"
    report.add("100 jobs cancelled while they waited, 20 records kept", seen, "all of bob's stay", held=held)


def units(where: Site, report: Report, bobs: list[str]) -> None:
    """Alice has many jobs fail."""
    made = [where.result(ALICE, status=3)["job_id"] for _ in range(8)]
    where.prune(MAX_UNITS=8)
    kept = [job_id for job_id in bobs if where.has_unit(job_id)]
    mine = [job_id for job_id in made if where.has_unit(job_id)]
    seen = f"bob keeps {len(kept)} of {len(bobs)} units, alice {len(mine)} of {len(made)}"
    held = kept == bobs and mine == made[-len(mine) :] and len(mine) < len(made)
    report.add("8 jobs that fail, 8 units kept", seen, "all of bob's stay, of alice's the newest", held=held)


def artifacts(where: Site, report: Report, bobs: list[str]) -> None:
    """Alice leaves large artifacts, then many small ones, and pins what she can."""
    large = [where.result(ALICE, bytes=8 * 10**6)["job_id"] for _ in range(2)]
    pins = [ALICE.call(f"/jobs/{job_id}/pin", "--request", "PUT") for job_id in large]
    bobs_pin = BOB.call(f"/jobs/{bobs[0]}/pin", "--request", "PUT")[0]
    seen = f"{pins[0][0]}, then {pins[1][0]}: {pins[1][1].get('detail')}; bob's: {bobs_pin}"
    held = [status for status, _ in pins] == [200, 409] and bobs_pin == 200
    report.add(
        "pins of 16 MB, of which a user may have 10", seen, "the second is refused with 409", held=held
    )
    ALICE.call(f"/jobs/{large[0]}/pin", "--request", "DELETE")
    BOB.call(f"/jobs/{bobs[0]}/pin", "--request", "DELETE")
    where.prune(MAX_BYTES=10**7)
    _compare(where, report, bobs, large, "artifacts of 16 MB, of which 10 are kept")
    many = [where.result(ALICE, files=2000)["job_id"] for _ in range(2)]
    where.prune(MAX_FILES=3000)
    _compare(where, report, bobs, many, "4,000 artifacts, of which 3,000 are kept")


def _compare(where: Site, report: Report, bobs: list[str], made: list[str], attack: str) -> None:
    kept, mine = (list(filter(where.has_files, each)) for each in (bobs, made))
    seen = f"bob keeps {len(kept)} of {len(bobs)}, alice {len(mine)} of {len(made)}"
    held = kept == bobs and mine == made[1:]
    report.add(attack, seen, "all of bob's stay, alice's oldest goes", held=held)


def quota(where: Site, report: Report) -> None:
    """A job makes 90,000 empty files within seconds."""
    began = time.monotonic()
    job = where.result(ALICE, files=90_000)
    left = sum(len(names) for _, _, names in os.walk(where.state / "jobs" / job["job_id"]))
    seen = f"{job['reason']} after {time.monotonic() - began:.0f} s, {left} files are left"
    held = job["reason"] == "artifact-quota" and left < 10_100
    report.add("90,000 empty files, with a quota of 10,000", seen, "the rest is deleted", held=held)


def snapshots(where: Site, report: Report) -> None:
    """Alice has jobs wait at many commits."""
    answers = [where.submit(ALICE, commit=number, sleep=600) for number in (1, 2, 3)]
    refused = answers[2][1]
    written = (where.state / "snapshots" / where.commits[3]).exists()
    seen = f"{[status for status, _ in answers]}: {refused.get('errors')}; written: {written}"
    bobs = where.submit(BOB, commit=3)
    held = [status for status, _ in answers] == [202, 202, 429] and not written and bobs[0] == 202
    held = held and [each["field"] for each in refused["errors"]] == ["ref"]
    report.add("jobs at 3 commits of 1 MB, of 2.5 MB for each user", seen, "the third is refused", held=held)
    for _, job in answers[:2]:
        ALICE.call(f"/jobs/{job['job_id']}/cancel", "--request", "POST")
        ALICE.wait(job["job_id"], *ENDED)
    BOB.wait(bobs[1]["job_id"], *ENDED)


def records(where: Site, report: Report, bobs: list[str]) -> None:
    """Alice submits and cancels jobs with the largest hyperparameters that there are."""
    large = {f"pad{number}": "x" * 4000 for number in range(8)}
    count, status, answer = 0, 202, dict[str, Any]()
    while status == 202 and count < 200:
        status, answer = where.submit(ALICE, sleep=600, **large)
        if status == 202:
            ALICE.call(f"/jobs/{answer['job_id']}/cancel", "--request", "POST")
        count += 1
    (size,) = where.ask("SELECT sum(record_bytes) FROM holdings WHERE owner = 'alice'")[0]
    seen = f"{status} {answer.get('detail', '')} after {count}; bob's job: {where.submit(BOB)[0]}"
    held = status == 429 and size < 2 * RECORD_BYTES + 50_000 and seen.endswith("202")
    report.add("records without end, of 1 MiB for all", seen, "refused at twice as much", held=held)
    wait_for(lambda: not where.ask("SELECT 1 FROM unarchived"), "logs to be kept")
    where.prune()
    again, left = where.submit(ALICE)[0], where.jobs_of(BOB)
    seen = f"alice: {again}; bob keeps {len(left & set(bobs))} of {len(bobs)} jobs"
    held = again == 202 and set(bobs) <= left
    report.add("the same after `ml-agent prune`", seen, "she can submit again, bob's stay", held=held)


def audit(where: Site, report: Report, bobs: list[str]) -> None:
    """Alice has filled her part of the audit, and is refused again and again."""

    def rows() -> int:
        return int(where.ask("SELECT max(seq) FROM audit")[0][0])

    before = rows()
    answers = [ALICE.call(f"/jobs/{bobs[0]}")[0] for _ in range(200)]
    added = rows() - before
    report.add(
        "200 looks at a job of bob's",
        f"{set(answers)}, {added} rows of the audit",
        "404, some 20 rows",
        held=set(answers) == {404} and 0 < added < 30,
    )
    where.submit(ALICE)
    where.ask("UPDATE audit_days SET bytes = 1 << 40 WHERE actor = 'alice'")
    before, jobs = rows(), len(where.jobs_of(ALICE))
    status, answer = where.submit(ALICE)
    bobs_status = where.submit(BOB)[0]
    unrecorded = len(where.jobs_of(ALICE)) - jobs
    seen = (
        f"{status} {answer.get('detail', '')}; {unrecorded} jobs, {rows() - before} rows; bob: {bobs_status}"
    )
    held = (status, bobs_status, unrecorded, rows() - before) == (429, 202, 0, 1)
    report.add("a deed beyond the day's part of the audit", seen, "refused, not done; bob's is", held=held)
    where.ask("UPDATE audit_days SET bytes = 0")


def clock(where: Site, report: Report, bobs: list[str]) -> None:
    """The clock jumps ahead by a year, while no time server is there; then the host was off for that year."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    (confirmed,) = where.ask("SELECT confirmed_boot FROM age_clock")[0]
    says = run("timedatectl", "show", "--property=NTPSynchronized", "--value").stdout.strip()
    where.ask("UPDATE jobs SET ages_from = ages_from - ?", YEAR)
    where.ask(
        "UPDATE age_clock SET seconds = seconds - ?1, confirmed_wall = confirmed_wall - ?1,"
        " confirmed_seconds = confirmed_seconds - ?1",
        YEAR,
    )
    for answer in ("no", "yes"):
        removed, told = where.prune(answer)
        held = (
            removed == [] and all(map(where.has_files, bobs)) and ("365.0 days" in told) == (answer == "no")
        )
        seen = f"{len(removed)} things removed; {told.strip() or 'nothing'} told"
        what = f"the clock jumps ahead by a year; synchronised: {answer}"
        report.add(what, seen, "nothing is removed; without a time server, that is told", held=held)
    where.ask("UPDATE age_clock SET confirmed_wall = confirmed_wall - ?", YEAR)
    where.ask("UPDATE age_clock SET confirmed_boot = 'another', boot_id = 'another'")
    removed, _ = where.prune("no")
    later, _ = where.prune("yes")
    seen = f"{len(removed)} things removed, and {len(later)} once the clock was synchronised"
    held = removed == [] and set(bobs) <= {one.get("job_id") for one in later}
    report.add("the host was off for a year", seen, "0, and then all that is too old", held=held)
    seen = (
        f"timedatectl says {says or 'nothing'}, the agent has {'' if confirmed == boot else 'not '}taken it"
    )
    held = (confirmed == boot) == (says == "yes")
    report.add("the agent asks from within its sandbox", seen, "it takes what timedatectl says", held=held)


def inodes(where: Site, report: Report) -> None:
    """A job below its quota makes so many files that the file system runs short of them."""
    free = os.statvfs(where.state).f_favail
    if not os.statvfs(where.state).f_files:
        print("this file system has no fixed number of inodes")
        return
    floor = {"ML_AGENT_JOBS__MIN_FREE_INODES": str(free - 40_000)}
    floor["ML_AGENT_JOBS__MAXIMUM_LIMITS"] = json.dumps({"artifact_files": 200_000})
    with agent_with(where.environment() | floor):
        _, bobs = where.submit(BOB, sleep=20)
        BOB.wait(bobs["job_id"], "RUNNING")
        job = where.result(ALICE, files=150_000, sleep=60, limits={"artifact_files": 200_000})
        bobs = BOB.wait(bobs["job_id"], *ENDED)
        seen = f"{job['reason']}: {job['message']} bob's: {bobs['status']}"
        held = job["reason"] == "storage-full" and "files" in job["message"] and bobs["status"] == "COMPLETED"
        report.add("150,000 files, 40,000 inodes above the floor", seen, "the job is ended", held=held)


def attack(report: Report) -> None:
    """Every attack in turn."""
    with site() as where:
        with agent_with(where.environment()):
            bobs = [where.result(BOB, bytes=300_000, status=3)["job_id"] for _ in range(3)]
            waiting_jobs(where, report, bobs)
            units(where, report, bobs)
            artifacts(where, report, bobs)
            quota(where, report)
            snapshots(where, report)
            records(where, report, bobs)
            audit(where, report, bobs)
            clock(where, report, bobs)
        inodes(where, report)


def main() -> int:
    """The exit status."""
    report = Report()
    attack(report)
    return report.status()


if __name__ == "__main__":
    sys.exit(main())
