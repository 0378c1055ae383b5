"""The auditor: holds what clients were told to the record, systemd's marks and the journal, read directly.

Nothing here asks the agent or uses its code: SQLite by file, marks by path, the journal by journalctl(1).
"""

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from tests.support.waiting import run

from .client import Told

UNIT_STARTED = "39f53479d3a045ac8e11786248231fbf"  # systemd's SD_MESSAGE_UNIT_STARTED
TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
PROMISES = (1, 2, 3, 4, 5)

# How many lines each script prints after its nonce, and how it ends where that is not well.
PRINTS = {"short.py": 20, "fail.py": 5, "steady.py": 20, "long.py": 600, "greedy.py": 5}
PRINTS |= {"quarter.py": 0, "half.py": 0}
ENDS = {"fail.py": ("FAILED", "exit-code"), "greedy.py": ("FAILED", "oom-kill")}
PRINTS["late.py"], ENDS["late.py"] = 0, ENDS["fail.py"]


@dataclass
class Verdict:
    """Violations, as sentences, by the number of the promise."""

    jobs: int = 0
    violations: dict[int, list[str]] = field(default_factory=lambda: {number: [] for number in PROMISES})

    def violated(self, promise: int, sentence: str) -> None:
        """Notes one."""
        self.violations[promise].append(sentence)

    def add(self, other: "Verdict") -> None:
        """Counts another's jobs and violations too."""
        self.jobs += other.jobs
        for number, sentences in other.violations.items():
            self.violations[number] += sentences


@dataclass
class Seen:
    """What the journal has of one unit."""

    starts: int = 0
    invocations: set[str] = field(default_factory=set)


@dataclass
class Left:
    """What an attempt left behind: the lines of its nonce file and of its exit record."""

    nonces: list[str]
    ended: list[str]


async def audit(
    state: Path,
    clients: Iterable[Told],
    *,
    lossy: bool = False,
    interrupted: bool = False,
    since: str = "-1h",
) -> Verdict:
    """Holds every job that a client was told of to promises 1-5.

    `lossy`: journald itself was made to lose lines, which must then be a gap. `interrupted`: the host went
    down, so a job may be FAILED with that reason. `since` is journalctl's.
    """
    verdict = Verdict()
    rows, keys = read_record(state)
    accepted = examine_chain(verdict, read_chain(state))
    examine_ledger(verdict, read_ledger(state))
    journal = await read_journal(since)
    for told in clients:
        verdict.jobs += 1
        job = rows.get(told.job_id)
        if job is None:
            verdict.violated(1, f"{told.job_id or told.key}: accepted, and not in the record")
            continue
        if told.job_id not in accepted:
            verdict.violated(1, f"{told.job_id}: accepted, and nobody is recorded as who asked for it")
        if told.other_ids or keys[told.user, told.key] != [told.job_id]:
            verdict.violated(1, f"{told.job_id}: its key has led to other jobs, {told.other_ids}")
        attempts = state / "jobs" / told.job_id / "attempts"
        examine(
            verdict,
            told,
            job,
            left=read_left(attempts),
            seen=journal[f"ml-job@{told.job_id}.service"],
            lossy=lossy,
            interrupted=interrupted,
        )
    return verdict


def examine(
    verdict: Verdict,
    told: Told,
    job: dict[str, Any],
    *,
    left: list[Left],
    seen: Seen,
    lossy: bool = False,
    interrupted: bool = False,
) -> None:
    """Holds one recorded job to the promises; `left` is what each of its attempts did."""
    _end(verdict, told, job, interrupted=interrupted)
    _once(verdict, told, job, left, seen)
    _outcome(verdict, told, job, left)
    _log(verdict, told, job, left, lossy=lossy)


def examine_chain(verdict: Verdict, rows: list[tuple[int, str, str]]) -> set[str]:
    """The jobs whose acceptance the agent's own audit has; its rows must follow from each other."""
    before, accepted = "0" * 64, set()
    for number, (seq, entry, found) in enumerate(rows, start=1):
        sealed = hashlib.sha256(f"{number}\n{before}\n{entry}".encode()).hexdigest()
        if (seq, found) != (number, sealed):
            verdict.violated(1, f"row {seq} of the audit does not follow from the one before it")
            break
        before, said = found, json.loads(entry)
        if said["action"] in ("submitJob", "rerunJob") and said["result"] == "done":
            accepted.add(str(said["subject"]))
    return accepted


