"""The audit's rows in SQLite."""

import json
import sqlite3
from datetime import datetime

from ..audit.chain import Deed, Link, Row, _seal
from ..model.base import format_time, now

MAX_ARCHIVED = 100_000  # rows at once, some 50 MB


# In the store

SCHEMA = """
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        entry TEXT NOT NULL,
        hash TEXT NOT NULL
    );
    CREATE TABLE audit_anchor (seq INTEGER NOT NULL, hash TEXT NOT NULL);
    INSERT INTO audit_anchor VALUES (0, lower(hex(zeroblob(32))));
    CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit BEGIN
        SELECT RAISE(ABORT, 'rows of the audit are not changed');
    END;
    CREATE TRIGGER audit_kept BEFORE DELETE ON audit WHEN old.seq > (SELECT seq FROM audit_anchor) BEGIN
        SELECT RAISE(ABORT, 'rows of the audit are not removed');
    END;
    CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
        WHEN new.seq != 1 + coalesce((SELECT max(seq) FROM audit), (SELECT seq FROM audit_anchor)) BEGIN
        SELECT RAISE(ABORT, 'rows of the audit are appended');
    END;
    CREATE TRIGGER audit_anchor_moves BEFORE UPDATE ON audit_anchor
        WHEN NOT EXISTS (SELECT 1 FROM audit WHERE seq = new.seq AND hash = new.hash) BEGIN
        SELECT RAISE(ABORT, 'the anchor of the audit is the last row that was archived');
    END;
    CREATE TRIGGER audit_anchor_stays BEFORE DELETE ON audit_anchor BEGIN
        SELECT RAISE(ABORT, 'the audit has an anchor');
    END;
"""


def append(db: sqlite3.Connection, deed: Deed) -> Link:
    """Writes a row at the end of the chain; to be called when the transaction has the right to write."""
    before = head(db)
    entry = json.dumps({"at": format_time(now()), **deed.model_dump()}, separators=(",", ":"))
    link = Link(before.seq + 1, _seal(before, entry))
    db.execute("INSERT INTO audit (seq, entry, hash) VALUES (?, ?, ?)", (link.seq, entry, link.hash))
    return link


def anchor(db: sqlite3.Connection) -> Link:
    """What the first row that is there has to follow."""
    return Link(*db.execute("SELECT seq, hash FROM audit_anchor").fetchone())


def head(db: sqlite3.Connection) -> Link:
    """The newest row's link; the anchor where there is none."""
    row = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return Link(*row) if row else anchor(db)


def rows_after(db: sqlite3.Connection, seq: int, limit: int) -> list[Row]:
    """The next rows in their order."""
    query = "SELECT seq, entry, hash FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
    return [Row(*row) for row in db.execute(query, (seq, limit))]


def rows_before(db: sqlite3.Connection, time: datetime) -> list[Row]:
    """The oldest rows, in their order, up to the first that is not from before that time; within bounds."""
    found, limit = [], format_time(time)
    for row in rows_after(db, anchor(db).seq, MAX_ARCHIVED):
        if str(row.content().get("at")) >= limit:
            break
        found.append(row)
    return found


def move_anchor(db: sqlite3.Connection, link: Link) -> None:
    """Removes the rows up to that one, which are kept elsewhere; those behind it follow from it as before."""
    db.execute("UPDATE audit_anchor SET seq = ?, hash = ?", (link.seq, link.hash))
    db.execute("DELETE FROM audit WHERE seq <= ?", (link.seq,))


def newest(db: sqlite3.Connection, *, since: datetime | None, actor: str | None, limit: int) -> list[Row]:
    """The newest rows that were asked for, in their order."""
    query = """
        SELECT seq, entry, hash FROM audit
        WHERE (:actor IS NULL OR CASE WHEN json_valid(entry) THEN json_extract(entry, '$.actor') END = :actor)
          AND (:since IS NULL OR CASE WHEN json_valid(entry) THEN json_extract(entry, '$.at') END >= :since)
        ORDER BY seq DESC LIMIT :limit
    """
    values = {"actor": actor, "since": since and format_time(since), "limit": limit}
    return [Row(*row) for row in db.execute(query, values)][::-1]
