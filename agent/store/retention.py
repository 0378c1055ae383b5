"""What retention looks up about finished jobs, and the removals that it commits.

A removal is committed before a file goes: the table `leaving` names the directories that are to be deleted.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from sqlite3 import Connection

from ..model.job import FinishedJob, Job, Removal, Totals
from .database import Tables, transaction
from .jobs import to_json

# Retention leaves alone: jobs that have not ended, pinned jobs, and jobs whose log only the journal has.
_REMOVABLE = "NOT active AND NOT pinned AND NOT EXISTS (SELECT 1 FROM unarchived WHERE job_id = id)"


class RetentionStore(Tables):
    """Reads finished jobs, oldest first, and removes their files or their records."""

    @transaction
    def unmeasured(self, db: Connection, limit: int) -> list[str]:
        """The ids of finished jobs whose directories were not measured yet, oldest first."""
        rows = db.execute(
            "SELECT id FROM jobs WHERE NOT active AND bytes IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM unarchived WHERE job_id = id) ORDER BY seq LIMIT ?",
            (limit,),
        )
        return [job_id for (job_id,) in rows]

    @transaction
    def record_sizes(self, db: Connection, sizes: Mapping[str, int]) -> None:
        """Records the bytes that the directories of finished jobs take, by job id."""
        db.executemany("UPDATE jobs SET bytes = ? WHERE id = ?", [(n, id_) for id_, n in sizes.items()])

    @transaction
    def removable(self, db: Connection, job_ids: Iterable[str]) -> list[FinishedJob]:
        """Those of these jobs that retention may touch, oldest first."""
        rows = db.execute(
            f"SELECT id, finished_at, bytes FROM jobs WHERE {_REMOVABLE}"  # noqa: S608 (a constant)
            " AND id IN (SELECT value FROM json_each(?)) ORDER BY finished_at, seq",
            (json.dumps(list(job_ids)),),
        )
        return [_finished(row) for row in rows]

    @transaction
    def oldest_removable(self, db: Connection, limit: int, *, with_files: bool) -> list[FinishedJob]:
        """The jobs that retention may touch, oldest first, at most `limit` (-1: all).

        `with_files` leaves out those whose files are removed or were not measured.
        """
        more = " AND removed_at IS NULL AND bytes NOT NULL" if with_files else ""
        rows = db.execute(
            f"SELECT id, finished_at, bytes FROM jobs WHERE {_REMOVABLE}{more}"  # noqa: S608 (constants)
            " ORDER BY finished_at, seq LIMIT ?",
            (limit,),
        )
        return [_finished(row) for row in rows]

    @transaction
    def totals(self, db: Connection) -> Totals:
        """The number of finished jobs and the bytes of their files."""
        files, count, pinned, pinned_bytes = db.execute(
            "SELECT (SELECT total(bytes) FROM jobs"
            " WHERE NOT active AND NOT pinned AND removed_at IS NULL),"
            " (SELECT count(*) FROM jobs WHERE NOT active AND NOT pinned),"
            " count(*), total(bytes) FROM jobs WHERE pinned"
        ).fetchone()
        return Totals(jobs=count, bytes=int(files), pinned=pinned, pinned_bytes=int(pinned_bytes))

    @transaction
    def remove_files(self, db: Connection, removals: Mapping[str, Removal]) -> list[str]:
        """Records that the files of these jobs are removed; their directories become pending deletions.

        Returns the jobs that it was done for: not one that was pinned meanwhile, for example.
        """
        db.execute("BEGIN IMMEDIATE")
        done = []
        for job_id, removal in removals.items():
            row = db.execute(
                f"SELECT document FROM jobs WHERE id = ? AND removed_at IS NULL AND {_REMOVABLE}",  # noqa: S608
                (job_id,),
            ).fetchone()
            if row is None:
                continue
            job = Job.model_validate_json(row[0])
            job = job.model_copy(update={"removed": removal, "revision": job.revision + 1})
            db.execute("UPDATE jobs SET document = ?, bytes = 0 WHERE id = ?", (to_json(job), job_id))
            db.execute("INSERT OR IGNORE INTO leaving VALUES (?)", (job_id,))
            done.append(job_id)
        return done

    @transaction
    def remove_jobs(self, db: Connection, job_ids: Iterable[str]) -> list[str]:
        """Removes these jobs and their idempotency keys; otherwise like `remove_files`."""
        db.execute("BEGIN IMMEDIATE")
        done = []
        for job_id in job_ids:
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


def _finished(row: tuple[str, str, int | None]) -> FinishedJob:
    return FinishedJob(row[0], datetime.fromisoformat(row[1]), row[2] or 0)