def examine_ledger(verdict: Verdict, owners: list[tuple[str, int, int]]) -> None:
    """The ledger has each attempt that is on record, once."""
    for owner, recorded, entered in owners:
        if recorded != entered:
            verdict.violated(3, f"{owner}: {recorded} attempts on record, {entered} in the ledger")


def _end(verdict: Verdict, told: Told, job: dict[str, Any], *, interrupted: bool) -> None:
    """An accepted job ends (1), as its script says, whatever happened to the agent (5)."""
    if job["status"] not in TERMINAL:
        verdict.violated(1, f"{told.job_id}: has not ended, it is {job['status']}")
        return
    if told.ended and any(told.ended.get(name) != job.get(name) for name in ("status", "reason", "revision")):
        verdict.violated(3, f"{told.job_id}: told as {told.ended['status']}, recorded as {job['status']}")
    if interrupted and job.get("reason") == "interrupted":
        return
    expected: list[tuple[str, str | None]] = [ENDS.get(told.script, ("COMPLETED", None))]
    if told.cancelled:
        expected.append(("CANCELLED", "cancelled"))
    if told.stopped:
        expected = [("CANCELLED", "stopped")]
    if (job["status"], job.get("reason")) not in expected:
        verdict.violated(5, f"{told.job_id}: {job['status']} {job.get('reason')}: {job.get('message')}")


def _once(verdict: Verdict, told: Told, job: dict[str, Any], left: list[Left], seen: Seen) -> None:
    """One invocation an attempt at the most, and no more attempts than were asked for.

    By the job's own word, by the journal's, and by the record's.
    """
    attempts = len(left)
    most = max(len(each.nonces) for each in left)
    if most > 1 or attempts > told.attempts or max(seen.starts, len(seen.invocations)) > attempts:
        verdict.violated(
            2,
            f"{told.job_id}: {attempts} attempts of {told.attempts}, {most} nonces in one,"
            f" {seen.starts} starts, {len(seen.invocations)} invocations",
        )
    recorded = {each["invocation_id"] for each in job["attempts"] if "invocation_id" in each}
    unknown = len(job["attempts"]) - len(recorded)
    if job["status"] in TERMINAL and len(seen.invocations - recorded) > unknown:
        verdict.violated(3, f"{told.job_id}: the journal has an invocation that the record does not")


def _outcome(verdict: Verdict, told: Told, job: dict[str, Any], left: list[Left]) -> None:
    """A terminal state, and each attempt's end, is what systemd's own exit record says."""
    for attempt in job["attempts"]:
        name = f"{told.job_id}, attempt {attempt['number']}"
        done = left[attempt["number"] - 1] if attempt["number"] <= len(left) else Left([], [])
        words = done.ended[0].split() if done.ended else []
        # Where conmon or Podman failed, the fifth word is the script's status; ? if nobody knows it.
        success = words[:3] == ["success", "exited", "0"] or words[4:] == ["0"]
        own = words[4:] or words[2:3]
        reason, status = attempt.get("reason"), attempt.get("exit_status")
        if reason is None and not (success and len(done.nonces) == 1):
            verdict.violated(3, f"{name}: completed with the record {words} and {len(done.nonces)} nonces")
        if reason == "exit-code" and (words[1:2] != ["exited"] or own != [str(status)]):
            verdict.violated(3, f"{name}: exit status {status}, exit record {words}")
        if reason == "oom-kill" and words[:1] != ["oom-kill"]:
            verdict.violated(3, f"{name}: oom-kill, exit record {words}")
        if words and attempt.get("invocation_id") != words[3]:
            verdict.violated(3, f"{name}: invocation {attempt.get('invocation_id')}, exit record {words[3]}")
        if reason == "interrupted" and success:
            verdict.violated(3, f"{name}: interrupted, although it succeeded")
    last = job["attempts"][-1] if job["attempts"] else {"reason": "never begun"}
    if job["status"] == "COMPLETED" and last.get("reason") is not None:
        verdict.violated(3, f"{told.job_id}: COMPLETED, although its last attempt is {last}")


