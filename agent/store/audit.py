"""The audit's rows in SQLite, each chained to the one before it.

`append_row` is called inside the transaction of the deed: both are committed, or neither is.
"""

import json
from collections.abc import Callable
from datetime import datetime
from itertools import takewhile
from sqlite3 import Connection

from ..audit.chain import AuditRow, Broken, Deed, Link, follow, seal, write_archive
from ..errors import AgentError, Problem, host_failed
from ..model.base import format_time, now
from .database import Tables, quick_read, transaction

MAX_ARCHIVED = 100_000  # rows at once, some 50 MB
MAX_BYTES_A_DAY = 32 * 2**20  # of an actor's rows; a job's has half a kilobyte, or 8 with many parameters


class AuditStore(Tables):
    """Appends, reads and archives rows of the audit."""

    @transaction
    def append(self, db: Connection, deed: Deed) -> None:
        """Appends a row in a transaction of its own, for a deed that changes nothing in the store."""
        db.execute("BEGIN IMMEDIATE")
        append_row(db, deed)

    @quick_read
    def check_share(self, db: Connection, actor: str) -> None:
        """Raises `AgentError` (too-many-requests) where the actor's rows of this day have `MAX_BYTES_A_DAY`.

        To be asked before a deed, so that none is done without its row.
        """
        query = "SELECT bytes FROM audit_days WHERE actor = ? AND day = ?"
        row = db.execute(query, (actor, _today())).fetchone()
        if row and row[0] >= MAX_BYTES_A_DAY:
            raise AgentError(
                Problem.TOO_MANY_REQUESTS,
                f"What you did today fills {MAX_BYTES_A_DAY} bytes of the audit, the limit for a user.",
                "You can still cancel, unpin and remove. The limit is for a day in UTC: go on tomorrow.",
            )

    @transaction
    def archive(
        self, db: Connection, before: datetime, keep: Callable[[bytes], None], deed: Deed
    ) -> tuple[int, Link]:
        """Hands the rows older than `before` to `keep`, then removes them.

        Appends `deed`, and returns the number of removed rows and the new anchor. Where `keep` raises or the
        chain is broken (`AgentError`, host), nothing is removed.
        """
        db.execute("BEGIN IMMEDIATE")
        rows, oldest = _rows_before(db, before), _anchor(db)
        if not rows:
            return 0, oldest
        link = oldest
        try:
            for row in rows:
                link = follow(link, row)
        except Broken as error:
            message = f"The audit is broken at {error}."
            raise host_failed(message, "Nothing was moved; find out why first.") from error
        keep(write_archive(oldest, rows))
        # The rows that stay follow from the anchor as before.
        db.execute("UPDATE audit_anchor SET seq = ?, hash = ?", (link.seq, link.hash))
        db.execute("DELETE FROM audit WHERE seq <= ?", (link.seq,))
        append_row(db, deed.about(str(link)))
        return len(rows), link

    @transaction
    def links(self, db: Connection) -> tuple[Link, Link]:
        """The audit's anchor and its head, read at one moment."""
        db.execute("BEGIN")
        return _anchor(db), _head(db)

    @transaction
    def rows(self, db: Connection, after: int, limit: int) -> list[AuditRow]:
        """The first `limit` rows with higher numbers, in order."""
        return _rows_after(db, after, limit)

    @transaction
    def about(self, db: Connection, action: str) -> list[AuditRow]:
        """Every row about deeds of that kind, the newest first: of kinds that are rare."""
        query = """
            SELECT seq, entry, hash FROM audit
            WHERE CASE WHEN json_valid(entry) THEN json_extract(entry, '$.action') END = ?
            ORDER BY seq DESC
        """
        return [AuditRow(*row) for row in db.execute(query, (action,))]

    @transaction
    def newest(
        self, db: Connection, *, since: datetime | None = None, actor: str | None = None, limit: int
    ) -> list[AuditRow]:
        """The newest `limit` rows, of one actor or of all, in order."""
        query = """
            SELECT seq, entry, hash FROM audit
            WHERE (:actor IS NULL
                   OR CASE WHEN json_valid(entry) THEN json_extract(entry, '$.actor') END = :actor)
              AND (:since IS NULL
                   OR CASE WHEN json_valid(entry) THEN json_extract(entry, '$.at') END >= :since)
            ORDER BY seq DESC LIMIT :limit
        """
        values = {"actor": actor, "since": since and format_time(since), "limit": limit}
        return [AuditRow(*row) for row in db.execute(query, values)][::-1]


def append_row(db: Connection, deed: Deed | None) -> None:
    """Appends a row about the deed, if there is one, in a transaction that already holds the write lock."""
    if deed is None:
        return
    before = _head(db)
    entry = json.dumps(
        {"at": format_time(now()), **deed.model_dump(exclude_none=True)}, separators=(",", ":")
    )
    values = (before.seq + 1, entry, seal(before, entry))
    db.execute("INSERT INTO audit (seq, entry, hash) VALUES (?, ?, ?)", values)
    db.execute(
        "INSERT INTO audit_days VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
        " bytes = excluded.bytes + iif(day = excluded.day, bytes, 0), day = excluded.day",
        (deed.actor, _today(), len(entry.encode())),
    )


def _today() -> str:
    return f"{now():%Y-%m-%d}"


def _anchor(db: Connection) -> Link:
    """The link that the first row must follow."""
    return Link(*db.execute("SELECT seq, hash FROM audit_anchor").fetchone())


def _head(db: Connection) -> Link:
    """The newest row's link; the anchor where there is no row."""
    row = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return Link(*row) if row else _anchor(db)


def _rows_after(db: Connection, seq: int, limit: int) -> list[AuditRow]:
    query = "SELECT seq, entry, hash FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
    return [AuditRow(*row) for row in db.execute(query, (seq, limit))]


def _rows_before(db: Connection, time: datetime) -> list[AuditRow]:
    """The oldest rows, in order, up to the first one that is not older; at most `MAX_ARCHIVED`."""
    rows, limit = _rows_after(db, _anchor(db).seq, MAX_ARCHIVED), format_time(time)
    return list(takewhile(lambda row: str(row.content().get("at")) < limit, rows))
