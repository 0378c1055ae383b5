"""Schedules and their runs. A run's row names its job in the transaction that commits the job."""

from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from sqlite3 import Connection

from ..audit.chain import Deed
from ..errors import AgentError, Problem, key_reused
from ..model.base import format_time, now
from ..model.job import Job
from ..model.schedule import (
    MAX_QUEUED,
    MAX_RUNS,
    Overlap,
    RunReason,
    RunState,
    Schedule,
    SchedulePage,
    ScheduleRun,
    ScheduleRunPage,
    ScheduleState,
    no_such_schedule,
)
from ..model.sweep import Sweep
from . import audit
from .database import Tables, fitting, quick_read, transaction

# Whether the job or the sweep of a run `r` has not ended.
_GOES_ON = (
    "(EXISTS (SELECT 1 FROM jobs WHERE id = r.job_id AND active)"
    " OR EXISTS (SELECT 1 FROM sweeps WHERE id = r.sweep_id AND active))"
)
_GOING_ON = (
    "SELECT coalesce(job_id, ''), coalesce(sweep_id, '') FROM schedule_runs r"  # noqa: S608 (a constant)
    f" WHERE schedule_id = ? AND {_GOES_ON}"
)


class ScheduleStore(Tables):
    """Reads and writes schedules; `Schedule` and `ScheduleRun` documents are stored as JSON."""

    @transaction
    def add(
        self, db: Connection, schedule: Schedule, *, key: str | None, fingerprint: str, limit: int, deed: Deed
    ) -> Schedule:
        """Commits a new schedule and `deed`, or returns the one of the same owner, key and fingerprint.

        Raises `AgentError`: idempotency-mismatch, and too-many-schedules where the owner has `limit`.
        """
        db.execute("BEGIN IMMEDIATE")
        if key is not None and (earlier := _by_key(db, schedule.owner, key, fingerprint)):
            return earlier
        (count,) = db.execute("SELECT count(*) FROM schedules WHERE owner = ?", (schedule.owner,)).fetchone()
        if count >= limit:
            raise AgentError(
                Problem.TOO_MANY_SCHEDULES,
                f"{schedule.owner} has {count} schedules; the limit is {limit}.",
                "Remove one that is no longer needed: DELETE /schedules/{id}, `ml-job schedule remove`.",
            )
        db.execute(
            "INSERT INTO schedules (id, owner, status, change, key, fingerprint, document)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                schedule.schedule_id,
                schedule.owner,
                schedule.status,
                _next_change(db),
                key,
                fingerprint,
                _to_json(schedule),
            ),
        )
        audit.append_row(db, deed)
        return schedule

    @quick_read
    def by_key(self, db: Connection, owner: str, key: str, fingerprint: str) -> Schedule | None:
        """The schedule that the owner made with this key, or None. Raises idempotency-mismatch."""
        return _by_key(db, owner, key, fingerprint)

    @quick_read
    def get(self, db: Connection, schedule_id: str) -> Schedule:
        """The schedule as last committed. Raises `AgentError` (schedule-not-found)."""
        return _get(db, schedule_id)

    @transaction
    def page(
        self, db: Connection, *, owner: str | None = None, before: int | None = None, limit: int
    ) -> SchedulePage:
        """Schedules newest first; `before` is an earlier page's `next_cursor`."""
        rows = db.execute(
            "SELECT seq, document FROM schedules WHERE (:owner IS NULL OR owner = :owner)"
            " AND (:before IS NULL OR seq < :before) ORDER BY seq DESC LIMIT :limit",
            {"owner": owner, "before": before, "limit": limit + 1},
        )
        with closing(rows):
            found, more = fitting(rows, limit)
        schedules = [Schedule.model_validate_json(document) for _, document in found]
        return SchedulePage(schedules=schedules, next_cursor=str(found[-1][0]) if more else None)

    @transaction
    def active(self, db: Connection) -> list[Schedule]:
        """Every schedule that has a timer, oldest first."""
        rows = db.execute("SELECT document FROM schedules WHERE status = 'ACTIVE' ORDER BY seq")
        return [Schedule.model_validate_json(document) for (document,) in rows]

    @transaction
    def all(self, db: Connection) -> list[Schedule]:
        """Every schedule, oldest first."""
        rows = db.execute("SELECT document FROM schedules ORDER BY seq")
        return [Schedule.model_validate_json(document) for (document,) in rows]

    @transaction
    def waiting(self, db: Connection) -> list[str]:
        """The ids of the schedules that have a run WAITING."""
        rows = db.execute("SELECT DISTINCT schedule_id FROM schedule_runs WHERE status = 'WAITING'")
        return [schedule_id for (schedule_id,) in rows]

    @quick_read
    def changed(
        self, db: Connection, after: int, *, owner: str | None, limit: int
    ) -> tuple[int, list[Schedule]]:
        """The first schedules that have changed after that number, and the number of the last of them."""
        rows = db.execute(
            "SELECT change, document FROM schedules WHERE change > :after"
            " AND (:owner IS NULL OR owner = :owner) ORDER BY change LIMIT :limit",
            {"owner": owner, "after": after, "limit": limit},
        )
        with closing(rows):
            found, _ = fitting(rows, limit)
        schedules = [Schedule.model_validate_json(document) for _, document in found]
        return found[-1][0] if found else after, schedules

    @quick_read
    def newest_change(self, db: Connection) -> int:
        """The number of the newest change of any schedule."""
        return int(db.execute("SELECT last FROM schedule_changes").fetchone()[0])

    @transaction
    def change(
        self,
        db: Connection,
        schedule_id: str,
        change: Callable[[Schedule], Schedule],
        *,
        deed: Deed | None = None,
    ) -> Schedule:
        """Commits `change(schedule)` with the `deed` that it is, unless nothing changes; returns the newest.

        The runs WAITING of a schedule that is no longer ACTIVE are SKIPPED. Raises schedule-not-found.
        """
        db.execute("BEGIN IMMEDIATE")
        schedule = _get(db, schedule_id)
        changed = change(schedule)
        if changed == schedule:
            return schedule
        audit.append_row(db, deed)
        if changed.status is not ScheduleState.ACTIVE:
            message = changed.message or "The schedule was paused."
            _skip_waiting(db, schedule_id, RunReason.PAUSED, message)
            changed = change(_get(db, schedule_id))
        return _write(db, changed)

    @transaction
    def remove(self, db: Connection, schedule_id: str, *, deed: Deed) -> Schedule:
        """Removes a schedule and the record of its runs. Raises schedule-not-found."""
        db.execute("BEGIN IMMEDIATE")
        schedule = _get(db, schedule_id)
        db.execute("DELETE FROM schedules WHERE id = ?", (schedule_id,))
        audit.append_row(db, deed)
        return schedule

    @quick_read
    def begun(self, db: Connection, schedule_id: str, until: datetime) -> datetime | None:
        """The newest time no later than `until` that has a run; None where there is none.

        Runs with later times are on record where the clock was set back. The answer is such a time where
        older runs were forgotten: the time may be one of theirs.
        """
        row = db.execute(
            "SELECT iif(s.slot <= :until, s.slot, max(r.slot) FILTER (WHERE r.slot <= :until)),"
            " min(r.slot), count(*)"
            " FROM schedules s LEFT JOIN schedule_runs r ON r.schedule_id = s.id AND NOT r.manual"
            " WHERE s.id = :id",
            {"id": schedule_id, "until": format_time(until)},
        ).fetchone()
        newest, oldest, count = row
        found = newest or (oldest if count >= MAX_RUNS else None)
        return datetime.fromisoformat(found) if found else None

    @transaction
    def begin(self, db: Connection, schedule_id: str, run: ScheduleRun, *, deed: Deed | None = None) -> bool:
        """Commits a new run, WAITING, or SKIPPED where earlier ones go on and the schedule says so.

        Returns False, and changes nothing, where the schedule has such a run, or is not ACTIVE and somebody
        did not ask for this one. Raises schedule-not-found.
        """
        db.execute("BEGIN IMMEDIATE")
        schedule = _get(db, schedule_id)
        if schedule.status is not ScheduleState.ACTIVE and not run.manual:
            return False
        known = "SELECT 1 FROM schedule_runs WHERE schedule_id = ? AND slot = ?"
        if db.execute(known, (schedule_id, format_time(run.slot))).fetchone():
            return False
        if schedule.overlap is Overlap.REPLACE:
            _skip_waiting(db, schedule_id, RunReason.REPLACED, "A later run has replaced it.")
        elif why := _no_room(db, schedule):
            update = {"status": RunState.SKIPPED, "reason": RunReason.OVERLAP, "message": why}
            run = run.model_copy(update=update)
        _insert_run(db, schedule_id, run)
        if not run.manual:
            slot = (format_time(run.slot), schedule_id)
            db.execute("UPDATE schedules SET slot = ? WHERE id = ?", slot)
        _write(db, _get(db, schedule_id).model_copy(update={"last": run}))
        audit.append_row(db, deed)
        return True

    @transaction
    def next_waiting(
        self, db: Connection, schedule_id: str
    ) -> tuple[ScheduleRun | None, list[tuple[str, str]]]:
        """The oldest run WAITING, and what earlier runs have become and goes on: a job, or else a sweep."""
        row = db.execute(
            "SELECT document FROM schedule_runs WHERE schedule_id = ? AND status = 'WAITING'"
            " ORDER BY seq LIMIT 1",
            (schedule_id,),
        ).fetchone()
        run = ScheduleRun.model_validate_json(row[0]) if row else None
        return run, db.execute(_GOING_ON, (schedule_id,)).fetchall()

    @transaction
    def skip(self, db: Connection, schedule_id: str, slot: datetime, reason: RunReason, message: str) -> None:
        """Records that a run WAITING will have no job. Does nothing where it no longer waits."""
        db.execute("BEGIN IMMEDIATE")
        _settle(db, schedule_id, slot, {"status": RunState.SKIPPED, "reason": reason, "message": message})

    @quick_read
    def run(self, db: Connection, schedule_id: str, slot: datetime) -> ScheduleRun:
        """The run of that time. Raises schedule-not-found where it is gone with its schedule."""
        row = db.execute(
            "SELECT document FROM schedule_runs WHERE schedule_id = ? AND slot = ?",
            (schedule_id, format_time(slot)),
        ).fetchone()
        if row is None:
            raise no_such_schedule()
        return ScheduleRun.model_validate_json(row[0])

    @transaction
    def runs(
        self, db: Connection, schedule_id: str, *, before: int | None = None, limit: int
    ) -> ScheduleRunPage:
        """Runs, the newest first; `before` is an earlier page's `next_cursor`."""
        rows = db.execute(
            "SELECT seq, document FROM schedule_runs WHERE schedule_id = :id"
            " AND (:before IS NULL OR seq < :before) ORDER BY seq DESC LIMIT :limit",
            {"id": schedule_id, "before": before, "limit": limit + 1},
        )
        with closing(rows):
            found, more = fitting(rows, limit)
        runs = [ScheduleRun.model_validate_json(document) for _, document in found]
        return ScheduleRunPage(runs=runs, next_cursor=str(found[-1][0]) if more else None)