def _log(verdict: Verdict, told: Told, job: dict[str, Any], left: list[Left], *, lossy: bool) -> None:
    """Followers and readers get every line, once, in order, or are told that some are missing."""
    by_attempt = [
        [f"nonce {each.nonces[0]}", *map(str, range(1, PRINTS[told.script] + 1))] if each.nonces else []
        for each in left
    ]
    printed = list(chain.from_iterable(by_attempt))
    # An attempt that was ended from outside has printed the first so many of its lines.
    ends = [*(each.get("reason") for each in job["attempts"])] or [job.get("reason")]
    whole = all(reason in (None, "exit-code") for reason in ends)
    if told.followed:
        numbers = [number for number, _ in told.lines]
        if any(after <= before for before, after in pairwise(numbers)):
            verdict.violated(4, f"{told.job_id}: its follower got numbers out of order or twice")
        texts = [text for _, text in told.lines]
        if not _is_log(texts, printed, whole=whole and not (lossy and told.gaps)):
            verdict.violated(4, f"{told.job_id}: its follower got {_difference(texts, printed)}")
    if told.text is None:
        return
    texts = told.text.splitlines()
    if not _is_log(texts, printed, whole=whole and not lossy):
        verdict.violated(4, f"{told.job_id}: its log is {_difference(texts, printed)}")
    if job["status"] == "COMPLETED" and not lossy and texts[-len(by_attempt[-1]) :] != by_attempt[-1]:
        verdict.violated(4, f"{told.job_id}: its last attempt's log is {_difference(texts, by_attempt[-1])}")


def _is_log(texts: list[str], printed: list[str], *, whole: bool) -> bool:
    if whole:
        return texts == printed
    # Of a job that was ended from outside, the first so many; of one with a gap, what is left, in order.
    rest = iter(printed)
    return all(text in rest for text in texts if text in printed) and not Counter(texts) - Counter(printed)


def _difference(texts: list[str], printed: list[str]) -> str:
    missing, surplus = Counter(printed) - Counter(texts), Counter(texts) - Counter(printed)
    return f"{len(texts)} lines; missing {list(missing)[:5]}, too many {list(surplus)[:5]}"


def read_record(state: Path) -> tuple[dict[str, dict[str, Any]], dict[tuple[str, str], list[str]]]:
    """Jobs by id, and the ids of each owner's idempotency key."""
    keys: dict[tuple[str, str], list[str]] = defaultdict(list)
    with closing(sqlite3.connect(f"file:{state}/jobs.db?mode=ro", uri=True, timeout=30)) as database:
        rows = {job_id: json.loads(document) for job_id, document in database.execute(
            "SELECT id, document FROM jobs"
        )}  # fmt: skip
        for owner, key, job_id in database.execute("SELECT owner, key, job_id FROM idempotency_keys"):
            keys[owner, key].append(job_id)
    return rows, keys


def read_chain(state: Path) -> list[tuple[int, str, str]]:
    """The rows of the agent's audit: number, text and hash."""
    with closing(sqlite3.connect(f"file:{state}/jobs.db?mode=ro", uri=True, timeout=30)) as database:
        return database.execute("SELECT seq, entry, hash FROM audit ORDER BY seq").fetchall()


def read_ledger(state: Path) -> list[tuple[str, int, int]]:
    """How many attempts each owner has on record and in the ledger, at one moment. No fault removes a job."""
    with closing(sqlite3.connect(f"file:{state}/jobs.db?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(
            "SELECT owner, sum(recorded), sum(entered) FROM (SELECT owner,"
            " coalesce(json_array_length(document, '$.attempts'), 0) AS recorded, 0 AS entered FROM jobs"
            " UNION ALL SELECT n.owner, 0, u.attempts FROM usage u JOIN usage_names n ON n.id = u.name_id"
            " WHERE n.kind = 'script') GROUP BY owner"
        ).fetchall()


async def read_journal(since: str) -> dict[str, Seen]:
    """What the user manager has started, by unit."""
    output = await run(
        *("journalctl", "--user", "--quiet", "--no-pager", "--output=json", f"--since={since}"),
        *("--output-fields=USER_UNIT,USER_INVOCATION_ID", f"MESSAGE_ID={UNIT_STARTED}"),
    )
    units: dict[str, Seen] = defaultdict(Seen)
    for line in output.splitlines():
        entry = json.loads(line)
        seen = units[entry.get("USER_UNIT", "")]
        seen.starts += 1
        seen.invocations.add(entry.get("USER_INVOCATION_ID", ""))
    return units


def read_left(attempts: Path) -> list[Left]:
    """What each attempt of a job left in its folder; of a job that has none, an attempt that left nothing."""
    numbers = range(1, max(1, len(list(attempts.glob("*")))) + 1)
    return [
        Left(_lines(attempts / f"{each}/artifacts/nonce"), _lines(attempts / f"{each}/ended"))
        for each in numbers
    ]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
