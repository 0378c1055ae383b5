"""The newest change of each job, numbered in the order of commits."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from sqlite3 import Connection

from ..model.event import Change, History
from ..model.job import Job
from .database import Tables, transaction

_CHANGES = "SELECT c.seq, c.job_id, c.owner, document FROM changes c LEFT JOIN jobs ON id = job_id"


class ChangeStore(Tables):
    """Reads changes by number and by job."""

    def on_commit(self, listener: Callable[[], None]) -> AbstractContextManager[None]:
        """Calls `listener` after each transaction of this process that wrote something."""
        return self._database.on_commit(listener)

    @transaction
    def history(self, db: Connection) -> History:
        """Which changes are known."""
        return _history(db)

    @transaction
    def after(self, db: Connection, seq: int, *, owner: str | None = None, limit: int) -> list[Change]:
        """The first `limit` changes with higher numbers, of one owner's jobs or of all, in order."""
        mine = "" if owner is None else "c.owner = :owner AND "
        rows = db.execute(
            f"{_CHANGES} WHERE {mine}c.seq > :after ORDER BY c.seq LIMIT :limit",
            {"owner": owner, "after": seq, "limit": limit},
        )
        return [_change(row) for row in rows]

    @transaction
    def newest_of(self, db: Connection, job_id: str) -> Change | None:
        """The newest change of a job; None where there was no such job, or it was removed long ago."""
        row = db.execute(f"{_CHANGES} WHERE job_id = ?", (job_id,)).fetchone()
        return _change(row) if row else None

    @transaction
    def count_after(self, db: Connection, seq: int, *, owner: str | None = None, limit: int) -> int:
        """How many jobs of one owner, or of all, have a higher change number; counts up to `limit`."""
        mine = "" if owner is None else "owner = :owner AND "
        (count,) = db.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM changes WHERE {mine}seq > :after LIMIT :limit)",  # noqa: S608
            {"owner": owner, "after": seq, "limit": limit},
        ).fetchone()
        return int(count)

    @transaction
    def newest_of_each(self, db: Connection, job_ids: Sequence[str]) -> list[Change]:
        """The newest change of each of these jobs, in the order of their numbers."""
        rows = db.execute(
            f"{_CHANGES} WHERE job_id IN (SELECT value FROM json_each(?)) ORDER BY c.seq",  # noqa: S608
            (json.dumps(list(job_ids)),),
        )
        return [_change(row) for row in rows]

    @transaction
    def current(self, db: Connection, *, owner: str | None = None, ended: int) -> tuple[History, list[str]]:
        """The ids of all jobs that have not ended and of the `ended` newest others, read at one moment.

        They are in the order of their newest changes.
        """
        db.execute("BEGIN")
        mine = "" if owner is None else "c.owner = :owner AND "
        parts = [
            # Only fixed text is put in; the subselects let both limits use an index.
            f"SELECT * FROM (SELECT c.seq, id FROM {tables} WHERE {mine}{which})"  # noqa: S608
            for tables, which in (
                ("jobs j JOIN changes c ON c.job_id = id", "active"),
                (
                    "changes c CROSS JOIN jobs j ON id = c.job_id",
                    "NOT active ORDER BY c.seq DESC LIMIT :ended",
                ),
            )
        ]
        rows = db.execute(f"{' UNION ALL '.join(parts)} ORDER BY 1", {"owner": owner, "ended": ended})
        return _history(db), [job_id for _, job_id in rows]


def _history(db: Connection) -> History:
    epoch, forgotten = db.execute("SELECT epoch, forgotten FROM change_history").fetchone()
    (newest,) = db.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()
    return History(epoch=epoch, forgotten=forgotten, newest=newest)


def _change(row: tuple[int, str, str, str | None]) -> Change:
    seq, job_id, owner, document = row
    job = None if document is None else Job.model_validate_json(document)
    return Change(seq=seq, job_id=job_id, owner=owner, job=job)
