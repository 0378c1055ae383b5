"""What one user can take from another, and from the disk: attacks on each share of the installed agent.

    python -m tests.security.shares

Runs as the service account. The agent gets a state directory of its own and small bounds; alice attacks, bob
has a few results. Prints a table; exit status 1 where a share did not hold.
"""

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.conftest import Client, run, wait_for

from .shares_site import ENDED, RECORD_BYTES, Site, agent_with, site

YEAR = 365 * 24 * 3600


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


ALICE, BOB = Client("alice"), Client("bob")


def change(user: Client, path: str, method: str = "POST") -> tuple[int, Any]:
    """The answer to a call that changes something and has nothing to say."""
    return user.call(path, "--json", "{}", "--request", method)


def cancel(user: Client, job_id: str) -> None:
    """Cancels a job."""
    status, answer = change(user, f"/jobs/{job_id}/cancel")
    assert status == 202, answer


def waiting_jobs(where: Site, report: Report, bobs: list[str]) -> None:
    """Alice fills her places, and cancels a hundred jobs that wait."""
    sleepers = [where.submit(ALICE, sleep=600)[1]["job_id"] for _ in range(2)]
    for job_id in sleepers:
        ALICE.wait(job_id, "RUNNING")
    for _ in range(100):
        cancel(ALICE, where.submit(ALICE)[1]["job_id"])
    for job_id in sleepers:
        cancel(ALICE, job_id)
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
    pins = [change(ALICE, f"/jobs/{job_id}/pin", "PUT") for job_id in large]
    bobs_pin = change(BOB, f"/jobs/{bobs[0]}/pin", "PUT")[0]
    seen = f"{pins[0][0]}, then {pins[1][0]}: {pins[1][1].get('detail')}; bob's: {bobs_pin}"
    held = [status for status, _ in pins] == [200, 409] and bobs_pin == 200
    report.add(
        "pins of 16 MB, of which a user may have 10", seen, "the second is refused with 409", held=held
    )
    change(ALICE, f"/jobs/{large[0]}/pin", "DELETE")
    change(BOB, f"/jobs/{bobs[0]}/pin", "DELETE")
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
        cancel(ALICE, job["job_id"])
        ALICE.wait(job["job_id"], *ENDED)
    BOB.wait(bobs[1]["job_id"], *ENDED)


def records(where: Site, report: Report, bobs: list[str]) -> None:
    """Alice submits and cancels jobs with the largest hyperparameters that there are."""
    large: dict[str, Any] = {f"pad{number}": "x" * 4000 for number in range(8)}
    count, status, answer = 0, 202, dict[str, Any]()
    while status == 202 and count < 200:
        status, answer = where.submit(ALICE, sleep=600, **large)
        if status == 202:
            cancel(ALICE, answer["job_id"])
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
