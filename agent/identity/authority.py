"""The private certificate authority: what it issues, what the server accepts, who a certificate names.

In the PKI directory: `ca.crt` (the authorities that are trusted, the issuing one first), `ca.key`,
`server.crt`, `server.key`. While one authority replaces another, `ca.crt` has the two: the new one, whose key
is `ca.key.next`, and behind it the old one with `ca.key`, which all clients trust and which the server's
certificate is from: `rotation.py`.
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
SERVER_LIFETIME = timedelta(days=820)  # macOS and iOS accept 825 at the most (Apple, HT210176)
CLIENT_LIFETIME = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)  # a new certificate is good at once where the clock is a little late

ClientKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


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
        return key_pem(self.key)

    def issue_server(self, names: Sequence[str]) -> Issued:
        """A certificate for the HTTPS server; `names` are DNS names and IP addresses, at least one.

        Raises `AgentError` (configuration) naming the first that is neither, or if the authority has ended.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([general_name(name) for name in names])
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
