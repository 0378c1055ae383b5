"""Commits that an operator has withdrawn."""

from sqlite3 import Connection

from ..audit.chain import Deed
from ..model.ref import Withdrawal
from . import audit
from .database import Tables, as_model, quick_read, transaction

_SELECT = "SELECT commit_id, reason, actor, at, stop_running FROM withdrawals"


class WithdrawalStore(Tables):
    """Reads and writes withdrawals; a commit has one at most."""

    @transaction
    def withdraw(self, db: Connection, withdrawal: Withdrawal, *, deed: Deed | None = None) -> None:
        """Records a withdrawal, in place of an earlier one of the same commit."""
        values = withdrawal.model_dump(mode="json")
        db.execute(
            "INSERT OR REPLACE INTO withdrawals (commit_id, reason, actor, at, stop_running)"
            " VALUES (:commit, :reason, :by, :at, :stop_running)",
            values,
        )
        audit.append_row(db, deed)

    @transaction
    def restore(self, db: Connection, commit: str, *, deed: Deed | None = None) -> Withdrawal | None:
        """Removes a withdrawal and returns it; None, and no row of the audit, if there is none."""
        db.execute("BEGIN IMMEDIATE")
        withdrawal = _of(db, commit)
        if withdrawal is not None:
            db.execute("DELETE FROM withdrawals WHERE commit_id = ?", (commit,))
            audit.append_row(db, deed)
        return withdrawal

    @quick_read
    def get(self, db: Connection, commit: str) -> Withdrawal | None:
        """The withdrawal of a commit, or None."""
        return _of(db, commit)

    @quick_read
    def all(self, db: Connection) -> list[Withdrawal]:
        """Every withdrawal, the oldest first."""
        return [as_model(Withdrawal, row) for row in db.execute(f"{_SELECT} ORDER BY at, commit_id")]

    @transaction
    def commits_of_jobs(self, db: Connection) -> list[str]:
        """Every commit that a job on record has run, or waits to run."""
        rows = db.execute("SELECT DISTINCT revision_of_scripts FROM jobs ORDER BY 1")
        return [commit for (commit,) in rows]


def _of(db: Connection, commit: str) -> Withdrawal | None:
    row = db.execute(f"{_SELECT} WHERE commit_id = ?", (commit,)).fetchone()
    return as_model(Withdrawal, row) if row else None
