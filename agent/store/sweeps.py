"""Sweeps and their trials. A trial's row is written with its job, and its result with the sweep's counts."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from sqlite3 import Connection

from ..audit.chain import Deed
from ..errors import AgentError, Problem, key_reused
from ..model.job import Job
from ..model.sweep import (
    MAX_RECORDED,
    Best,
    Sweep,
    SweepPage,
    SweepState,
    Trial,
    TrialPage,
    TrialResult,
    no_such_sweep,
)
from ..model.sweep_course import counted, settled
from . import audit, schedules
from .database import Tables, fitting, quick_read, transaction
from .pins import check_pins
from .shares import readers_of

KEPT_EMPTY = 100  # ended sweeps of a user without trials: no job's removal removes them


@dataclass(frozen=True)
class Untold:
    """A trial whose result is not recorded, and its job."""

    trial: int
    job_id: str


@dataclass(frozen=True)
class Asked:
    """A strategy has suggested these hyperparameters, as text, for the next trial."""

    hyperparameters: dict[str, str]


@dataclass(frozen=True)
class Told:
    """A strategy has been told how a trial ended."""

    trial: int
    result: TrialResult


Step = Asked | Told


class SweepStore(Tables):
    """Reads and writes sweeps; `Sweep` documents are stored as JSON."""

    @transaction
    def add(
        self, db: Connection, sweep: Sweep, *, key: str | None, fingerprint: str, limit: int, deed: Deed
    ) -> Sweep:
        """Commits a new sweep and `deed`, or returns the earlier one of the same owner, key and fingerprint.

        Raises `AgentError`: idempotency-mismatch, and too-many-jobs where the owner has `limit` sweeps that
        have not ended; for one of a schedule, what `schedules.submitted` raises.
        """
        db.execute("BEGIN IMMEDIATE")
        if key is not None and (earlier := _by_key(db, sweep.owner, key, fingerprint)):
            return earlier
        _check_active(db, sweep.owner, limit)
        db.execute(
            "DELETE FROM sweeps WHERE seq IN (SELECT seq FROM sweeps s WHERE owner = ? AND NOT active"
            " AND NOT pinned AND NOT EXISTS (SELECT 1 FROM trials WHERE sweep_id = s.id)"
            " ORDER BY seq DESC LIMIT -1 OFFSET ?)",
            (sweep.owner, KEPT_EMPTY),
        )
        db.execute(
            "INSERT INTO sweeps (id, owner, active, pinned, change, key, fingerprint, document)"
            " VALUES (?, ?, 1, 0, ?, ?, ?, ?)",
            (sweep.sweep_id, sweep.owner, _next_change(db), key, fingerprint, _to_json(sweep)),
        )
        if sweep.schedule is not None:
            schedules.submitted(db, sweep)
        needed = {each.job_id for each in sweep.inputs.values()}
        db.executemany("INSERT INTO sweep_needs VALUES (?, ?)", [(sweep.sweep_id, each) for each in needed])
        audit.append_row(db, deed)
        return sweep

    @quick_read
    def by_key(self, db: Connection, owner: str, key: str, fingerprint: str) -> Sweep | None:
        """The sweep that the owner submitted with this key, or None. Raises idempotency-mismatch."""
        return _by_key(db, owner, key, fingerprint)

    @quick_read
    def get(self, db: Connection, sweep_id: str) -> Sweep:
        """The sweep as last committed, with those who may read it. Raises `AgentError` (sweep-not-found)."""
        return _get(db, sweep_id).model_copy(update={"readers": readers_of(db, sweep_id)})

    @transaction
    def page(
        self,
        db: Connection,
        *,
        owner: str | None = None,
        status: SweepState | None = None,
        before: int | None = None,
        limit: int,
    ) -> SweepPage:
        """Sweeps newest first; `before` is an earlier page's `next_cursor`."""
        wanted = {"owner": owner, "before": before, "json_extract(document, '$.status')": status}
        operators = {"before": "seq <"}
        chosen = {name: value for name, value in wanted.items() if value is not None}
        terms = [f"{operators.get(name, f'{name} =')} ?" for name in chosen]
        where = f"WHERE {' AND '.join(terms)}" if terms else ""
        rows = db.execute(
            f"SELECT seq, document FROM sweeps {where} ORDER BY seq DESC LIMIT ?",  # noqa: S608 (fixed names)
            (*chosen.values(), limit + 1),
        )
        with closing(rows):
            found, more = fitting(rows, limit)
        sweeps = [Sweep.model_validate_json(document) for _, document in found]
        return SweepPage(sweeps=sweeps, next_cursor=str(found[-1][0]) if more else None)

    @transaction
    def active(self, db: Connection) -> list[Sweep]:
        """Every sweep that has not ended, oldest first."""
        rows = db.execute("SELECT document FROM sweeps WHERE active ORDER BY seq")
        return [Sweep.model_validate_json(document) for (document,) in rows]

    @quick_read
    def changed(
        self, db: Connection, after: int, *, owner: str | None, limit: int
    ) -> tuple[int, list[Sweep]]:
        """The first sweeps that have changed after that number, and the number of the last of them."""
        mine = "" if owner is None else "owner = :owner AND "
        rows = db.execute(
            f"SELECT change, document FROM sweeps WHERE {mine}change > :after"  # noqa: S608 (a fixed text)
            " ORDER BY change LIMIT :limit",
            {"owner": owner, "after": after, "limit": limit},
        )
        with closing(rows):
            found, _ = fitting(rows, limit)
        sweeps = [Sweep.model_validate_json(document) for _, document in found]
        return found[-1][0] if found else after, sweeps

    @quick_read
    def newest_change(self, db: Connection) -> int:
        """The number of the newest change of any sweep."""
        return int(db.execute("SELECT last FROM sweep_changes").fetchone()[0])

    @transaction
    def change(
        self,
        db: Connection,
        sweep_id: str,
        change: Callable[[Sweep], Sweep],
        *,
        deed: Deed | None = None,
        limit: int | None = None,
    ) -> Sweep:
        """Commits `change(sweep)` with the `deed` that it is, unless nothing changes; returns the newest.

        Raises what `change` raises, and `AgentError`: sweep-not-found; too-many-jobs for an ended sweep that
        is to go on where its owner has `limit` others.
        """
        db.execute("BEGIN IMMEDIATE")
        sweep = _get(db, sweep_id)
        changed = settled(change(sweep))
        if changed == sweep:
            return sweep
        if limit is not None and sweep.status.terminal and not changed.status.terminal:
            _check_active(db, sweep.owner, limit)
        audit.append_row(db, deed)
        return _write(db, changed)

    @transaction
    def pin(
        self, db: Connection, sweep_id: str, *, pinned: bool, limit: int, max_bytes: int, deed: Deed
    ) -> Sweep:
        """Pins or unpins a sweep with all its trials.

        Raises `AgentError`: sweep-not-found; too-many-pinned where its owner has `limit` pinned sweeps and
        jobs, or where those and this one exceed `max_bytes`.
        """
        db.execute("BEGIN IMMEDIATE")
        sweep = _get(db, sweep_id)
        if sweep.pinned == pinned:
            return sweep
        if pinned:
            check_pins(db, sweep.owner, sweep_id=sweep_id, limit=limit, max_bytes=max_bytes)
        audit.append_row(db, deed)
        return _write(db, sweep.model_copy(update={"pinned": pinned}))

    @transaction
    def untold(self, db: Connection, sweep_id: str) -> list[Untold]:
        """The trials whose results are not recorded, oldest first."""
        rows = db.execute(
            "SELECT trial, job_id FROM trials WHERE sweep_id = ? AND told IS NULL ORDER BY trial", (sweep_id,)
        )
        return [Untold(*row) for row in rows]

    @transaction
    def tell(self, db: Connection, sweep_id: str, trial: int, result: TrialResult) -> Sweep:
        """Records how a trial ended, once, and what follows for the sweep."""
        db.execute("BEGIN IMMEDIATE")
        sweep = _get(db, sweep_id)
        row = db.execute(
            "UPDATE trials SET told = ?, result = ? WHERE sweep_id = ? AND trial = ? AND told IS NULL"
            " RETURNING job_id, hyperparameters",
            (_next_step(db, sweep_id), result.model_dump_json(exclude_none=True), sweep_id, trial),
        ).fetchone()
        if row is None:
            return sweep
        job_id, hyperparameters = row
        said = None if result.value is None else _best(trial, job_id, result.value, hyperparameters)
        return _write(db, settled(counted(sweep, result, said)))

    @transaction
    def steps(self, db: Connection, sweep_id: str, after: int) -> list[Step]:
        """What a strategy was asked and told after so many steps, in order."""
        rows = db.execute(
            "SELECT trial, hyperparameters, asked, told, result FROM trials"
            " WHERE sweep_id = ? AND (asked > ? OR told > ?)",
            (sweep_id, after, after),
        )
        found = [step for row in rows for step in _steps(*row) if step[0] > after]
        return [step for _, step in sorted(found, key=lambda each: each[0])]

    @transaction
    def trials(self, db: Connection, sweep_id: str, *, after: int = -1, limit: int) -> TrialPage:
        """Trials with higher numbers than `after`, in order."""
        rows = db.execute(
            "SELECT trial, hyperparameters, job_id, result, document"
            " FROM trials LEFT JOIN jobs ON id = job_id"
            " WHERE sweep_id = ? AND trial > ? ORDER BY trial LIMIT ?",
            (sweep_id, after, limit + 1),
        )
        with closing(rows):
            found, more = fitting(rows, limit)
        trials = [_trial(*row) for row in found]
        return TrialPage(trials=trials, next_cursor=str(trials[-1].trial) if more else None)


