"""What retention looks up about finished jobs, and the removals that it commits.

A removal is committed before a file goes: the table `leaving` names the directories that are to be deleted.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import astuple
from datetime import datetime
from sqlite3 import Connection
from typing import Any

from ..model.job import Job, Removal, to_json
from ..model.retention import NEVER_RAN, RAN, AgeClock, FinishedJob, Holding, Moment, Totals
from .database import Tables, transaction

# What aliases of models point at is kept as if it were pinned.
_POINTED_AT = "SELECT job_id FROM aliases"
# Retention leaves alone: jobs that have not ended, jobs that are kept, jobs whose log only the journal has,
# jobs of the fleet that it was not told the end of, jobs that a job or a sweep needs that has not ended, and
# the trials of a sweep that has not ended, or is pinned.
_REMOVABLE = (
    f"NOT active AND NOT pinned AND id NOT IN ({_POINTED_AT})"  # noqa: S608 (a constant)
    " AND NOT EXISTS (SELECT 1 FROM unarchived WHERE job_id = jobs.id)"
    " AND NOT EXISTS (SELECT 1 FROM given_jobs g WHERE g.job_id = jobs.id AND NOT g.told)"
    " AND NOT EXISTS (SELECT 1 FROM needs WHERE needed = jobs.id)"
    " AND NOT EXISTS (SELECT 1 FROM sweep_needs n JOIN sweeps s ON s.id = n.sweep_id"
    " WHERE n.needed = jobs.id AND s.active)"
    " AND NOT EXISTS (SELECT 1 FROM sweeps s WHERE s.id = jobs.sweep AND (s.active OR s.pinned))"
)
_FINISHED = (  # in the order of the fields of `FinishedJob`
    "SELECT 1, length(CAST(document AS BLOB)), coalesce(bytes, 0), coalesce(files, 0),"  # noqa: S608
    " id, owner, held_as, finished_at, ages_from"
    f" FROM jobs WHERE {_REMOVABLE} AND ages_from NOT NULL"
)


class RetentionStore(Tables):
    """Reads finished jobs, oldest first, and removes their files or their records."""

    @transaction
    def unmeasured(self, db: Connection, limit: int) -> list[str]:
        """The ids of finished jobs whose directories were not measured yet, oldest first."""
        rows = db.execute(
            "SELECT id FROM jobs WHERE NOT active AND files IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM unarchived WHERE job_id = id) ORDER BY seq LIMIT ?",
            (limit,),
        )
        return [job_id for (job_id,) in rows]

    @transaction
    def record_sizes(self, db: Connection, sizes: Mapping[str, tuple[int, int]], *, ages_from: float) -> None:
        """Records the bytes and files in the directories of finished jobs, by job id.

        Their age begins at `ages_from`, by the clock of ages, unless it has begun.
        """
        db.executemany(
            "UPDATE jobs SET bytes = ?, files = ?, ages_from = coalesce(ages_from, ?) WHERE id = ?",
            [(*size, ages_from, job_id) for job_id, size in sizes.items()],
        )

    @transaction
    def advance_clock(
        self, db: Connection, moment: Moment, *, trusted: bool = False
    ) -> tuple[AgeClock, float]:
        """Brings the clock of ages to this moment, and returns what `AgeClock.at` does.

        Jobs that have ended since the wall clock was confirmed keep their age where the clock leaps.
        """
        db.execute("BEGIN IMMEDIATE")
        before = _clock(db)
        if before is None:
            (newest,) = db.execute(
                "SELECT max(julianday(coalesce(finished_at, json_extract(document, '$.created_at'))))"
                " FROM jobs"
            ).fetchone()
            before = AgeClock.start(moment, None if newest is None else (newest - 2440587.5) * 86400)
        clock, leap = before.at(moment, trusted=trusted)
        if leap:
            db.execute(
                "UPDATE jobs SET ages_from = ages_from + ? WHERE ages_from > ?",
                (leap, before.confirmed_seconds),
            )
        db.execute("DELETE FROM age_clock")
        db.execute("INSERT INTO age_clock VALUES (?, ?, ?, ?, ?, ?)", astuple(clock))
        return clock, leap

    @transaction
    def forget_given(self, db: Connection, *, untold_since: float, most: int) -> None:
        """Leaves jobs to retention whose age began before `untold_since`, although the fleet was not told.

        Of given jobs whose records are gone, the ids of the newest `most` stay taken.
        """
        db.execute(
            "UPDATE given_jobs SET told = 1 WHERE NOT told"
            " AND EXISTS (SELECT 1 FROM jobs WHERE id = job_id AND NOT active AND ages_from <= ?)",
            (untold_since,),
        )
        db.execute(
            "DELETE FROM given_jobs WHERE number <= (SELECT max(number) FROM given_jobs) - ?"
            " AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = job_id)",
            (most,),
        )

    @transaction
    def clock(self, db: Connection) -> AgeClock | None:
        """The clock of ages as it was last advanced; None if it was never."""
        return _clock(db)

    @transaction
    def removable(self, db: Connection, job_ids: Iterable[str]) -> list[FinishedJob]:
        """Those of these jobs that retention may touch, oldest first."""
        rows = db.execute(
            f"{_FINISHED} AND id IN (SELECT value FROM json_each(?)) ORDER BY ages_from, seq",  # noqa: S608
            (json.dumps(list(job_ids)),),
        )
        return [_finished(row) for row in rows]

    @transaction
    def oldest_of_each(self, db: Connection, limit: int, *, with_files: bool) -> list[FinishedJob]:
        """The jobs that retention may touch, oldest first: of each owner and kind at most `limit` (-1: all).

        `with_files` leaves out those whose files are removed.
        """
        more = " AND removed_at IS NULL" if with_files else ""
        query = f"{_FINISHED}{more} AND owner = ? AND held_as = ? ORDER BY ages_from, seq LIMIT ?"
        found = [
            _finished(row)
            for held in _holdings(db, (NEVER_RAN, RAN))
            for row in db.execute(query, (held.owner, held.held_as, limit))
        ]
        return sorted(found, key=lambda job: job.ages_from)

    @transaction
    def siblings(self, db: Connection, job_ids: Collection[str]) -> list[FinishedJob]:
        """The other trials of these jobs' sweeps that retention may touch: a sweep is removed as a whole."""
        rows = db.execute(
            f"{_FINISHED} AND sweep IN"  # noqa: S608 (a constant)
            " (SELECT sweep FROM jobs WHERE id IN (SELECT value FROM json_each(?)))",
            (json.dumps(list(job_ids)),),
        )
        return [job for row in rows if (job := _finished(row)).job_id not in job_ids]

    @transaction
    def holdings(self, db: Connection) -> list[Holding]:
        """What each owner has of finished jobs that nothing keeps, by owner and kind."""
        return _holdings(db, (NEVER_RAN, RAN))

    @transaction
    def totals(self, db: Connection) -> Totals:
        """The number of finished jobs and the bytes of their files."""
        finished, pinned = _holdings(db, (NEVER_RAN, RAN)), _holdings(db, ("pinned",))
        return Totals(
            jobs=sum(held.jobs for held in finished),
            bytes=sum(held.bytes for held in finished),
            pinned=sum(held.jobs for held in pinned),
            pinned_bytes=sum(held.bytes for held in pinned),
        )

    @transaction
    def remove_files(self, db: Connection, removals: Mapping[str, Removal]) -> list[str]:
        """Records that the files of these jobs are removed; their directories become pending deletions.

        Returns the jobs that it was done for: not one that was pinned meanwhile, for example, nor a trial
        of a sweep that cannot be removed as a whole.
        """
        db.execute("BEGIN IMMEDIATE")
        done = []
        for job_id in _whole(db, removals):
            removal = removals[job_id]
            row = db.execute(
                f"SELECT document FROM jobs WHERE id = ? AND removed_at IS NULL AND {_REMOVABLE}",  # noqa: S608
                (job_id,),
            ).fetchone()
            if row is None:
                continue
            job = Job.model_validate_json(row[0])
            job = job.model_copy(update={"removed": removal, "revision": job.revision + 1})
            db.execute(
                "UPDATE jobs SET document = ?, bytes = 0, files = 0 WHERE id = ?", (to_json(job), job_id)
            )
            db.execute("INSERT OR IGNORE INTO leaving VALUES (?)", (job_id,))
            done.append(job_id)
        return done

    @transaction
    def remove_jobs(self, db: Connection, job_ids: Iterable[str]) -> list[str]:
        """Removes these jobs, their idempotency keys and their sweeps; otherwise like `remove_files`."""
        db.execute("BEGIN IMMEDIATE")
        done = []
        chosen = _whole(db, job_ids)
        # Before the jobs: they say which sweeps these are. Trials that are kept stay, as jobs like others.
        db.execute(
            "DELETE FROM sweeps WHERE NOT active AND NOT pinned AND id IN"
            " (SELECT sweep FROM jobs WHERE id IN (SELECT value FROM json_each(?)))",
            (json.dumps(chosen),),
        )
        for job_id in chosen:
            cursor = db.execute(f"DELETE FROM jobs WHERE id = ? AND {_REMOVABLE}", (job_id,))  # noqa: S608
            if cursor.rowcount:
                db.execute("INSERT OR IGNORE INTO leaving VALUES (?)", (job_id,))
                done.append(job_id)
        return done

    @transaction
    def pending_deletions(self, db: Connection) -> list[str]:
        """The jobs whose directories are to be deleted, also those that an earlier agent recorded."""
        return [job_id for (job_id,) in db.execute("SELECT job_id FROM leaving")]

    @transaction
    def confirm_deleted(self, db: Connection, job_ids: Iterable[str]) -> None:
        """Records that the directories of these jobs are deleted."""
        db.executemany("DELETE FROM leaving WHERE job_id = ?", [(job_id,) for job_id in job_ids])

    @transaction
    def retire_unused(self, db: Connection, commit: str, retire: Callable[[], None]) -> bool:
        """Calls `retire` and returns True if no job has that commit; no job is accepted meanwhile."""
        db.execute("BEGIN IMMEDIATE")
        query = "SELECT 1 FROM jobs WHERE revision_of_scripts = ? LIMIT 1"
        needed = db.execute(query, (commit,)).fetchone() is not None
        if not needed:
            retire()
        return not needed

    @transaction
    def images_used_only_by(self, db: Connection, job_ids: Collection[str]) -> list[tuple[str, str]]:
        """The images, as name and digest, that these jobs ran and no other recorded job did."""
        chosen = frozenset(job_ids)
        images = {}
        for job_id in chosen:
            for image, digest in db.execute("SELECT image, image_digest FROM jobs WHERE id = ?", (job_id,)):
                images[digest] = image
        return [
            (image, digest)
            for digest, image in images.items()
            if digest
            and all(
                job_id in chosen
                for (job_id,) in db.execute("SELECT id FROM jobs WHERE image_digest = ?", (digest,))
            )
        ]


