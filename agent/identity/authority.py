"""The private certificate authority, and what it issues.

Files in the PKI directory: `ca.crt` (the trusted authorities, the issuing one first), `ca.key`, `server.crt`
and `server.key`. During a rotation (`rotation.py`), `ca.crt` has two authorities: first the new one, with the
key `ca.key.next`, then the old one, with the key `ca.key`. All clients trust the old one, so it issued the
server's certificate.

The directory `fleet` below it has `ca.crt`, `server.crt` and `server.key` of the fleet that the host is in.
Its programs are known by certificates of that authority, and ask for that server certificate by its name.
"""

import contextlib
import functools
import ipaddress
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ..errors import misconfigured
from ..host.files import refuse_to_overwrite
from .key_files import certificates, key_file, read_key, replace_pair, reread
from .subject import PEER_PREFIX, URI_PREFIX, fingerprint

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123
_HOST_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.IGNORECASE)

_PASSWORD_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # noqa: S105 (32 characters without look-alikes)

FLEET = "fleet"  # the directory of a fleet's files in that of a host's own

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=820)  # macOS and iOS accept at most 825 (Apple, HT210176)
CLIENT_LIFETIME = timedelta(days=30)
PEER_LIFETIME = timedelta(days=365)
CLOCK_SKEW = timedelta(minutes=5)  # a new certificate is also valid where the clock is slow

ClientKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def server_name(name: str) -> str | None:
    """The normal form of a DNS name or an IP address; None if it is neither."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower() if len(name) <= 253 and _HOST_NAME.fullmatch(name) else None


def server_names(certificate: x509.Certificate) -> list[str]:
    """The DNS names and IP addresses of a server certificate, as `Authority.issue_server` takes them."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def general_name(name: str) -> x509.GeneralName:
    """A name as certificates have it. Raises `AgentError` (configuration) if it is not valid."""
    normal = server_name(name)
    if normal is None:
        raise misconfigured(
            f"{name!r} is neither a DNS name nor an IP address.",
            "Write international names in the xn-- form.",
        )
    try:
        return x509.IPAddress(ipaddress.ip_address(normal))
    except ValueError:
        return x509.DNSName(normal)


@dataclass(frozen=True)
class KeyPair:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        """The certificate itself in PEM, without that of its authority."""
        return pem([self.certificate])

    def key_pem(self) -> bytes:
        """The private key in PEM, as unencrypted PKCS#8."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@dataclass(frozen=True)
class Issued(KeyPair):
    """What an authority has issued, and the authority's certificate."""

    issuer: x509.Certificate

    @property
    def serial(self) -> str:
        """The serial number in lowercase hexadecimal."""
        return f"{self.certificate.serial_number:x}"

    def pkcs12(self, name: str, password: str, authorities: Sequence[x509.Certificate] = ()) -> bytes:
        """Certificate, key and authorities (default: the issuer) as one file for the macOS keychain.

        The algorithms are old, because the keychain of macOS releases in use refuses modern ones. It also
        refuses an empty password. The entropy of the password protects the file.
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


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """The content of a PEM file with these certificates."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def new_password() -> str:
    """A password of 100 random bits in four groups that are easy to type: `xxxxx-xxxxx-xxxxx-xxxxx`."""
    groups = ("".join(secrets.choice(_PASSWORD_ALPHABET) for _ in range(5)) for _ in range(4))
    return "-".join(groups)