def add_trial(db: Connection, job: Job) -> None:
    """Records that a job is the next trial of its sweep.

    Raises `AgentError`: sweep-not-found, and sweep-ended where the sweep makes no such trial any more.
    """
    assert job.sweep is not None
    sweep = _get(db, job.sweep)
    if sweep.status is not SweepState.RUNNING or job.trial != sweep.made or sweep.made >= sweep.trials:
        raise AgentError(Problem.SWEEP_ENDED, f"Sweep {sweep.sweep_id} makes no trial {job.trial} now.")
    chosen = {name: job.hyperparameters[name] for name in sweep.space}
    db.execute(
        "INSERT INTO trials (sweep_id, trial, job_id, hyperparameters, asked) VALUES (?, ?, ?, ?, ?)",
        (sweep.sweep_id, job.trial, job.job_id, json.dumps(chosen), _next_step(db, sweep.sweep_id)),
    )
    update = {"made": sweep.made + 1, "unfinished": sweep.unfinished + 1, "message": None}
    _write(db, sweep.model_copy(update=update))


def _best(trial: int, job_id: str, value: float, hyperparameters: str) -> Best:
    return Best(trial=trial, job_id=job_id, value=value, hyperparameters=json.loads(hyperparameters))


def _get(db: Connection, sweep_id: str) -> Sweep:
    row = db.execute("SELECT document FROM sweeps WHERE id = ?", (sweep_id,)).fetchone()
    if row is None:
        raise no_such_sweep()
    return Sweep.model_validate_json(row[0])


