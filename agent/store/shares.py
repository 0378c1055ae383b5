"""Who may read a job or a sweep besides its owner, and what is shared with whom."""

from contextlib import closing
from sqlite3 import Connection

from ..audit.chain import Deed
from ..model.job import Job, JobPage, JobState, no_such_job
from ..model.readers import EVERYBODY, Readers
from ..model.sweep import Sweep, SweepPage, SweepState
from . import audit
from .database import Tables, fitting, transaction


class ShareStore(Tables):
    """Shares jobs and sweeps, and lists those that are shared with a user by others."""

    @transaction
    def share(self, db: Connection, subject: str, readers: Readers, *, deed: Deed) -> None:
        """Lets these users read the job or the sweep, and nobody else; `deed` is written where that is news.

        Raises `AgentError` (job-not-found) where retention was faster.
        """
        db.execute("BEGIN IMMEDIATE")
        known = "SELECT 1 FROM jobs WHERE id = :id UNION ALL SELECT 1 FROM sweeps WHERE id = :id"
        if db.execute(known, {"id": subject}).fetchone() is None:
            raise no_such_job()
        if (readers_of(db, subject) or Readers()).names == readers.names:
            return
        db.execute("DELETE FROM readers WHERE subject = ?", (subject,))
        db.executemany("INSERT INTO readers VALUES (?, ?)", [(subject, each) for each in readers.names])
        audit.append_row(db, deed)

    @transaction
    def jobs(
        self,
        db: Connection,
        user: str,
        *,
        owner: str | None,
        status: JobState | None,
        script: str | None,
        before: int | None,
        limit: int,
    ) -> JobPage:
        """Jobs that others share with the user, newest first; trials of shared sweeps are not among them."""
        filters = {"owner": owner, "status": status, "script": script}
        found, following = _page(db, "jobs", user, filters, before, limit)
        return JobPage(jobs=[Job.model_validate_json(each) for each in found], next_cursor=following)

    @transaction
    def sweeps(
        self,
        db: Connection,
        user: str,
        *,
        owner: str | None,
        status: SweepState | None,
        before: int | None,
        limit: int,
    ) -> SweepPage:
        """Sweeps that others share with the user, newest first."""
        filters = {"owner": owner, "json_extract(document, '$.status')": status}
        found, following = _page(db, "sweeps", user, filters, before, limit)
        return SweepPage(sweeps=[Sweep.model_validate_json(each) for each in found], next_cursor=following)


def readers_of(db: Connection, *subjects: str) -> Readers | None:
    """Who may read one of these; None where nobody else may."""
    marks = ", ".join("?" * len(subjects))
    rows = db.execute(
        f"SELECT DISTINCT reader FROM readers WHERE subject IN ({marks}) ORDER BY reader",  # noqa: S608
        subjects,
    )
    names = [reader for (reader,) in rows]
    users = [name for name in names if name != EVERYBODY]
    return Readers(users=users, everybody=EVERYBODY in names) if names else None


def with_readers(db: Connection, job: Job) -> Job:
    """The job with those who may read it, also as a trial of a shared sweep."""
    return job.model_copy(update={"readers": readers_of(db, job.job_id, *([job.sweep] if job.sweep else []))})


def _page(
    db: Connection, table: str, user: str, filters: dict[str, str | None], before: int | None, limit: int
) -> tuple[list[str], str | None]:
    """Documents, and the cursor of the next page. `table` and the names of `filters` are fixed texts."""
    chosen = {name: value for name, value in filters.items() if value is not None}
    terms = [f"{name} = ?" for name in chosen] + (["seq < ?"] if before is not None else [])
    rows = db.execute(
        f"SELECT seq, document FROM {table}"  # noqa: S608
        " WHERE id IN (SELECT subject FROM readers WHERE reader IN (?, ?)) AND owner != ?"
        f"{''.join(f' AND {term}' for term in terms)} ORDER BY seq DESC LIMIT ?",
        (user, EVERYBODY, user, *chosen.values(), *([before] if before is not None else []), limit + 1),
    )
    with closing(rows):
        found, more = fitting(rows, limit)
    return [document for _, document in found], str(found[-1][0]) if more else None
