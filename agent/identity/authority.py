"""The private certificate authority: what it issues, what the server accepts, who a certificate names.

In the PKI directory: `ca.crt` (the authorities that are trusted, the issuing one first), `ca.key`,
`server.crt`, `server.key`. While one authority replaces another, `ca.crt` has the two: the new one, whose key
is `ca.key.next`, and behind it the old one with `ca.key`, which all clients trust and which the server's
certificate is from: `rotation.py`.
"""

import ipaddress
import logging
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ..errors import AgentError, Problem
from ..host.files import refuse_to_overwrite
from ..host.files import write_file as write_file
from .key_files import certificates as certificates
from .key_files import key_file, read_key, replace_pair, reread
from .subject import URI_PREFIX, fingerprint

log = logging.getLogger("ml-agent")

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=820)  # macOS and iOS accept 825 at the most (Apple, HT210176)
CLIENT_LIFETIME = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)  # a new certificate is good at once where the clock is a little late

ClientKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123
_HOST_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.IGNORECASE)
_PASSWORD_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # noqa: S105 (32 characters that nobody confuses)


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

    def pkcs12(self, name: str, password: str, authorities: Sequence[x509.Certificate] = ()) -> bytes:
        """Certificate, key and authorities (else the issuer) as one file that every macOS keychain imports.

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
            name.encode(), self.key, self.certificate, authorities or [self.issuer], encryption
        )


@dataclass(frozen=True)
class Authority:
    """The issuing certificate authority and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, common_name: str) -> "Authority":
        """A new one, in memory."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        public = key.public_key()
        builder = (
            _builder(name, name, public, _now() + CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def create(cls, directory: Path, common_name: str) -> "Authority":
        """Makes `ca.key` and `ca.crt`; raises `AgentError` where either is there already."""
        refuse_to_overwrite(directory / "ca.key", directory / "ca.crt")
        authority = cls.make(common_name)
        replace_pair(directory, "ca", authority.certificate_pem(), authority.key_pem())
        return authority

    @classmethod
    def load(cls, directory: Path, *, eldest: bool = False) -> "Authority":
        """The one that issues; or the `eldest`, which issues the server's certificate: all trust it.

        They are the same but while one replaces the other. Raises `AgentError` (configuration) where a file
        cannot be read.
        """

        def read() -> Authority:
            certificate = authorities(directory)[-1 if eldest else 0]
            path = key_file(directory, "ca", certificate)
            key = read_key(path)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise AgentError(Problem.CONFIGURATION, f"{path} is not a key that `ml-agent init` made.")
            return cls(certificate, key)

        return reread(read)

    def certificate_pem(self) -> bytes:
        """The authority's own certificate: the one thing a client has to trust."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """The private key, unencrypted PKCS#8."""
        return _key_pem(self.key)

    def issue_server(self, names: Sequence[str]) -> Issued:
        """A certificate for the HTTPS server; `names` are DNS names and IP addresses, at least one.

        Raises `AgentError` (configuration) naming the first that is neither, or if the authority has ended.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        certificate = self._certify(names[0], alternative, usage, SERVER_LIFETIME, key.public_key())
        return Issued(certificate, key, self.certificate)

    def issue_client(self, user: str, lifetime: timedelta = CLIENT_LIFETIME) -> Issued:
        """A certificate that names `user` (a valid `UserName`) in its one URI, and a key for it.

        Raises `AgentError` (configuration) where the authority has ended.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        return Issued(self.certify_client(user, key.public_key(), lifetime), key, self.certificate)

    def certify_client(self, user: str, key: ClientKey, lifetime: timedelta) -> x509.Certificate:
        """The same for a key that its holder keeps."""
        alternative = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(URI_PREFIX + user)])
        return self._certify(user, alternative, ExtendedKeyUsageOID.CLIENT_AUTH, lifetime, key)

    def _certify(
        self,
        common_name: str,
        alternative: x509.SubjectAlternativeName,
        usage: ObjectIdentifier,
        lifetime: timedelta,
        key: ClientKey,
    ) -> x509.Certificate:
        issuer_key_id = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        last = self.certificate.not_valid_after_utc
        if last <= _now():
            raise AgentError(
                Problem.CONFIGURATION,
                f"The certificate authority ended at {last:%Y-%m-%d %H:%M} UTC, and issues nothing any more.",
                "`ml-agent rotate-ca` makes the next one, and `ml-agent rotate-ca --finish` ends this one.",
            )
        # None outlives its authority: it would look good and be refused.
        end = min(_now() + lifetime, last)
        builder = (
            _builder(_name(common_name), self.certificate.subject, key, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(alternative, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id), critical=False
            )
        )
        return builder.sign(self.key, hashes.SHA256())


def authorities(directory: Path) -> list[x509.Certificate]:
    """Those that are trusted: the one that issues first, and behind it the one that it replaces."""
    return certificates(directory / "ca.crt")


def authority_id(certificate: x509.Certificate) -> str:
    """What an authority is called in the record: the first 16 digits of its SHA-256 fingerprint."""
    return fingerprint(certificate)[:16]


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Certificates as the content of a PEM file."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


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


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ClientKey, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - CLOCK_SKEW)
        .not_valid_after(end)
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


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