@dataclass(frozen=True)
class Authority(KeyPair):
    """The issuing certificate authority, whose own certificate clients must trust."""

    @classmethod
    def make(cls, common_name: str) -> "Authority":
        """A new authority, in memory."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        public = key.public_key()
        builder = (
            _builder(name, name, public, _now() + CA_LIFETIME, signs=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def create(cls, directory: Path, common_name: str) -> "Authority":
        """Makes `ca.key` and `ca.crt`. Raises `AgentError` (configuration) if either exists."""
        refuse_to_overwrite(directory / "ca.key", directory / "ca.crt")
        authority = cls.make(common_name)
        replace_pair(directory, "ca", authority.certificate_pem(), authority.key_pem())
        return authority

    @classmethod
    def load(cls, directory: Path, *, eldest: bool = False) -> "Authority":
        """The authority that issues to clients; or the `eldest`, which all clients trust.

        They differ only during a rotation. Raises `AgentError` (configuration) if a file cannot be read.
        """

        def read() -> Authority:
            certificate = authorities(directory)[-1 if eldest else 0]
            path = key_file(directory, "ca", certificate)
            key = read_key(path)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise misconfigured(f"{path} is not a key that `ml-agent init` made.")
            return cls(certificate, key)

        return reread(read)

    def issue_server(self, names: Sequence[str]) -> Issued:
        """A certificate for the HTTPS server; `names` are DNS names and IP addresses, at least one.

        Raises `AgentError` (configuration) if a name is neither, or if the authority has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        return Issued(self.certify_server(names, key.public_key()), key, self.certificate)

    def certify_server(self, names: Sequence[str], key: ClientKey) -> x509.Certificate:
        """The same for a key whose private half its holder keeps."""
        alternative = x509.SubjectAlternativeName([general_name(name) for name in names])
        return self._certify(names[0], alternative, ExtendedKeyUsageOID.SERVER_AUTH, SERVER_LIFETIME, key)

    def certify_peer(
        self, role: str, name: str, key: ClientKey, lifetime: timedelta = PEER_LIFETIME
    ) -> x509.Certificate:
        """A certificate of a fleet's authority for one of the fleet's programs.

        Its common name, ROLE-NAME, is the user that RabbitMQ takes it for.
        """
        alternative = x509.SubjectAlternativeName(
            [x509.UniformResourceIdentifier(f"{PEER_PREFIX}{role}:{name}")]
        )
        return self._certify(f"{role}-{name}", alternative, ExtendedKeyUsageOID.CLIENT_AUTH, lifetime, key)

    def issue_client(self, user: str, lifetime: timedelta = CLIENT_LIFETIME) -> Issued:
        """A key, and a certificate for it that names `user` (a valid `UserName`) in its only URI.

        Raises `AgentError` (configuration) if the authority has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        return Issued(self.certify_client(user, key.public_key(), lifetime), key, self.certificate)

    def certify_client(self, user: str, key: ClientKey, lifetime: timedelta) -> x509.Certificate:
        """The same for a key whose private half its holder keeps."""
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
            raise misconfigured(
                f"The certificate authority expired at {last:%Y-%m-%d %H:%M} UTC and issues nothing.",
                "`ml-agent rotate-ca` makes a new one, and `ml-agent rotate-ca --finish` removes this one.",
            )
        # A certificate that outlived its authority would look valid and be refused.
        end = min(_now() + lifetime, last)
        builder = (
            _builder(_name(common_name), self.certificate.subject, key, end)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(alternative, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id), critical=False
            )
        )
        return builder.sign(self.key, hashes.SHA256())


def authorities(directory: Path) -> list[x509.Certificate]:
    """The trusted authorities: the issuing one first, then the one that it replaces, if any."""
    return certificates(directory / "ca.crt")


@functools.lru_cache(maxsize=1024)
def issued_by(der: bytes, trusted: bytes) -> bool:
    """Whether one of these authorities (PEM) has signed a certificate (DER)."""
    certificate = x509.load_der_x509_certificate(der)
    for authority in x509.load_pem_x509_certificates(trusted) if trusted else ():
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(authority)
            return True
    return False


def authority_id(certificate: x509.Certificate) -> str:
    """The authority's name in the store: the first 16 digits of its SHA-256 fingerprint."""
    return fingerprint(certificate)[:16]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ClientKey, end: datetime, *, signs: bool = False
) -> x509.CertificateBuilder:
    """A certificate that is valid from now on, of an authority if it `signs` others."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=signs, path_length=0 if signs else None), critical=True)
        .add_extension(_key_usage(signs_certificates=signs), critical=True)
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
    # X.520 limits a common name to 64 characters. Nobody checks it: the alternative names count.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
