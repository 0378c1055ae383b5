"""Invitations to enrol: made, used once, withdrawn."""

from datetime import datetime, timedelta
from sqlite3 import Connection

from ..audit.chain import Deed
from ..errors import AgentError, Problem
from ..model.base import format_time
from ..model.certificate import Certificate, Invitation
from . import audit
from .certificates import insert_certificate
from .database import Tables, quick_read, transaction

_INVITATIONS = "SELECT digest, user, role, days, created_at, expires_at, key, certificate FROM invitations"
KEPT = timedelta(days=30)  # after its end, so that whoever comes late is told so
MAX_OPEN = 1000


class InvitationStore(Tables):
    """Reads and writes invitations."""

    @transaction
    def add(self, db: Connection, invitation: Invitation, *, deed: Deed) -> None:
        """Records an invitation, and forgets those that ended long ago.

        Raises `AgentError` (invalid-request) where `MAX_OPEN` invitations are open.
        """
        db.execute("BEGIN IMMEDIATE")
        old = format_time(invitation.created_at - KEPT)
        db.execute("DELETE FROM invitations WHERE expires_at < ?", (old,))
        if len(_open(db, invitation.created_at)) >= MAX_OPEN:
            raise AgentError(
                Problem.INVALID_REQUEST,
                f"{MAX_OPEN} invitations are open already.",
                "Wait until some have expired, or withdraw them (`ml-agent revoke --user`).",
            )
        db.execute(
            "INSERT INTO invitations (digest, user, role, days, created_at, expires_at)"
            " VALUES (:digest, :user, :role, :days, :created_at, :expires_at)",
            invitation.model_dump(mode="json"),
        )
        audit.append_row(db, deed)

    @quick_read
    def get(self, db: Connection, digest: str) -> Invitation | None:
        """The invitation with that digest, or None."""
        row = db.execute(f"{_INVITATIONS} WHERE digest = ?", (digest,)).fetchone()
        return _invitation(row) if row else None

    @transaction
    def use(
        self, db: Connection, digest: str, key: str, pem: str, certificate: Certificate, *, deed: Deed
    ) -> bool:
        """Records what was issued for an open invitation; False where it is no longer open."""
        used = db.execute(
            "UPDATE invitations SET key = ?, certificate = ?"
            " WHERE digest = ? AND certificate IS NULL AND expires_at > ?",
            (key, pem, digest, format_time(certificate.issued_at)),
        )
        if used.rowcount != 1:
            return False
        insert_certificate(db, certificate)
        audit.append_row(db, deed)
        return True

    @transaction
    def withdraw(self, db: Connection, user: str, at: datetime, *, deed: Deed) -> int:
        """Removes the open invitations of a user; how many there were."""
        count = len([each for each in _open(db, at) if each.user == user])
        if count:
            db.execute("DELETE FROM invitations WHERE user = ? AND certificate IS NULL", (user,))
            audit.append_row(db, deed)
        return count


def _open(db: Connection, at: datetime) -> list[Invitation]:
    rows = db.execute(
        f"{_INVITATIONS} WHERE certificate IS NULL AND expires_at > ? ORDER BY user", (format_time(at),)
    )
    return [_invitation(row) for row in rows]


def _invitation(row: tuple[str | int | None, ...]) -> Invitation:
    return Invitation.model_validate(dict(zip(Invitation.model_fields, row, strict=True)))
