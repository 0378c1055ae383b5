"""PKCS#10 signing requests from clients (RFC 2986), of which only the key is used."""

import base64
import binascii

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ..errors import AgentError, FieldError, Problem
from .authority import ClientKey

CURVES = (ec.SECP256R1, ec.SECP384R1)
RSA_BITS = range(2048, 4097)
RSA_EXPONENT = 65537  # the default of all tools; a small one weakens the key, a large one costs time
DIGESTS = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

PEM = "-----BEGIN"

# Not Ed25519: the macOS keychain has no identities of that kind.
KEYS = "an EC key on P-256 or P-384, or an RSA key of 2048 to 4096 bits"


def public_key(text: str) -> ClientKey:
    """The key of a request in PEM or in base64 of DER. The sender has proved to have the private key.

    Raises `AgentError` (invalid-request) for the field `csr`.
    """
    try:
        request = _parse(text)
        key = request.public_key()
        digest = request.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refused("must be a PKCS#10 signing request, as `openssl req -new` makes it") from error
    # First the bounds: the key determines how long the check of the signature takes.
    if not is_accepted(key):
        raise _refused(f"must be of {KEYS}")
    if not isinstance(digest, DIGESTS):
        raise _refused("must be signed with SHA-256, SHA-384 or SHA-512")
    try:
        good = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        good = False
    if not good:
        raise _refused("must be signed with the key that it names")
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    return key


def _parse(text: str) -> x509.CertificateSigningRequest:
    stripped = text.strip()
    if stripped.startswith(PEM):
        return x509.load_pem_x509_csr(stripped.encode())
    try:
        return x509.load_der_x509_csr(base64.b64decode("".join(stripped.split()), validate=True))
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def is_accepted(key: object) -> bool:
    """Whether a key is of one of the accepted kinds and sizes."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, CURVES)
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size in RSA_BITS and key.public_numbers().e == RSA_EXPONENT
    return False


def _refused(why: str) -> AgentError:
    return AgentError(
        Problem.INVALID_REQUEST, "The signing request is refused.", fields=(FieldError("csr", why),)
    )
