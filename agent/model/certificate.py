"""Client certificates, roles, and who is asking."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import (
    Field,
)

from .base import Model, Time, UserName

MAX_SIGNING_REQUEST = 8192  # characters; one of a 4096-bit RSA key has 1,700


class Role(StrEnum):
    """What a certificate's holder may do; `agent.api.access` has the table.

    Analysts have their own jobs, operators look after everybody's, administrators may do all.
    """

    ANALYST = "analyst"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


class Principal(Model):
    """Who is asking, as their certificate and the store say at this moment."""

    user: UserName
    role: Role


class Certificate(Model):
    """A client certificate this host issued; `serial` is its serial number in lowercase hexadecimal.

    `authority` names who signed it (`pki.authority_id`; empty where there had been only one ever),
    `renews` the serial of the certificate under which its holder asked for it, `used_at` is when a request
    came with it for the first time, `fingerprint` the SHA-256 of all of it (empty where that was not kept).
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
        """Whether its holder is answered then."""
        return self.revoked_at is None and moment <= self.expires_at


class SigningRequest(Model):
    """A request for a new certificate in the place of the one that it is sent under.

    `csr` is a PKCS#10 signing request, in PEM or as the base64 of its DER. Only its key counts: who the
    new certificate names is who the old one names.
    """

    csr: Annotated[str, Field(min_length=1, max_length=MAX_SIGNING_REQUEST)]


class RenewedCertificate(Model):
    """A new certificate, and the authorities to trust from now on, one or two: both in PEM."""

    certificate: str
    ca_certificates: str
    serial: str
    expires_at: Time
