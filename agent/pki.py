"""The private certificate authority: what it issues, what the server accepts, who a certificate names.

In the PKI directory: `ca.crt` (the authorities that are trusted, the issuing one first: a second one may
stand there while the first is being replaced), `ca.key`, `server.crt`, `server.key`.
"""

import ipaddress
import logging
import os
import re
import secrets
import ssl
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from pydantic import TypeAdapter, ValidationError

from .errors import AgentError, Problem
from .models import UserName

log = logging.getLogger("ml-agent")

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=820)  # macOS and iOS accept 825 at the most (Apple, HT210176)
CLIENT_LIFETIME = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)  # a new certificate is good at once where the clock is a little late

LOOK_INTERVAL = 1.0  # seconds between two looks at the files of the server's context

URI_PREFIX = "urn:ml-job:user:"

SERVER_FILES = ("ca.crt", "server.crt", "server.key")
Stamp = tuple[int, int, int] | None  # inode, size and time of a file; None without it

_USER_NAME: TypeAdapter[str] = TypeAdapter(UserName)
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123
_HOST_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.IGNORECASE)
_PASSWORD_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # noqa: S105 (32 characters that nobody confuses)


@dataclass(frozen=True)
class Subject:
    """Who a client certificate names; `serial` is in lowercase hexadecimal, as in `models.Certificate`."""

    user: str
    serial: str


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key, and the authority that signed it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuer: x509.Certificate

    @property
    def serial(self) -> str:
        """The serial number in lowercase hexadecimal."""
        return f"{self.certificate.serial_number:x}"

    def certificate_pem(self) -> bytes:
        """The certificate alone; who checks it has the authority's."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """The private key, unencrypted PKCS#8."""
        return _key_pem(self.key)

    def pkcs12(self, name: str, password: str) -> bytes:
        """Certificate, key and authority as one file that every macOS keychain imports.

        The algorithms are the oldest that still import everywhere: the keychain refuses the modern ones on
        releases in use, and any empty password. What protects the file is the password's own entropy.
        """
        if not password:
            raise ValueError("a PKCS#12 file needs a password")
        encryption = (
            serialization.PrivateFormat.PKCS12.encryption_builder()
            .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
            .hmac_hash(hashes.SHA1())  # noqa: S303
            .build(password.encode())
        )
        return pkcs12.serialize_key_and_certificates(
            name.encode(), self.key, self.certificate, [self.issuer], encryption
        )


@dataclass(frozen=True)
class Authority:
    """The issuing certificate authority and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, directory: Path, common_name: str) -> Self:
        """Makes `ca.key` and `ca.crt`; raises `AgentError` where either is there already."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        public = key.public_key()
        builder = (
            _builder(name, name, public, CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        )
        authority = cls(builder.sign(key, hashes.SHA256()), key)
        write_file(directory / "ca.key", _key_pem(key), mode=0o600)
        write_file(directory / "ca.crt", authority.certificate_pem(), mode=0o644)
        return authority

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The authority that `create` made; raises `AgentError` (configuration) where it cannot be read."""
        path = directory / "ca.key"
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise _unreadable(path, error) from error
        certificate = certificates(directory / "ca.crt")[0]
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise AgentError(
                Problem.CONFIGURATION,
                f"{path} is not the key of the first certificate in {directory / 'ca.crt'}.",
                "Restore both files from the same backup.",
            )
        return cls(certificate, key)

    def certificate_pem(self) -> bytes:
        """The authority's own certificate: the one thing a client has to trust."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue_server(self, names: Sequence[str]) -> Issued:
        """A certificate for the HTTPS server; `names` are DNS names and IP addresses, at least one.

        Raises `AgentError` (configuration) naming the first that is neither.
        """
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
        return self._issue(names[0], alternative, ExtendedKeyUsageOID.SERVER_AUTH, SERVER_LIFETIME)

    def issue_client(self, user: str, lifetime: timedelta = CLIENT_LIFETIME) -> Issued:
        """A certificate that names `user` (a valid `UserName`) in its one URI."""
        alternative = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(URI_PREFIX + user)])
        return self._issue(user, alternative, ExtendedKeyUsageOID.CLIENT_AUTH, lifetime)

    def _issue(
        self,
        common_name: str,
        alternative: x509.SubjectAlternativeName,
        usage: ObjectIdentifier,
        lifetime: timedelta,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        issuer_key_id = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _builder(_name(common_name), self.certificate.subject, public, lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(alternative, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id), critical=False
            )
        )
        return Issued(builder.sign(self.key, hashes.SHA256()), key, self.certificate)