def submitted(db: Connection, made: Job | Sweep) -> None:
    """Records that a job, or a sweep, is what a run WAITING of its schedule has become.

    Raises `AgentError` (not-waiting) where that run does not wait: it has its job already, or was skipped.
    """
    assert made.schedule is not None
    assert made.slot is not None
    what = {"job_id": made.job_id} if isinstance(made, Job) else {"sweep_id": made.sweep_id}
    if not _settle(db, made.schedule, made.slot, {"status": RunState.SUBMITTED, **what}):
        raise AgentError(
            Problem.NOT_WAITING,
            f"The run of schedule {made.schedule} at {format_time(made.slot)} does not wait.",
        )


def _settle(db: Connection, schedule_id: str, slot: datetime, update: Mapping[str, object]) -> bool:
    """Changes a run WAITING; False where it no longer waits."""
    row = db.execute(
        "SELECT seq, document FROM schedule_runs WHERE schedule_id = ? AND slot = ? AND status = 'WAITING'",
        (schedule_id, format_time(slot)),
    ).fetchone()
    if row is None:
        return False
    run = ScheduleRun.model_validate_json(row[1]).model_copy(update={"at": now(), **update})
    db.execute(
        "UPDATE schedule_runs SET status = ?, job_id = ?, sweep_id = ?, document = ? WHERE seq = ?",
        (run.status, run.job_id, run.sweep_id, run.model_dump_json(exclude_none=True), row[0]),
    )
    schedule = _get(db, schedule_id)
    if schedule.last and schedule.last.slot == run.slot:
        _write(db, schedule.model_copy(update={"last": run}))
    return True


