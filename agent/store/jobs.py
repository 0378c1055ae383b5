"""Jobs, their idempotency keys, and what each user has had of the host."""

import sqlite3
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from sqlite3 import Connection

from ..audit.chain import Deed
from ..errors import AgentError, Problem, key_reused
from ..model.base import ID_PREFIX_LENGTH, format_time
from ..model.comparison import Consumption, MetricSummary
from ..model.host import Use
from ..model.job import Job, JobPage, JobState, to_json
from . import audit, schedules, sweeps, usage
from .database import Tables, fitting, quick_read, transaction
from .drains import check_open
from .pins import check_pins
from .shares import with_readers
from .summaries import record_archived

_UNMET = (
    "FROM needs n LEFT JOIN jobs j ON j.id = n.needed"
    " WHERE (j.id IS NULL OR NOT j.active AND j.status != 'COMPLETED')"
)
NOTHING_KNOWN: Mapping[int, Consumption] = {}
SHORT_PAGE = 50  # jobs of a first page that is read on the event loop's thread


class IdTaken(Exception):
    """Another job has this id, or one with the same first eight characters."""


@dataclass(frozen=True)
class Given:
    """A fleet's wish that a job has this id; `key` and `not_after` are as in `model.fleet`."""

    job_id: str
    key: str
    not_after: float


