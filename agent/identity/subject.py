"""Who a client certificate names."""

import functools
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import TypeAdapter, ValidationError

from ..errors import AgentError, Problem
from ..model.base import UserName

URI_PREFIX = "urn:ml-job:user:"

_USER_NAME: TypeAdapter[str] = TypeAdapter(UserName)


@dataclass(frozen=True)
class Subject:
    """Who a client certificate names; `serial` and `fingerprint` are as in `models.Certificate`."""

    user: str
    serial: str
    fingerprint: str = field(default="", compare=False)


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 of a certificate, in lowercase hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def identify(der: bytes) -> Subject:
    """Whom a verified peer certificate names, by rules that are stricter than OpenSSL's.

    The handshake has shown that our authority signed it. Here it must also be a leaf (`CA:FALSE`), be made
    for clients (`clientAuth`; OpenSSL takes a certificate without any extended key usage), name exactly one
    user, and be valid now: a connection may outlive its certificate, so this is asked for each request.
    Whether the serial number is known, not revoked, and in what role, is the store's to say.

    Raises `AgentError` (certificate-refused) that says why.
    """
    subject, start, end = _read(der)
    moment = datetime.now(UTC)
    if moment < start:
        raise _refused(f"it is not valid before {start:%Y-%m-%d %H:%M} UTC")
    if moment > end:
        raise _refused(f"it expired at {end:%Y-%m-%d %H:%M} UTC")
    return subject


@functools.lru_cache(maxsize=1024)  # streams ask every couple of seconds
def _read(der: bytes) -> tuple[Subject, datetime, datetime]:
    """What does not change of a certificate: whom it names, and from when to when it is valid."""
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
        raise _refused("it is a certificate authority's, not a client's")
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise _refused("its extended key usage is not clientAuth")
    subject = Subject(_user_of(names), f"{certificate.serial_number:x}", fingerprint(certificate))
    return subject, certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _user_of(names: list[x509.GeneralName]) -> str:
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise _refused("it must have exactly one alternative name, a URI")
    uri = names[0].value
    try:
        if uri.startswith(URI_PREFIX):
            return _USER_NAME.validate_python(uri.removeprefix(URI_PREFIX))
    except ValidationError:
        pass
    raise _refused(f"its URI is not {URI_PREFIX}<name>")


def _refused(why: str) -> AgentError:
    return AgentError(
        Problem.CERTIFICATE_REFUSED,
        f"The client certificate is refused: {why}.",
        "Ask this host's administrator for a new one (`ml-agent issue`).",
    )
