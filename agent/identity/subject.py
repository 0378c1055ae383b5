"""The user, or the program of a fleet, that a client certificate names."""

import contextlib
import functools
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import TypeAdapter, ValidationError

from ..errors import AgentError, Problem
from ..model.base import UserName
from ..model.certificate import PEERS, Role

URI_PREFIX = "urn:ml-job:user:"
PEER_PREFIX = "urn:ml-fleet:"  # then the role, a colon, and the name

_USER_NAME: TypeAdapter[str] = TypeAdapter(UserName)


@dataclass(frozen=True)
class Subject:
    """The user that a certificate names; `serial` and `fingerprint` are as in `model.certificate`.

    The certificate of a fleet's authority says the `role`, and `user` is then the name of a front, or of the
    host that a member is of. A user's role is in the store.
    """

    user: str
    serial: str
    fingerprint: str = field(default="", compare=False)
    role: Role | None = None


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 fingerprint of a certificate, in lowercase hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def identify(der: bytes) -> Subject:
    """The user of a client certificate that the handshake has verified.

    The rules are stricter than OpenSSL's: the certificate must be a leaf (`CA:FALSE`), be for clients
    (`clientAuth`; OpenSSL accepts a certificate without extended key usage), name exactly one user, and be
    valid now. A connection may outlive its certificate, so this is checked for each request. Whether the
    certificate is known and not revoked, and the user's role, are in the store.

    Raises `AgentError` (certificate-refused) that says why.
    """
    subject, start, end = _read(der)
    moment = datetime.now(UTC)
    if moment < start:
        raise _refused(f"it is not valid before {start:%Y-%m-%d %H:%M} UTC")
    if moment > end:
        raise _refused(f"it expired at {end:%Y-%m-%d %H:%M} UTC")
    return subject


@functools.lru_cache(maxsize=1024)  # each stream asks every few seconds
def _read(der: bytes) -> tuple[Subject, datetime, datetime]:
    """The constant part of a certificate: the user it names, and the start and end of its validity."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound as error:
        raise _refused("it lacks basic constraints, extended key usage or alternative names") from error
    except ValueError as error:
        raise _refused("it cannot be read") from error
    if constraints.ca:
        raise _refused("it belongs to a certificate authority, not to a client")
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise _refused("its extended key usage is not clientAuth")
    name, role = _name_of(names)
    subject = Subject(name, f"{certificate.serial_number:x}", fingerprint(certificate), role)
    return subject, certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _name_of(names: list[x509.GeneralName]) -> tuple[str, Role | None]:
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise _refused("it must have exactly one alternative name, a URI")
    uri = names[0].value
    prefixes = {URI_PREFIX: None} | {f"{PEER_PREFIX}{role}:": role for role in PEERS}
    for prefix, role in prefixes.items():
        if uri.startswith(prefix):
            with contextlib.suppress(ValidationError):
                return _USER_NAME.validate_python(uri.removeprefix(prefix)), role
    raise _refused(f"its URI is not {URI_PREFIX}<name>")


def _refused(why: str) -> AgentError:
    return AgentError(
        Problem.CERTIFICATE_REFUSED,
        f"The client certificate is refused: {why}.",
        "Ask this host's administrator for a new one (`ml-agent issue`).",
    )
