"""The private certificate authority, and what it issues.

Files in the PKI directory: `ca.crt` (the trusted authorities, the issuing one first), `ca.key`, `server.crt`
and `server.key`. During a rotation (`rotation.py`), `ca.crt` has two authorities: first the new one, with the
key `ca.key.next`, then the old one, with the key `ca.key`. All clients trust the old one, so it issued the
server's certificate.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ..errors import AgentError, Problem
from ..host.files import refuse_to_overwrite
from .issued import Issued, key_pem
from .key_files import certificates, key_file, read_key, replace_pair, reread
from .server_names import general_name
from .subject import URI_PREFIX, fingerprint

log = logging.getLogger("ml-agent")

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=820)  # macOS and iOS accept at most 825 (Apple, HT210176)
CLIENT_LIFETIME = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)  # a new certificate is also valid where the clock is slow

ClientKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True)
class Authority:
    """The issuing certificate authority and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, common_name: str) -> "Authority":
        """A new authority, in memory."""
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
                raise AgentError(Problem.CONFIGURATION, f"{path} is not a key that `ml-agent init` made.")
            return cls(certificate, key)

        return reread(read)

    def certificate_pem(self) -> bytes:
        """The authority's own certificate in PEM, which clients must trust."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """The private key in PEM, as unencrypted PKCS#8."""
        return key_pem(self.key)

    def issue_server(self, names: Sequence[str]) -> Issued:
        """A certificate for the HTTPS server; `names` are DNS names and IP addresses, at least one.

        Raises `AgentError` (configuration) if a name is neither, or if the authority has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([general_name(name) for name in names])
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        certificate = self._certify(names[0], alternative, usage, SERVER_LIFETIME, key.public_key())
        return Issued(certificate, key, self.certificate)

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
            raise AgentError(
                Problem.CONFIGURATION,
                f"The certificate authority expired at {last:%Y-%m-%d %H:%M} UTC and issues nothing.",
                "`ml-agent rotate-ca` makes a new one, and `ml-agent rotate-ca --finish` removes this one.",
            )
        # A certificate that outlived its authority would look valid and be refused.
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
    """The trusted authorities: the issuing one first, then the one that it replaces, if any."""
    return certificates(directory / "ca.crt")


def authority_id(certificate: x509.Certificate) -> str:
    """The authority's name in the store: the first 16 digits of its SHA-256 fingerprint."""
    return fingerprint(certificate)[:16]


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
    # X.520 limits a common name to 64 characters. Nobody checks it: the alternative names count.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
