"""The record: jobs, idempotency keys, certificates and the audit in SQLite.

One connection on one worker thread; every method is a transaction that is on disk when it returns
(`synchronous=FULL`). The command line opens the same file beside a running agent: WAL allows it.

What nearly every request asks for takes microseconds, and is read on the event loop's own thread by a second
connection. On another thread each row would cost a wait for Python's interpreter lock: 5 ms where the loop
is busy.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from ..audit import chain as chain
from ..audit.chain import Deed, Link
from ..errors import AgentError, FieldError, Problem
from ..host.files import alone
from ..model.base import ID_PREFIX_LENGTH, format_time
from ..model.certificate import Certificate
from ..model.event import Change, History
from ..model.host import Use
from ..model.job import Job, JobPage, JobState, Removal
from .audit import anchor, append, head, move_anchor, newest, rows_after, rows_before
from .migrations import _migrate

T = TypeVar("T")

BUSY_TIMEOUT = 10.0  # seconds to wait for the other process's transaction
MAX_PAGE_SIZE = 2**20  # characters of all jobs of a page; more are the next page's
CHECKPOINT_PAGES = 1000
SHORT_PAGE = 50  # jobs of a first page that is read on the event loop's thread


@dataclass(frozen=True)
class Finished:
    """A job that has ended, and the bytes that its directory took when it was measured."""

    job_id: str
    finished_at: datetime
    bytes: int = 0


@dataclass(frozen=True)
class Kept:
    """How many finished jobs are not pinned, the bytes of their files, and the same of those that are."""

    jobs: int
    bytes: int
    pinned: int
    pinned_bytes: int


# Retention touches no other: what has not ended, what is pinned, what has its log in the journal alone.
_REMOVABLE = "NOT active AND NOT pinned AND NOT EXISTS (SELECT 1 FROM unarchived WHERE job_id = id)"


class Store:
    """Asynchronous methods over a SQLite file, for one event loop. Open it with `Store.open`."""

    def __init__(
        self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, reader: sqlite3.Connection
    ) -> None:
        """`connection` belongs to the thread, `reader` to the caller's."""
        self._connection = connection
        self._thread = thread
        self._reader = reader
        self._listeners: set[Callable[[], None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator["Store"]:
        """Opens the file, makes it (mode 0600) where it is missing, and brings its schema up to date."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        loop = asyncio.get_running_loop()
        try:
            connection = await loop.run_in_executor(thread, _connect, path)
            try:
                with closing(_reader(path)) as reader:
                    yield cls(connection, thread, reader)
            finally:
                await loop.run_in_executor(thread, connection.close)
        finally:
            thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` on the store's thread as one transaction."""

        loop = asyncio.get_running_loop()

        def transaction() -> T:
            before = self._connection.total_changes
            try:
                with self._connection:
                    result = work(self._connection)
            except sqlite3.OperationalError as error:
                raise _translated(error) from error
            if self._connection.total_changes != before:
                loop.call_soon_threadsafe(self._tell)
            return result

        # A cancelled caller must not learn less than the disk: the transaction runs to its end.
        future = loop.run_in_executor(self._thread, transaction)
        return await asyncio.shield(future)

    async def _look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work`, one statement that ends within a few steps of an index, here and now."""
        try:
            return work(self._reader)
        except sqlite3.OperationalError:
            # Another process has it locked for a moment, or something is wrong: the other thread can wait.
            return await self._run(work)

    @contextmanager
    def told(self, listener: Callable[[], None]) -> Iterator[None]:
        """Calls `listener` after each transaction of this process that wrote something."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    async def add_job(
        self,
        job: Job,
        *,
        idempotency_key: str | None = None,
        fingerprint: str = "",
        max_waiting: int,
        deed: Deed | None = None,
    ) -> Job:
        """Commits a new job and `deed`, or returns the earlier job of the same owner, key and fingerprint.

        Raises `AgentError`: idempotency-mismatch where the key was used for another body, too-many-jobs
        where the owner already has `max_waiting` jobs PENDING. Raises `IdTaken` where the id, or its
        first eight characters, are in use.
        """

        def work(db: sqlite3.Connection) -> Job:
            db.execute("BEGIN IMMEDIATE")
            if idempotency_key is not None:
                earlier = _job_of_key(db, job.owner, idempotency_key, fingerprint)
                if earlier is not None:
                    return earlier
            (waiting,) = db.execute(
                "SELECT count(*) FROM jobs WHERE owner = ? AND status = ?", (job.owner, JobState.PENDING)
            ).fetchone()
            if waiting >= max_waiting:
                raise AgentError(
                    Problem.TOO_MANY_JOBS,
                    f"You already have {waiting} jobs waiting.",
                    "Try again when some of them have started, or cancel some.",
                )
            _insert(db, job)
            if idempotency_key is not None:
                db.execute(
                    "INSERT INTO idempotency_keys VALUES (?, ?, ?, ?)",
                    (job.owner, idempotency_key, fingerprint, job.job_id),
                )
            if deed is not None:
                append(db, deed)
            return job

        return await self._run(work)

    async def job_of_key(self, owner: str, key: str, fingerprint: str) -> Job | None:
        """The job that the owner submitted with this key, or None.

        Raises `AgentError` (idempotency-mismatch) where its request had another fingerprint.
        """
        return await self._look(lambda db: _job_of_key(db, owner, key, fingerprint))

    async def job(self, job_id: str) -> Job | None:
        """The job as last committed, or None."""

        def work(db: sqlite3.Connection) -> Job | None:
            row = db.execute("SELECT document FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return Job.model_validate_json(row[0]) if row else None

        return await self._look(work)

    async def update_job(
        self,
        job: Job,
        *,
        manager: str | None = None,
        use: Use | None = None,
        deed: Deed | None = None,
    ) -> bool:
        """Commits the next revision of a job that has not ended; False where another one came first.

        `manager` is the identity of the systemd manager that is asked to start the unit, `use` what its
        owner has had of the host with this, `deed` whose doing the revision is.
        """

        def work(db: sqlite3.Connection) -> bool:
            cursor = db.execute(
                "UPDATE jobs SET status = ?, active = ?, manager = coalesce(?, manager), document = ?"
                " WHERE id = ? AND active AND json_extract(document, '$.revision') = ?",
                (
                    job.status,
                    not job.status.terminal,
                    manager,
                    _document(job),
                    job.job_id,
                    job.revision - 1,
                ),
            )
            if cursor.rowcount != 1:
                return False
            if job.status.terminal:
                db.execute("INSERT OR IGNORE INTO unarchived (job_id) VALUES (?)", (job.job_id,))
            if use is not None:
                values = (use.owner, use.seconds, format_time(use.at))
                db.execute("INSERT OR REPLACE INTO uses (owner, seconds, at) VALUES (?, ?, ?)", values)
            if deed is not None:
                append(db, deed)
            return True

        return await self._run(work)

    async def uses(self) -> list[Use]:
        """What each user had of the host, as last committed."""

        def work(db: sqlite3.Connection) -> list[Use]:
            rows = db.execute("SELECT owner, seconds, at FROM uses")
            return [Use(owner=owner, seconds=seconds, at=at) for owner, seconds, at in rows]

        return await self._run(work)

    async def active_jobs(self) -> list[Job]:
        """Every job that has not ended, oldest first."""

        def work(db: sqlite3.Connection) -> list[Job]:
            rows = db.execute("SELECT document FROM jobs WHERE active ORDER BY seq")
            return [Job.model_validate_json(document) for (document,) in rows]

        return await self._run(work)

    async def unarchived_jobs(self) -> list[Job]:
        """The jobs that have ended and whose log is still the journal's alone, oldest first."""

        def work(db: sqlite3.Connection) -> list[Job]:
            rows = db.execute("SELECT document FROM unarchived JOIN jobs ON id = job_id ORDER BY seq")
            return [Job.model_validate_json(document) for (document,) in rows]

        return await self._run(work)

    async def archived(self, job_id: str) -> None:
        """The job's log is in its directory, or it has none."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM unarchived WHERE job_id = ?", (job_id,))

        await self._run(work)

    async def pin(self, job_id: str, *, pinned: bool, limit: int, deed: Deed | None = None) -> Job | None:
        """Commits that the job is pinned, or that it is not, whatever its state; None where there is none.

        `deed` is written where that is a change.

        Raises `AgentError` (too-many-pinned) where its owner has `limit` pinned jobs.
        """

        def work(db: sqlite3.Connection) -> Job | None:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute("SELECT document FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None:
                return None
            job = Job.model_validate_json(row[0])
            if job.pinned == pinned:
                return job
            (count,) = db.execute(
                "SELECT count(*) FROM jobs WHERE pinned AND owner = ?", (job.owner,)
            ).fetchone()
            if pinned and count >= limit:
                raise AgentError(
                    Problem.TOO_MANY_PINNED,
                    f"{job.owner} has {count} pinned jobs, and may have {limit}.",
                    "Unpin one that is no longer needed: DELETE /jobs/{id}/pin, `ml-job unpin`.",
                )
            job = job.model_copy(update={"pinned": pinned, "revision": job.revision + 1})
            db.execute("UPDATE jobs SET document = ? WHERE id = ?", (_document(job), job_id))
            if deed is not None:
                append(db, deed)
            return job

        return await self._run(work)

    # Retention

    async def unmeasured(self, limit: int) -> list[str]:
        """Ids of finished jobs of which it is not known yet what their directories take, oldest first."""

        def work(db: sqlite3.Connection) -> list[str]:
            rows = db.execute(
                "SELECT id FROM jobs WHERE NOT active AND bytes IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM unarchived WHERE job_id = id) ORDER BY seq LIMIT ?",
                (limit,),
            )
            return [job_id for (job_id,) in rows]

        return await self._run(work)

    async def measured(self, sizes: Mapping[str, int]) -> None:
        """What finished jobs' directories take, in bytes, by job."""

        def work(db: sqlite3.Connection) -> None:
            db.executemany("UPDATE jobs SET bytes = ? WHERE id = ?", [(n, id_) for id_, n in sizes.items()])

        await self._run(work)

    async def finished(self, job_ids: Iterable[str]) -> list[Finished]:
        """Those of the jobs that are in the record and may lose something, oldest first."""

        def work(db: sqlite3.Connection) -> list[Finished]:
            rows = db.execute(
                f"SELECT id, finished_at, bytes FROM jobs WHERE {_REMOVABLE}"  # noqa: S608 (a constant)
                " AND id IN (SELECT value FROM json_each(?)) ORDER BY finished_at, seq",
                (json.dumps(list(job_ids)),),
            )
            return [_finished(row) for row in rows]

        return await self._run(work)

    async def oldest(self, limit: int, *, with_files: bool) -> list[Finished]:
        """The finished jobs that may go, or whose files may go: oldest first, at most `limit` (-1: all)."""

        def work(db: sqlite3.Connection) -> list[Finished]:
            more = " AND removed_at IS NULL AND bytes NOT NULL" if with_files else ""
            rows = db.execute(
                f"SELECT id, finished_at, bytes FROM jobs WHERE {_REMOVABLE}{more}"  # noqa: S608 (constants)
                " ORDER BY finished_at, seq LIMIT ?",
                (limit,),
            )
            return [_finished(row) for row in rows]

        return await self._run(work)

    async def kept(self) -> Kept:
        """How many finished jobs there are, and what their files take."""

        def work(db: sqlite3.Connection) -> Kept:
            files, count, pinned, pinned_bytes = db.execute(
                "SELECT (SELECT total(bytes) FROM jobs"
                " WHERE NOT active AND NOT pinned AND removed_at IS NULL),"
                " (SELECT count(*) FROM jobs WHERE NOT active AND NOT pinned),"
                " count(*), total(bytes) FROM jobs WHERE pinned"
            ).fetchone()
            return Kept(jobs=count, bytes=int(files), pinned=pinned, pinned_bytes=int(pinned_bytes))

        return await self._run(work)

    async def remove_files(self, removals: Mapping[str, Removal]) -> list[str]:
        """Commits that the files of these jobs are removed: their directories are `leaving`.

        Returns those of which it is so; a job that was pinned meanwhile, say, is not among them.
        """

        def work(db: sqlite3.Connection) -> list[str]:
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
                db.execute("UPDATE jobs SET document = ?, bytes = 0 WHERE id = ?", (_document(job), job_id))
                db.execute("INSERT OR IGNORE INTO leaving VALUES (?)", (job_id,))
                done.append(job_id)
            return done

        return await self._run(work)

    async def remove_jobs(self, job_ids: Iterable[str]) -> list[str]:
        """Forgets these jobs and their idempotency keys; else as `remove_files`."""

        def work(db: sqlite3.Connection) -> list[str]:
            db.execute("BEGIN IMMEDIATE")
            done = []
            for job_id in job_ids:
                cursor = db.execute(f"DELETE FROM jobs WHERE id = ? AND {_REMOVABLE}", (job_id,))  # noqa: S608
                if cursor.rowcount:
                    db.execute("INSERT OR IGNORE INTO leaving VALUES (?)", (job_id,))
                    done.append(job_id)
            return done

        return await self._run(work)

    async def leaving(self) -> list[str]:
        """The jobs whose directories are to be deleted, by an earlier agent's word, too."""
        return await self._run(lambda db: [job_id for (job_id,) in db.execute("SELECT job_id FROM leaving")])

    async def left(self, job_ids: Iterable[str]) -> None:
        """Nothing of these jobs' directories is left."""

        def work(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM leaving WHERE job_id = ?", [(job_id,) for job_id in job_ids])

        await self._run(work)

    async def unless_needed(self, commit: str, retire: Callable[[], None]) -> bool:
        """Calls `retire` if no job is of that commit, and tells whether: none is accepted meanwhile."""

        def work(db: sqlite3.Connection) -> bool:
            db.execute("BEGIN IMMEDIATE")
            query = "SELECT 1 FROM jobs WHERE revision_of_scripts = ? LIMIT 1"
            needed = db.execute(query, (commit,)).fetchone() is not None
            if not needed:
                retire()
            return not needed

        return await self._run(work)

    async def images_of_none_but(self, job_ids: Collection[str]) -> list[tuple[str, str]]:
        """The images, by name and digest, that these jobs ran and no other job in the record did."""
        chosen = frozenset(job_ids)

        def work(db: sqlite3.Connection) -> list[tuple[str, str]]:
            images = {}
            for job_id in chosen:
                for image, digest in db.execute(
                    "SELECT image, image_digest FROM jobs WHERE id = ?", (job_id,)
                ):
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

        return await self._run(work)

    async def manager_of(self, job_id: str) -> str:
        """The identity of the systemd manager that was asked to start the job's unit, or ``""``."""

        def work(db: sqlite3.Connection) -> str:
            row = db.execute("SELECT manager FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return str(row[0]) if row else ""

        return await self._run(work)

    async def page(
        self,
        *,
        owner: str | None = None,
        status: JobState | None = None,
        script: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> JobPage:
        """Jobs newest first, `limit` of them or as many as are not too large together.

        `cursor` is an earlier page's `next_cursor`.
        """

        def work(db: sqlite3.Connection) -> JobPage:
            filters = {"owner": owner, "status": status, "script": script}
            chosen = {name: value for name, value in filters.items() if value is not None}
            terms = [f"{name} = :{name}" for name in chosen]
            if cursor is not None:
                terms.append("seq < :cursor")
            where = f"WHERE {' AND '.join(terms)}" if terms else ""
            rows = db.execute(
                # Only the fixed column names above are put into the text.
                f"SELECT seq, document FROM jobs {where} ORDER BY seq DESC LIMIT :limit",  # noqa: S608
                {**chosen, "cursor": _sequence(cursor), "limit": limit + 1},
            )
            jobs: list[Job] = []
            size, last = 0, 0
            with closing(rows):  # a statement that is not read to its end would see nothing newer
                for seq, document in rows:
                    size += len(document)
                    if jobs and (len(jobs) == limit or size > MAX_PAGE_SIZE):
                        return JobPage(jobs=jobs, next_cursor=str(last))
                    jobs.append(Job.model_validate_json(document))
                    last = seq
            return JobPage(jobs=jobs)

        # One owner's jobs of a script are looked for among all; old jobs may have to come from the disk.
        short = script is None and cursor is None and limit <= SHORT_PAGE
        return await (self._look(work) if short else self._run(work))

    async def history(self) -> History:
        """How far back changes are known."""
        return await self._run(_history)

    async def changes(self, after: int, *, owner: str | None = None, limit: int) -> list[Change]:
        """The first `limit` changes after that number, of one owner's jobs or of all, in order."""

        def work(db: sqlite3.Connection) -> list[Change]:
            mine = "" if owner is None else "c.owner = :owner AND "
            rows = db.execute(
                "SELECT c.seq, c.job_id, c.owner, document FROM changes c"  # noqa: S608 (a fixed text)
                f" LEFT JOIN jobs ON id = job_id WHERE {mine}c.seq > :after ORDER BY c.seq LIMIT :limit",
                {"owner": owner, "after": after, "limit": limit},
            )
            return [_change(row) for row in rows]

        return await self._run(work)

    async def change_of(self, job_id: str) -> Change | None:
        """The newest change of one job; None where it never was, or was removed long ago."""

        def work(db: sqlite3.Connection) -> Change | None:
            row = db.execute(
                "SELECT c.seq, c.job_id, c.owner, document FROM changes c LEFT JOIN jobs ON id = job_id"
                " WHERE job_id = ?",
                (job_id,),
            ).fetchone()
            return _change(row) if row else None

        return await self._run(work)

    async def changed_jobs(self, after: int, *, owner: str | None = None, limit: int) -> int:
        """How many jobs of one owner or of all have changed after that number, counted up to `limit`."""

        def work(db: sqlite3.Connection) -> int:
            mine = "" if owner is None else "owner = :owner AND "
            (count,) = db.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM changes WHERE {mine}seq > :after LIMIT :limit)",  # noqa: S608
                {"owner": owner, "after": after, "limit": limit},
            ).fetchone()
            return int(count)

        return await self._run(work)

    async def changes_of(self, job_ids: Sequence[str]) -> list[Change]:
        """The newest change of each of a few jobs, in their order."""

        def work(db: sqlite3.Connection) -> list[Change]:
            rows = db.execute(
                "SELECT c.seq, c.job_id, c.owner, document FROM changes c LEFT JOIN jobs ON id = job_id"
                " WHERE job_id IN (SELECT value FROM json_each(?)) ORDER BY c.seq",
                (json.dumps(list(job_ids)),),
            )
            return [_change(row) for row in rows]

        return await self._run(work)

    async def current(self, *, owner: str | None = None, ended: int) -> tuple[History, list[str]]:
        """The ids of every job that has not ended and of the `ended` newest others, at one moment.

        In the order of their changes.
        """

        def work(db: sqlite3.Connection) -> tuple[History, list[str]]:
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

        return await self._run(work)

    # Certificates

    async def add_certificate(self, certificate: Certificate, *, deed: Deed | None = None) -> None:
        """Records a certificate that was issued, and by whom; the agent answers no other."""

        def work(db: sqlite3.Connection) -> None:
            _insert_certificate(db, certificate)
            if deed is not None:
                append(db, deed)

        await self._run(work)

    async def renew_certificate(self, renewed: Certificate, *, limit: int, deed: Deed | None = None) -> None:
        """Records a certificate that its holder asked for under the one that it `renews`.

        Raises `AgentError`: certificate-refused where that one is revoked or over by now, so that no new
        one survives a revocation that comes meanwhile; too-many-certificates where the user has `limit`.
        """

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            held = _held(db, renewed.user, renewed.issued_at)
            if not any(certificate.serial == renewed.renews for certificate in held):
                raise AgentError(
                    Problem.CERTIFICATE_REFUSED,
                    "The certificate that was to be renewed was revoked, or has expired.",
                    "Ask this host's administrator for a new one (`ml-agent issue`).",
                )
            if len(held) >= limit:
                raise AgentError(
                    Problem.TOO_MANY_CERTIFICATES,
                    f"{renewed.user} has {len(held)} certificates that are good, and may have {limit}.",
                    "Use the newest of them, or ask this host's administrator (`ml-agent revoke`).",
                )
            _insert_certificate(db, renewed)
            if deed is not None:
                append(db, deed)

        await self._run(work)

    async def certificate(self, serial: str) -> Certificate | None:
        """The certificate of that serial number (lowercase hexadecimal), or None."""

        def work(db: sqlite3.Connection) -> Certificate | None:
            row = db.execute(f"{_CERTIFICATES} WHERE serial = ?", (serial,)).fetchone()
            return _certificate(row) if row else None

        return await self._look(work)

    async def certificates(self) -> list[Certificate]:
        """Every certificate ever issued, by user and time."""

        def work(db: sqlite3.Connection) -> list[Certificate]:
            return [_certificate(row) for row in db.execute(f"{_CERTIFICATES} ORDER BY user, issued_at")]

        return await self._run(work)

    # The audit

    async def audit(self, deed: Deed) -> None:
        """Writes a row of its own; what changes the store has its row in the transaction that does."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            append(db, deed)

        await self._run(work)

    async def archive_audit(
        self, before: datetime, keep: Callable[[bytes], None], deed: Deed
    ) -> tuple[int, Link]:
        """Hands the rows from before that time to `keep`, and removes them; how many, and the new anchor.

        `deed` is written behind the rest. Where `keep` raises, or the chain is broken, nothing is removed.
        """

        def work(db: sqlite3.Connection) -> tuple[int, Link]:
            db.execute("BEGIN IMMEDIATE")
            rows, oldest = rows_before(db, before), anchor(db)
            if not rows:
                return 0, oldest
            link = oldest
            try:
                for row in rows:
                    link = chain.follow(link, row)
            except chain.Broken as error:
                message = f"The audit is broken at {error}."
                raise AgentError(Problem.HOST, message, "Nothing was moved; find out why first.") from error
            keep(chain.write_archive(oldest, rows))
            move_anchor(db, link)
            append(db, deed.about(str(link)))
            return len(rows), link

        return await self._run(work)

    async def audit_links(self) -> tuple[Link, Link]:
        """The audit's anchor and its head, at one moment."""

        def work(db: sqlite3.Connection) -> tuple[Link, Link]:
            db.execute("BEGIN")
            return anchor(db), head(db)

        return await self._run(work)

    async def audit_rows(self, after: int, limit: int) -> list[chain.Row]:
        """The rows of the audit behind that number, in their order."""
        return await self._run(lambda db: rows_after(db, after, limit))

    async def newest_audit_rows(
        self, *, since: datetime | None = None, actor: str | None = None, limit: int
    ) -> list[chain.Row]:
        """The newest rows of the audit, of one actor or of all, in their order."""
        return await self._run(lambda db: newest(db, since=since, actor=actor, limit=limit))

    async def certificate_used(self, serial: str, at: datetime) -> None:
        """A request came with it; only the first time counts."""

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE certificates SET used_at = ? WHERE serial = ? AND used_at IS NULL",
                (format_time(at), serial),
            )

        await self._run(work)

    async def revoke(
        self, serials: Iterable[str], at: datetime, *, deed: Deed | None = None
    ) -> list[Certificate]:
        """Revokes these and whatever was renewed from them, and returns those that were good until now.

        `deed` is about each of those.
        """

        def work(db: sqlite3.Connection) -> list[Certificate]:
            db.execute("BEGIN IMMEDIATE")
            revoked: list[Certificate] = []
            for serial in serials:
                for each in [_certificate(row) for row in db.execute(_LINE, (serial,))]:
                    db.execute(
                        "UPDATE certificates SET revoked_at = ? WHERE serial = ? AND revoked_at IS NULL",
                        (format_time(at), each.serial),
                    )
                    revoked += [each] if each.good_at(at) else []
            if deed is not None:
                for each in revoked:
                    append(db, deed.about(each.serial))
            return revoked

        return await self._run(work)

    async def name_authority(self, authority: str) -> None:
        """Says who signed what was recorded while there had been only one authority ever."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE certificates SET authority = ? WHERE authority = ''", (authority,))

        await self._run(work)


class IdTaken(Exception):
    """Another job has this id, or one with the same first eight characters."""


_CERTIFICATES = (
    "SELECT serial, user, role, issued_at, expires_at, revoked_at, authority, renews, used_at, fingerprint"
    " FROM certificates"
)
# A certificate and those that were renewed from it, directly or by way of others.
_LINE = (
    "WITH RECURSIVE line (serial) AS ("
    "VALUES (?) UNION SELECT c.serial FROM certificates c JOIN line ON c.renews = line.serial) "
    "SELECT serial, user, role, issued_at, expires_at, revoked_at, authority, renews, used_at, fingerprint"
    " FROM certificates NATURAL JOIN line"
)


def _certificate(row: tuple[str | None, ...]) -> Certificate:
    return Certificate.model_validate(dict(zip(Certificate.model_fields, row, strict=True)))


def _insert_certificate(db: sqlite3.Connection, certificate: Certificate) -> None:
    db.execute(
        "INSERT INTO certificates"
        " (serial, user, role, issued_at, expires_at, revoked_at, authority, renews, used_at, fingerprint)"
        " VALUES (:serial, :user, :role, :issued_at, :expires_at, :revoked_at, :authority, :renews, :used_at,"
        " :fingerprint)",
        certificate.model_dump(mode="json"),
    )


def _held(db: sqlite3.Connection, user: str, at: datetime) -> list[Certificate]:
    """A user's certificates that are good at that time."""
    rows = db.execute(f"{_CERTIFICATES} WHERE user = ?", (user,))
    return [certificate for certificate in map(_certificate, rows) if certificate.good_at(at)]


def _history(db: sqlite3.Connection) -> History:
    epoch, forgotten = db.execute("SELECT epoch, forgotten FROM change_history").fetchone()
    (newest,) = db.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()
    return History(epoch=epoch, forgotten=forgotten, newest=newest)


def _change(row: tuple[int, str, str, str | None]) -> Change:
    seq, job_id, owner, document = row
    job = None if document is None else Job.model_validate_json(document)
    return Change(seq=seq, job_id=job_id, owner=owner, job=job)


def _finished(row: tuple[str, str, int | None]) -> Finished:
    return Finished(row[0], datetime.fromisoformat(row[1]), row[2] or 0)


def _document(job: Job) -> str:
    return job.model_dump_json(exclude_none=True, exclude={"queue"})


def _insert(db: sqlite3.Connection, job: Job) -> None:
    prefix = job.job_id[:ID_PREFIX_LENGTH]
    try:
        db.execute(
            "INSERT INTO jobs (id, prefix, owner, script, status, active, document)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                job.job_id,
                prefix,
                job.owner,
                job.script_name,
                job.status,
                not job.status.terminal,
                _document(job),
            ),
        )
    except sqlite3.IntegrityError as error:
        raise IdTaken(job.job_id) from error


def _job_of_key(db: sqlite3.Connection, owner: str, key: str, fingerprint: str) -> Job | None:
    row = db.execute(
        "SELECT k.fingerprint, j.document FROM idempotency_keys k JOIN jobs j ON j.id = k.job_id"
        " WHERE k.owner = ? AND k.key = ?",
        (owner, key),
    ).fetchone()
    if row is None:
        return None
    if row[0] != fingerprint:
        raise AgentError(
            Problem.IDEMPOTENCY_MISMATCH,
            "This Idempotency-Key was used for a different request.",
            "Send a new key with a new request; repeat a key only with the same body.",
            (FieldError("Idempotency-Key", "was used for a different body"),),
        )
    return Job.model_validate_json(row[1])


def _sequence(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise AgentError(
            Problem.INVALID_REQUEST,
            "The cursor is not one that this agent gave out.",
            "Send next_cursor of the page before, as it is.",
            (FieldError("cursor", "must be a next_cursor of an earlier page"),),
        )
    return int(cursor)


def _connect(path: Path) -> sqlite3.Connection:
    """Connects on the calling thread, to stay there. Explicit transactions (`BEGIN`) only where needed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT)
    try:
        # An operator's command may open a new record at the same moment, and SQLite waits here for nobody.
        with alone(path.parent):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            _migrate(connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise _translated(error, path) from error
        raise
    return connection


def _reader(path: Path) -> sqlite3.Connection:
    """Connects on the calling thread to a file that is there, to read, and to wait for nobody."""
    connection = sqlite3.connect(path, timeout=0)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _translated(error: sqlite3.DatabaseError, path: Path | None = None) -> AgentError:
    if "full" in str(error):
        return AgentError(
            Problem.STORAGE_FULL,
            "The disk that holds the job store is full.",
            "Nothing was accepted; try again when the operator has made room.",
        )
    return AgentError(
        Problem.HOST,
        f"The job store{f' {path}' if path else ''} cannot be used: {error}.",
        "Check the state directory's permissions and `ml-agent doctor`.",
    )