def server_context(directory: Path) -> ssl.SSLContext:
    """TLS 1.3 with a client certificate of our own authority, and no other way in.

    Raises `AgentError` (configuration) where a file is missing or wrong.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    # A resumed session would skip the look at the certificate's expiry.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(directory / "server.crt", directory / "server.key")
        context.load_verify_locations(directory / "ca.crt")
    except OSError as error:  # ssl.SSLError is one
        raise AgentError(
            Problem.CONFIGURATION,
            f"The server's certificate in {directory} cannot be used: {error}.",
            "`ml-agent init` makes what is missing.",
        ) from error
    return context


class CurrentContext:
    """The server's context for each new connection, made anew when its files have changed.

    So the server's certificate and the authority are replaced without a restart; connections that stand keep
    what they have. Files that cannot be used, such as half of a new set, are said once and change nothing.
    Raises `AgentError` (configuration) where there is none to begin with.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._used = self._stamps()
        self._refused: list[Stamp] = []
        self._context = server_context(directory)
        self._looked = time.monotonic()

    def __call__(self) -> ssl.SSLContext:
        """The context now; looks at the files about once a second."""
        if time.monotonic() - self._looked >= LOOK_INTERVAL:
            self._looked = time.monotonic()
            self._look()
        return self._context

    def _look(self) -> None:
        if (stamps := self._stamps()) == self._used:
            return
        try:
            self._context = server_context(self._directory)
        except AgentError as error:
            if stamps != self._refused:
                log.error("%s Connections go on with the one before.", error.message)
            self._refused = stamps
            return
        self._used = stamps
        log.info("new connections are made with the new certificates in %s", self._directory)

    def _stamps(self) -> list[Stamp]:
        return [_stamp(self._directory / name) for name in SERVER_FILES]


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def identify(der: bytes) -> Subject:
    """Whom a verified peer certificate names, by rules that are stricter than OpenSSL's.

    The handshake has shown that our authority signed it. Here it must also be a leaf (`CA:FALSE`), be made
    for clients (`clientAuth`; OpenSSL takes a certificate without any extended key usage), name exactly one
    user, and be valid now: a connection may outlive its certificate, so this is asked for each request.
    Whether the serial number is known, not revoked, and in what role, is the store's to say.

    Raises `AgentError` (certificate-refused) that says why.
    """
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
    moment = datetime.now(UTC)
    if moment < certificate.not_valid_before_utc:
        raise _refused(f"it is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    if moment > certificate.not_valid_after_utc:
        raise _refused(f"it expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    return Subject(_user_of(names), f"{certificate.serial_number:x}")


def certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, at least one; raises `AgentError` (configuration) naming the file."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def server_name(name: str) -> str | None:
    """The normal form of a DNS name or an IP address, None where it is neither."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower() if len(name) <= 253 and _HOST_NAME.fullmatch(name) else None


def server_names(certificate: x509.Certificate) -> list[str]:
    """The DNS names and IP addresses a server certificate is for, as `Authority.issue_server` takes them."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def new_password() -> str:
    """A password of 100 random bits in groups that can be typed: `xxxxx-xxxxx-xxxxx-xxxxx`."""
    groups = ("".join(secrets.choice(_PASSWORD_ALPHABET) for _ in range(5)) for _ in range(4))
    return "-".join(groups)


def write_file(path: Path, data: bytes, *, mode: int, replace: bool = False) -> None:
    """Writes a file whole or not at all, durably, and with `mode` from its first byte.

    Raises `AgentError` (configuration) where the file exists and `replace` was not asked for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # unlike a rename, this refuses to take another file's place
    except FileExistsError as error:
        raise AgentError(
            Problem.CONFIGURATION, f"{path} exists and is not overwritten.", "Move it away first."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    # X.520 ends a common name at 64 characters; whoever checks a certificate reads the alternative names.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _general_name(name: str) -> x509.GeneralName:
    normal = server_name(name)
    if normal is None:
        raise AgentError(
            Problem.CONFIGURATION,
            f"{name!r} is neither a DNS name nor an IP address.",
            "Write international names in their xn-- form.",
        )
    try:
        return x509.IPAddress(ipaddress.ip_address(normal))
    except ValueError:
        return x509.DNSName(normal)


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


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _refused(why: str) -> AgentError:
    return AgentError(
        Problem.CERTIFICATE_REFUSED,
        f"The client certificate is refused: {why}.",
        "Ask this host's administrator for a new one (`ml-agent issue`).",
    )


def _unreadable(path: Path, error: Exception) -> AgentError:
    return AgentError(
        Problem.CONFIGURATION, f"{path} cannot be read: {error}.", "`ml-agent init` makes what is missing."
    )
