"""When the host runs no jobs: one drain at most, which has begun, or is planned."""

from datetime import datetime
from sqlite3 import Connection

from ..audit.chain import Deed
from ..errors import AgentError, Problem
from ..model.base import now
from ..model.host import Drain
from . import audit
from .database import Tables, as_model, quick_read, transaction

_SELECT = "SELECT begins_at, ends_at, reason FROM drains"


class DrainStore(Tables):
    """Reads and writes the drain of the host."""

    @transaction
    def set(self, db: Connection, drain: Drain, *, deed: Deed) -> Drain:
        """Records a drain in place of the one that there is, and returns the one that holds.

        A host that is drained without an end stays drained since then, and `deed` is not written, where the
        drain begins later and says no more.
        """
        db.execute("BEGIN IMMEDIATE")
        known = drain_of(db)
        if known and _says_it_all(known, drain):
            return known
        db.execute("DELETE FROM drains")
        db.execute("INSERT INTO drains VALUES (:begins_at, :ends_at, :reason)", drain.model_dump(mode="json"))
        audit.append_row(db, deed)
        return drain

    @transaction
    def end(self, db: Connection, *, deed: Deed) -> Drain | None:
        """Removes the drain and returns it; None, and no row of the audit, where there is none any more."""
        db.execute("BEGIN IMMEDIATE")
        known = drain_of(db)
        db.execute("DELETE FROM drains")
        if known is not None:
            audit.append_row(db, deed)
        return known

    @quick_read
    def get(self, db: Connection) -> Drain | None:
        """The drain that has begun or is planned, or None."""
        return drain_of(db)


def check_open(db: Connection, ends_by: datetime) -> None:
    """Raises `AgentError` (draining) where a job may not start that may run until then."""
    if (drain := drain_of(db)) and drain.begins_at < ends_by:
        raise AgentError(Problem.DRAINING, "The job could run into the drain of this host.")


def _says_it_all(known: Drain, drain: Drain) -> bool:
    endless = known.ends_at is None and drain.ends_at is None
    return endless and known.begins_at <= drain.begins_at and drain.reason in ("", known.reason)


def drain_of(db: Connection) -> Drain | None:
    """The drain that has begun or is planned, or None: one that is over is none any more."""
    row = db.execute(_SELECT).fetchone()
    drain = as_model(Drain, row) if row else None
    return None if drain is None or drain.over(now()) else drain
