"""The versions of users' secrets that a fleet has brought to this host. Podman has the values."""

from sqlite3 import Connection

from ..audit.chain import Deed
from . import audit
from .database import Tables, quick_read, transaction

MOST = 500  # names of a user: the versions of the others, the oldest ones, are no longer known


class SecretVersionStore(Tables):
    """Reads and raises versions."""

    @quick_read
    def newest(self, db: Connection, user: str, name: str) -> str:
        """The newest version of a secret that was set or removed; empty if none was."""
        query = "SELECT version FROM secret_versions WHERE user = ? AND name = ?"
        row = db.execute(query, (user, name)).fetchone()
        return str(row[0]) if row else ""

    @transaction
    def record(self, db: Connection, user: str, name: str, version: str, *, deed: Deed) -> None:
        """Records a version that was set or removed; an earlier one of the secret counts no more."""
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "INSERT INTO secret_versions VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET version = max(version, excluded.version)",
            (user, name, version),
        )
        db.execute(
            "DELETE FROM secret_versions WHERE user = ?1 AND name IN"
            " (SELECT name FROM secret_versions WHERE user = ?1 ORDER BY version DESC LIMIT -1 OFFSET ?2)",
            (user, MOST),
        )
        audit.append_row(db, deed)
