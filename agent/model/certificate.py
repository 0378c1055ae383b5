"""Client certificates, roles, and who is asking."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .base import Model, Time, UserName

MAX_SIGNING_REQUEST = 8192  # characters; with a 4096-bit RSA key it has 1,700


class Role(StrEnum):
    """What the holder of a certificate may do, by the table in `agent.api.access`.

    Analysts have their own jobs, operators look after all jobs, administrators may do everything. Fronts and
    members are programs of the fleet that the host is in: its peers.
    """

    ANALYST = "analyst"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"
    FRONT = "front"
    MEMBER = "member"

    @property
    def peer(self) -> bool:
        """Whether the holder is a program of the fleet, and not a person."""
        return self in (Role.FRONT, Role.MEMBER)


MAY_GO_FIRST = frozenset({Role.ADMINISTRATOR})  # with a priority above 0
PEOPLE = tuple(role for role in Role if not role.peer)
PEERS = tuple(role for role in Role if role.peer)


class Principal(Model):
    """The client, by its certificate and the store at this moment."""

    user: UserName
    role: Role


class Certificate(Model):
    """A client certificate that this host issued. `serial` is in lowercase hexadecimal.

    `authority` is the id of the authority that signed it, empty if there has been only one. `renews` is the
    serial of the certificate with which its holder requested it. `used_at` is the time of the first request
    with it. `fingerprint` is its SHA-256, empty if that was not kept.
    """

    serial: str
    user: UserName
    role: Role
    issued_at: Time
    expires_at: Time
    revoked_at: Time | None = None
    authority: str = ""
    renews: str | None = None
    used_at: Time | None = None
    fingerprint: str = ""

    def good_at(self, moment: datetime) -> bool:
        """Whether the agent accepts it at that moment."""
        return self.revoked_at is None and moment <= self.expires_at


class Invitation(Model):
    """Permission to enrol once: whoever has its code gets a certificate of this user and role.

    `digest` is the SHA-256 of the code in hexadecimal; the code itself is stored nowhere. `days` is how long
    the certificate will be valid, `expires_at` the end of the invitation. Once it is used, `key` is the
    SHA-256 of the public key it was used for, and `certificate` what was issued, in PEM.
    """

    digest: str
    user: UserName
    role: Role
    days: int
    created_at: Time
    expires_at: Time
    key: str | None = None
    certificate: str | None = None

    def open_at(self, moment: datetime) -> bool:
        """Whether somebody can still enrol with it."""
        return self.certificate is None and moment < self.expires_at


class SigningRequest(Model):
    """A request for a certificate: to replace the one of this connection, or to enrol with an invitation.

    `csr` is a PKCS#10 signing request, in PEM or as the base64 of its DER. Only its key counts: the new
    certificate names the user of the old one, or of the invitation.
    """

    csr: Annotated[str, Field(min_length=1, max_length=MAX_SIGNING_REQUEST)]


class RenewedCertificate(Model):
    """A new certificate, and the one or two authorities to trust from now on, in PEM."""

    certificate: str
    ca_certificates: str
    serial: str
    expires_at: Time