def _skip_waiting(db: Connection, schedule_id: str, reason: RunReason, message: str) -> None:
    rows = db.execute(
        "SELECT document FROM schedule_runs WHERE schedule_id = ? AND status = 'WAITING'", (schedule_id,)
    ).fetchall()
    update = {"status": RunState.SKIPPED, "reason": reason, "message": message}
    for (document,) in rows:
        _settle(db, schedule_id, ScheduleRun.model_validate_json(document).slot, update)


def _no_room(db: Connection, schedule: Schedule) -> str:
    """Why there is no new run while earlier ones go on; empty where there is one."""
    (waiting,) = db.execute(
        "SELECT count(*) FROM schedule_runs WHERE schedule_id = ? AND status = 'WAITING'",
        (schedule.schedule_id,),
    ).fetchone()
    if schedule.overlap is Overlap.QUEUE:
        return f"{waiting} earlier runs wait already." if waiting >= MAX_QUEUED else ""
    going_on = db.execute(_GOING_ON, (schedule.schedule_id,)).fetchone()
    if going_on is None:
        return "The run before it still waits." if waiting else ""
    job_id, sweep_id = going_on
    return f"Job {job_id} has not ended." if job_id else f"Sweep {sweep_id} has not ended."


def _insert_run(db: Connection, schedule_id: str, run: ScheduleRun) -> None:
    """Adds a run, and forgets the oldest ones that neither wait nor go on."""
    db.execute(
        "INSERT INTO schedule_runs (schedule_id, slot, manual, status, document) VALUES (?, ?, ?, ?, ?)",
        (
            schedule_id,
            format_time(run.slot),
            run.manual,
            run.status,
            run.model_dump_json(exclude_none=True),
        ),
    )
    db.execute(
        "DELETE FROM schedule_runs WHERE seq IN (SELECT seq FROM schedule_runs r"  # noqa: S608 (a constant)
        f" WHERE schedule_id = ? AND status != 'WAITING' AND NOT {_GOES_ON}"
        " ORDER BY seq DESC LIMIT -1 OFFSET ?)",
        (schedule_id, MAX_RUNS),
    )


