"""Clients' certificates: issued, renewed, used, revoked; and invitations: made, used once, withdrawn."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from sqlite3 import Connection

from ..audit.chain import Deed
from ..errors import AgentError, Problem, invalid_request
from ..model.base import format_time
from ..model.certificate import Certificate, Invitation, Role
from . import audit
from .database import Tables, as_model, quick_read, transaction

# The columns have the names of the model's fields.
_CERTIFICATES = f"SELECT {', '.join(Certificate.model_fields)} FROM certificates"  # noqa: S608
_INSERT = (
    f"INSERT INTO certificates ({', '.join(Certificate.model_fields)})"  # noqa: S608
    f" VALUES ({', '.join(f':{name}' for name in Certificate.model_fields)})"
)
# A certificate and those that were renewed from it, directly or through others.
_LINE = (
    "WITH RECURSIVE line (serial) AS ("  # noqa: S608
    "VALUES (?) UNION SELECT c.serial FROM certificates c JOIN line ON c.renews = line.serial) "
    f"{_CERTIFICATES} NATURAL JOIN line"
)

_INVITATIONS = "SELECT digest, user, role, days, created_at, expires_at, key, certificate FROM invitations"
KEPT = timedelta(days=30)  # an invitation after its end, so that whoever comes late is told so
MAX_OPEN = 1000  # invitations


class CertificateStore(Tables):
    """Reads and writes certificates; serial numbers are lowercase hexadecimal."""

    @transaction
    def add(self, db: Connection, certificate: Certificate, *, deed: Deed | None = None) -> None:
        """Records an issued certificate; the agent accepts no certificate that is not recorded."""
        _insert_certificate(db, certificate)
        audit.append_row(db, deed)

    @transaction
    def renew(self, db: Connection, renewed: Certificate, *, limit: int, deed: Deed | None = None) -> None:
        """Records a certificate that its holder requested with the one that it `renews`.

        Raises `AgentError`: certificate-refused where that one is revoked or has expired by now, so that no
        renewal escapes a revocation; too-many-certificates where the user has `limit` good ones.
        """
        db.execute("BEGIN IMMEDIATE")
        held = _held(db, renewed.user, renewed.issued_at)
        if not any(certificate.serial == renewed.renews for certificate in held):
            raise AgentError(
                Problem.CERTIFICATE_REFUSED,
                "The certificate to be renewed was revoked or has expired.",
                "Ask this host's administrator for a new one (`ml-agent issue`).",
            )
        if len(held) >= limit:
            raise AgentError(
                Problem.TOO_MANY_CERTIFICATES,
                f"{renewed.user} has {len(held)} valid certificates; the limit is {limit}.",
                "Use the newest of them, or ask this host's administrator (`ml-agent revoke`).",
            )
        _insert_certificate(db, renewed)
        audit.append_row(db, deed)

    @quick_read
    def get(self, db: Connection, serial: str) -> Certificate | None:
        """The certificate with that serial number, or None."""
        row = db.execute(f"{_CERTIFICATES} WHERE serial = ?", (serial,)).fetchone()
        return _certificate(row) if row else None

    @quick_read
    def role_of(self, db: Connection, user: str, at: datetime) -> Role | None:
        """The role of a user who asks nothing at that time; None for one who is revoked, or unknown.

        It is that of the newest certificate that is good then. A user whose newest one has only expired keeps
        its role: nobody has revoked it.
        """
        rows = db.execute(f"{_CERTIFICATES} WHERE user = ? ORDER BY issued_at DESC", (user,))
        known = [_certificate(row) for row in rows]
        for each in [one for one in known if one.good_at(at)] or known[:1]:
            return None if each.revoked_at else each.role
        return None

    @transaction
    def all(self, db: Connection) -> list[Certificate]:
        """Every certificate ever issued, by user and time."""
        return [_certificate(row) for row in db.execute(f"{_CERTIFICATES} ORDER BY user, issued_at")]

    @transaction
    def mark_used(self, db: Connection, serial: str, at: datetime) -> None:
        """Records when the certificate was first used; later calls change nothing."""
        db.execute(
            "UPDATE certificates SET used_at = ? WHERE serial = ? AND used_at IS NULL",
            (format_time(at), serial),
        )

    @transaction
    def revoke(
        self, db: Connection, serials: Iterable[str], at: datetime, *, deed: Deed | None = None
    ) -> list[Certificate]:
        """Revokes these certificates and all that were renewed from them.

        Returns those that were good until now; `deed` is recorded about each of them.
        """
        db.execute("BEGIN IMMEDIATE")
        revoked: list[Certificate] = []
        for serial in serials:
            for each in [_certificate(row) for row in db.execute(_LINE, (serial,))]:
                db.execute(
                    "UPDATE certificates SET revoked_at = ? WHERE serial = ? AND revoked_at IS NULL",
                    (format_time(at), each.serial),
                )
                revoked += [each] if each.good_at(at) else []
        for each in revoked:
            audit.append_row(db, deed and deed.about(each.serial))
        return revoked

    @transaction
    def set_missing_authority(self, db: Connection, authority: str) -> None:
        """Names the authority of certificates that were recorded before authorities had names."""
        db.execute("UPDATE certificates SET authority = ? WHERE authority = ''", (authority,))


_certificate = partial(as_model, Certificate)
_invitation = partial(as_model, Invitation)


def _insert_certificate(db: Connection, certificate: Certificate) -> None:
    db.execute(_INSERT, certificate.model_dump(mode="json"))


def _held(db: Connection, user: str, at: datetime) -> list[Certificate]:
    """A user's certificates that are good at that time."""
    rows = db.execute(f"{_CERTIFICATES} WHERE user = ?", (user,))
    return [certificate for certificate in map(_certificate, rows) if certificate.good_at(at)]


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
            raise invalid_request(
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
        _insert_certificate(db, certificate)
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