def _write(db: Connection, sweep: Sweep) -> Sweep:
    """Writes the next revision. The age of an ended sweep's trials begins with the end of the sweep."""
    sweep = sweep.model_copy(update={"revision": sweep.revision + 1})
    (was_active,) = db.execute("SELECT active FROM sweeps WHERE id = ?", (sweep.sweep_id,)).fetchone()
    active = not sweep.status.terminal
    db.execute(
        "UPDATE sweeps SET active = ?, pinned = ?, change = ?, document = ? WHERE id = ?",
        (active, sweep.pinned, _next_change(db), _to_json(sweep), sweep.sweep_id),
    )
    if was_active and not active:
        db.execute(
            "UPDATE jobs SET ages_from = NULL, files = NULL WHERE sweep = ? AND NOT active AND NOT pinned",
            (sweep.sweep_id,),
        )
    return sweep


def _to_json(sweep: Sweep) -> str:
    return sweep.model_dump_json(exclude_none=True, exclude={"readers"})


def _next_change(db: Connection) -> int:
    row = db.execute("UPDATE sweep_changes SET last = last + 1 RETURNING last").fetchone()
    return int(row[0])


def _next_step(db: Connection, sweep_id: str) -> int:
    query = "SELECT coalesce(max(max(asked, coalesce(told, 0))), 0) + 1 FROM trials WHERE sweep_id = ?"
    return int(db.execute(query, (sweep_id,)).fetchone()[0])


def _by_key(db: Connection, owner: str, key: str, fingerprint: str) -> Sweep | None:
    row = db.execute(
        "SELECT fingerprint, document FROM sweeps WHERE owner = ? AND key = ?", (owner, key)
    ).fetchone()
    if row is None:
        return None
    if row[0] != fingerprint:
        raise key_reused()
    return Sweep.model_validate_json(row[1])


def _check_active(db: Connection, owner: str, limit: int) -> None:
    count, recorded = db.execute(
        "SELECT count(*) FILTER (WHERE active), count(*) FROM sweeps WHERE owner = ?", (owner,)
    ).fetchone()
    if recorded >= MAX_RECORDED:
        raise AgentError(
            Problem.TOO_MANY_JOBS,
            f"{owner} has {recorded} sweeps on record.",
            "Try again when retention has removed some of the oldest, or unpin some.",
        )
    if count >= limit:
        raise AgentError(
            Problem.TOO_MANY_JOBS,
            f"{owner} has {count} sweeps that have not ended.",
            "Try again when one of them has ended, or cancel one.",
        )


def _steps(
    trial: int, hyperparameters: str, asked: int, told: int | None, result: str | None
) -> Iterator[tuple[int, Step]]:
    yield asked, Asked(json.loads(hyperparameters))
    if told is not None and result is not None:
        yield told, Told(trial, TrialResult.model_validate_json(result))


def _trial(trial: int, hyperparameters: str, job_id: str, result: str | None, document: str | None) -> Trial:
    """A trial; its job's record may be gone, where another process removes the sweep."""
    told = TrialResult.model_validate_json(result) if result else None
    job = Job.model_validate_json(document) if document else None
    ended = job or told
    assert ended is not None, "a trial whose job is removed has ended"
    return Trial(
        trial=trial,
        job_id=job_id,
        status=ended.status,
        reason=ended.reason,
        hyperparameters=json.loads(hyperparameters),
        value=told.value if told else None,
        started_at=job.started_at if job else None,
        finished_at=job.finished_at if job else None,
    )