def _finished(row: tuple[Any, ...]) -> FinishedJob:
    *known, finished_at, ages_from = row
    return FinishedJob(*(*known, datetime.fromisoformat(finished_at), ages_from))


def _whole(db: Connection, job_ids: Iterable[str]) -> list[str]:
    """Those of these jobs that may be removed now: of a sweep all its trials that nothing keeps, or none."""
    chosen = list(job_ids)
    partly = db.execute(
        "SELECT DISTINCT sweep FROM jobs WHERE sweep IN"  # noqa: S608 (a constant)
        " (SELECT sweep FROM jobs WHERE id IN (SELECT value FROM json_each(:ids)))"
        f" AND NOT pinned AND id NOT IN ({_POINTED_AT})"
        f" AND NOT (id IN (SELECT value FROM json_each(:ids)) AND {_REMOVABLE})",
        {"ids": json.dumps(chosen)},
    ).fetchall()
    if not partly:
        return chosen
    rows = db.execute(
        "SELECT id FROM jobs WHERE sweep IN (SELECT value FROM json_each(?))",
        (json.dumps([sweep for (sweep,) in partly]),),
    )
    stay = {job_id for (job_id,) in rows}
    return [job_id for job_id in chosen if job_id not in stay]


def _holdings(db: Connection, kinds: Collection[str]) -> list[Holding]:
    """Jobs that an alias points at count as pinned: for them, nobody's other jobs make room."""
    rows = db.execute(
        f"WITH kept AS (SELECT count(*) AS jobs, sum(length(CAST(document AS BLOB))) AS record_bytes,"  # noqa: S608
        " sum(coalesce(bytes, 0)) AS bytes, sum(coalesce(files, 0)) AS files, owner, held_as FROM jobs"
        f" WHERE id IN ({_POINTED_AT}) AND NOT pinned GROUP BY owner, held_as)"
        " SELECT h.jobs - coalesce(k.jobs, 0), h.record_bytes - coalesce(k.record_bytes, 0),"
        " h.bytes - coalesce(k.bytes, 0), h.files - coalesce(k.files, 0), owner, held_as"
        " FROM holdings h LEFT JOIN kept k USING (owner, held_as)"
        " UNION ALL SELECT jobs, record_bytes, bytes, files, owner, 'pinned' FROM kept"
    ).fetchall()
    return [Holding(*row) for row in rows if row[-1] in kinds]


def _clock(db: Connection) -> AgeClock | None:
    row = db.execute("SELECT * FROM age_clock").fetchone()
    return AgeClock(*row) if row else None
