"""A certificate that was issued, with its key, and the formats in which its holder gets them."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

_PASSWORD_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # noqa: S105 (32 characters without look-alikes)


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
        """The certificate in PEM, without the authority's."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """The private key in PEM, as unencrypted PKCS#8."""
        return key_pem(self.key)

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


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS#8, in PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