def _get(db: Connection, schedule_id: str) -> Schedule:
    row = db.execute("SELECT document FROM schedules WHERE id = ?", (schedule_id,)).fetchone()
    if row is None:
        raise no_such_schedule()
    return Schedule.model_validate_json(row[0])


def _write(db: Connection, schedule: Schedule) -> Schedule:
    """Writes the next revision."""
    schedule = schedule.model_copy(update={"revision": schedule.revision + 1})
    db.execute(
        "UPDATE schedules SET status = ?, change = ?, document = ? WHERE id = ?",
        (schedule.status, _next_change(db), _to_json(schedule), schedule.schedule_id),
    )
    return schedule


def _to_json(schedule: Schedule) -> str:
    """As the record keeps it: without its next times, which are of one moment."""
    return schedule.model_dump_json(exclude_none=True, exclude={"next"})


def _next_change(db: Connection) -> int:
    row = db.execute("UPDATE schedule_changes SET last = last + 1 RETURNING last").fetchone()
    return int(row[0])


def _by_key(db: Connection, owner: str, key: str, fingerprint: str) -> Schedule | None:
    row = db.execute(
        "SELECT fingerprint, document FROM schedules WHERE owner = ? AND key = ?", (owner, key)
    ).fetchone()
    if row is None:
        return None
    if row[0] != fingerprint:
        raise key_reused()
    return Schedule.model_validate_json(row[1])