class JobStore(Tables):
    """Reads and writes jobs; `Job` documents are stored as JSON."""

    @transaction
    def add(
        self,
        db: Connection,
        job: Job,
        *,
        idempotency_key: str | None = None,
        fingerprint: str = "",
        max_waiting: int,
        max_record_bytes: int = sys.maxsize,
        deed: Deed | None = None,
        given: Given | None = None,
    ) -> Job:
        """Commits a new job and `deed`, or returns the earlier job of the same owner, key and fingerprint.

        Raises `AgentError`: idempotency-mismatch where the key was used for another body, and what
        `check_share` raises; for a job that is `given`, also job-id-taken and deadline-passed; for a trial,
        what `sweeps.add_trial` raises; for one of a schedule, what `schedules.submitted` raises.
        Raises `IdTaken` where the id, or its first eight characters, are in use.
        """
        db.execute("BEGIN IMMEDIATE")
        if given is not None and (known := _given(db, given, fingerprint)):
            return known
        if idempotency_key is not None:
            earlier = _by_key(db, job.owner, idempotency_key, fingerprint)
            if earlier is not None:
                return earlier
        _check_share(db, job.owner, max_waiting, max_record_bytes)
        insert(db, job)
        if job.sweep is not None:
            sweeps.add_trial(db, job)
        db.executemany("INSERT INTO needs VALUES (?, ?)", [(job.job_id, each) for each in _needed_by(job)])
        if job.schedule is not None:
            schedules.submitted(db, job)
        if idempotency_key is not None:
            db.execute(
                "INSERT INTO idempotency_keys VALUES (?, ?, ?, ?)",
                (job.owner, idempotency_key, fingerprint, job.job_id),
            )
        audit.append_row(db, deed)
        if given is not None:
            db.execute(
                "INSERT INTO given_jobs SELECT ?, ?, ?, 0, coalesce(max(number), 0) + 1 FROM given_jobs",
                (given.job_id, given.key, fingerprint),
            )
            # Last: whatever may have taken long is over.
            late = time.clock_gettime(time.CLOCK_BOOTTIME) - given.not_after
            if late > 0:
                raise AgentError(
                    Problem.DEADLINE_PASSED,
                    f"Job {given.job_id} came {late:.1f} s too late.",
                    "Confirm the claim in the fleet's record, and submit the job again.",
                )
        return job

    @quick_read
    def check_share(self, db: Connection, owner: str, *, max_waiting: int, max_record_bytes: int) -> None:
        """Raises `AgentError` (too-many-jobs) where an owner may not add a job.

        That is with `max_waiting` jobs PENDING, or where the records of all the owner's jobs have
        `max_record_bytes`.
        """
        _check_share(db, owner, max_waiting, max_record_bytes)

    @quick_read
    def given(self, db: Connection, given: Given, fingerprint: str) -> Job | None:
        """The job that the fleet gave with this id and key, or None. Raises what `add` raises for its id."""
        return _given(db, given, fingerprint)

    @transaction
    def tell(self, db: Connection, job_ids: Iterable[str]) -> None:
        """The fleet has heard of the ends of these jobs: retention may remove them."""
        db.executemany(
            "UPDATE given_jobs SET told = 1 WHERE job_id = ?"
            " AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = job_id AND active)",
            [(job_id,) for job_id in job_ids],
        )

    @quick_read
    def by_key(self, db: Connection, owner: str, key: str, fingerprint: str) -> Job | None:
        """The job that the owner submitted with this key, or None.

        Raises `AgentError` (idempotency-mismatch) where its request had another fingerprint.
        """
        return _by_key(db, owner, key, fingerprint)

    @quick_read
    def get(self, db: Connection, job_id: str) -> Job | None:
        """The job as last committed, or None."""
        row = db.execute("SELECT document FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return Job.model_validate_json(row[0]) if row else None

    @quick_read
    def with_readers(self, db: Connection, job: Job) -> Job:
        """The job with those who may read it besides its owner."""
        return with_readers(db, job)

    @transaction
    def update(
        self,
        db: Connection,
        job: Job,
        *,
        manager: str | None = None,
        use: Use | None = None,
        deed: Deed | None = None,
        left: int | None = None,
        ends_by: datetime | None = None,
    ) -> bool:
        """Commits the next revision of a job that has not ended; False where another one came first.

        `manager` is the identity of the systemd manager that is asked to start the unit, `use` what the owner
        has had of the host including this job, `deed` the audit's row for the revision, `left` the bytes of
        the job's artifacts at its end. A job that starts has ended `ends_by` that time. Raises `AgentError`
        (draining) where a drain of the host begins before.
        """
        ended = job.status.terminal
        if ends_by is not None:
            db.execute("BEGIN IMMEDIATE")
            check_open(db, ends_by)
        cursor = db.execute(
            "UPDATE jobs SET status = ?, active = ?, manager = coalesce(?, manager), document = ?"
            " WHERE id = ? AND active AND json_extract(document, '$.revision') = ?",
            (job.status, not ended, manager, to_json(job), job.job_id, job.revision - 1),
        )
        if cursor.rowcount != 1:
            return False
        usage.enter_attempts(db, job, artifact_bytes=left)
        if ended:
            db.execute("INSERT OR IGNORE INTO unarchived (job_id) VALUES (?)", (job.job_id,))
            db.execute("DELETE FROM needs WHERE job_id = ?", (job.job_id,))
        if use is not None:
            values = (use.owner, use.seconds, format_time(use.at))
            db.execute("INSERT OR REPLACE INTO uses (owner, seconds, at) VALUES (?, ?, ?)", values)
        audit.append_row(db, deed)
        return True

    @transaction
    def uses(self, db: Connection) -> list[Use]:
        """What each user had of the host, as last committed."""
        rows = db.execute("SELECT owner, seconds, at FROM uses")
        return [Use(owner=owner, seconds=seconds, at=at) for owner, seconds, at in rows]

    @transaction
    def active(self, db: Connection) -> list[Job]:
        """Every job that has not ended, oldest first."""
        rows = db.execute("SELECT document FROM jobs WHERE active ORDER BY seq")
        return [Job.model_validate_json(document) for (document,) in rows]

    @transaction
    def with_unmet(self, db: Connection) -> list[str]:
        """The jobs that have not ended, and need one that is gone, or has ended without having COMPLETED."""
        return [job_id for (job_id,) in db.execute(f"SELECT DISTINCT n.job_id {_UNMET}")]

    @quick_read
    def unmet(self, db: Connection, job_id: str) -> list[tuple[str, str]]:
        """Those that this job needs, and the state of each: "" if it is gone."""
        query = f"SELECT n.needed, coalesce(j.status, '') {_UNMET} AND n.job_id = ?"
        return db.execute(query, (job_id,)).fetchall()

    @transaction
    def unarchived(self, db: Connection) -> list[Job]:
        """The jobs that have ended and whose log only the journal has, oldest first."""
        rows = db.execute(
            # CROSS JOIN keeps SQLite from going through the whole history, where these are few.
            "SELECT document FROM unarchived CROSS JOIN jobs ON id = job_id ORDER BY seq"
        )
        return [Job.model_validate_json(document) for (document,) in rows]

    @transaction
    def mark_archived(
        self,
        db: Connection,
        job_id: str,
        metrics: Mapping[str, MetricSummary] | None = None,
        used: Mapping[int, Consumption] = NOTHING_KNOWN,
    ) -> None:
        """Records that the job's log is in its directory, or that it has none, and what its attempts `used`.

        With `metrics`, it also records what the job reported.
        """
        record_archived(db, job_id, metrics, used)

    @transaction
    def pin(
        self,
        db: Connection,
        job_id: str,
        *,
        pinned: bool,
        limit: int,
        max_bytes: int = sys.maxsize,
        size: int | None = None,
        deed: Deed | None = None,
    ) -> Job | None:
        """Pins or unpins the job, whatever its state; None where there is no such job.

        `deed` is written only where that changes the job. `size` is what the job takes, in bytes, if it was
        not measured before; without it, the job counts with what it may have at most. Raises what
        `check_pins` raises.
        """
        db.execute("BEGIN IMMEDIATE")
        row = db.execute("SELECT document FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            return None
        job = Job.model_validate_json(row[0])
        if job.pinned == pinned:
            return job
        if pinned:
            db.execute("UPDATE jobs SET bytes = coalesce(bytes, ?) WHERE id = ?", (size, job_id))
            check_pins(db, job.owner, job_id=job_id, limit=limit, max_bytes=max_bytes)
        job = job.model_copy(update={"pinned": pinned, "revision": job.revision + 1})
        db.execute("UPDATE jobs SET document = ? WHERE id = ?", (to_json(job), job_id))
        audit.append_row(db, deed)
        return job

    @transaction
    def manager_of(self, db: Connection, job_id: str) -> str:
        """The identity of the systemd manager that was asked to start the job's unit, or ``""``."""
        row = db.execute("SELECT manager FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return str(row[0]) if row else ""

    async def page(
        self,
        *,
        owner: str | None = None,
        status: JobState | None = None,
        script: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> JobPage:
        """Jobs newest first: `limit` of them, or fewer where they are too large together.

        `cursor` is an earlier page's `next_cursor`, as the API has opened it: a number.
        """
        filters = {"owner": owner, "status": status, "script": script}
        chosen = {name: value for name, value in filters.items() if value is not None}
        work = partial(_page, filters=chosen, cursor=cursor, limit=limit)
        # One owner's jobs of a script are looked for among all; old jobs may have to come from the disk.
        short = script is None and cursor is None and limit <= SHORT_PAGE
        return await (self._database.read(work) if short else self._database.run(work))


def _needed_by(job: Job) -> set[str]:
    """The jobs that retention must leave alone until this one has ended."""
    needed = {*job.after, *(each.job_id for each in job.inputs.values())}
    # Where an artifact is gone, the copy that the earlier job had serves.
    return needed | ({job.rerun_of} if job.inputs and job.rerun_of else set())


def _check_share(db: Connection, owner: str, max_waiting: int, max_record_bytes: int) -> None:
    waiting, size = db.execute(
        "SELECT count(*), (SELECT total(record_bytes) FROM holdings WHERE owner = ?) FROM jobs"
        " WHERE owner = ? AND status = ?",
        (owner, owner, JobState.PENDING),
    ).fetchone()
    if waiting >= max_waiting:
        raise AgentError(
            Problem.TOO_MANY_JOBS,
            f"You already have {waiting} jobs waiting.",
            "Try again when some of them have started, or cancel some.",
        )
    if size >= max_record_bytes:
        raise AgentError(
            Problem.TOO_MANY_JOBS,
            f"The records of your jobs have {int(size)} bytes, of which you may have {max_record_bytes}.",
            "Try again when retention has removed some of your oldest jobs, or unpin jobs.",
        )


def insert(db: Connection, job: Job) -> None:
    """Adds a row for the job. Raises `IdTaken`."""
    prefix, active = job.job_id[:ID_PREFIX_LENGTH], not job.status.terminal
    try:
        db.execute(
            "INSERT INTO jobs (id, prefix, owner, script, status, active, document)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (job.job_id, prefix, job.owner, job.script_name, job.status, active, to_json(job)),
        )
    except sqlite3.IntegrityError as error:
        raise IdTaken(job.job_id) from error


def _by_key(db: Connection, owner: str, key: str, fingerprint: str) -> Job | None:
    row = db.execute(
        "SELECT k.fingerprint, j.document FROM idempotency_keys k JOIN jobs j ON j.id = k.job_id"
        " WHERE k.owner = ? AND k.key = ?",
        (owner, key),
    ).fetchone()
    if row is None:
        return None
    if row[0] != fingerprint:
        raise key_reused()
    return Job.model_validate_json(row[1])


def _given(db: Connection, given: Given, fingerprint: str) -> Job | None:
    row = db.execute(
        "SELECT g.key, g.fingerprint, j.document FROM given_jobs g LEFT JOIN jobs j ON j.id = g.job_id"
        " WHERE g.job_id = ?",
        (given.job_id,),
    ).fetchone()
    if row is None:
        return None
    key, known, document = row
    if key != given.key or document is None:
        raise id_taken(given.job_id, "it has run here before" if document is None else "as another attempt")
    if known != fingerprint:
        raise AgentError(
            Problem.IDEMPOTENCY_MISMATCH, f"The fleet has given job {given.job_id} with another body."
        )
    return Job.model_validate_json(document)


def id_taken(job_id: str, why: str) -> AgentError:
    """The error for a given id that this host cannot give to a job."""
    return AgentError(
        Problem.JOB_ID_TAKEN,
        f"This host has the id {job_id} already: {why}.",
        "Run the job on another host.",
    )


def _page(db: Connection, filters: Mapping[str, str], cursor: str | None, limit: int) -> JobPage:
    terms = [f"{name} = :{name}" for name in filters]
    if cursor is not None:
        terms.append("seq < :cursor")
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    rows = db.execute(
        # Only the fixed column names of `page` are put into the text.
        f"SELECT seq, document FROM jobs {where} ORDER BY seq DESC LIMIT :limit",  # noqa: S608
        {**filters, "cursor": int(cursor or 0), "limit": limit + 1},
    )
    with closing(rows):  # a statement that is not read to its end would see nothing newer
        found, more = fitting(rows, limit)
    jobs = [Job.model_validate_json(document) for _, document in found]
    return JobPage(jobs=jobs, next_cursor=str(found[-1][0]) if more else None)
