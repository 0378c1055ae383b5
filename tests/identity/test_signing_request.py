"""Which signing requests are accepted."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.errors import AgentError, Problem
from agent.identity.signing_request import is_accepted, public_key
from tests.support.pki import make_signing_request, signing_request

KEYS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA of 2048 bits": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
def test_the_key_is_read_from_pem_and_from_base64(kind: str) -> None:
    key = KEYS[kind]()
    request = make_signing_request(key)
    text = base64.b64encode(request.public_bytes(Encoding.DER)).decode()
    wrapped = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    for form in (request.public_bytes(Encoding.PEM).decode(), text, wrapped + "\n"):
        assert public_key(form) == key.public_key()


def rsa_request(exponent: int, bits: int) -> str:
    return signing_request(rsa.generate_private_key(exponent, bits))


def _forged() -> str:
    """Signed with one key, naming another."""
    hers, his = (make_signing_request(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    der = hers.public_bytes(Encoding.DER)
    point = [
        each.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for each in (hers, his)
    ]
    return base64.b64encode(der.replace(point[0], point[1])).decode()


REFUSED = {
    "no request": (lambda: "hello", "must be a PKCS#10"),
    "no base64": (lambda: "ä" * 100, "must be a PKCS#10"),
    "an empty PEM": (
        lambda: "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
        "must be a PKCS#10",
    ),
    "a PEM of something else": (lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n", "must be a PKCS#10"),
    "DER that ends early": (lambda: base64.b64encode(b"\x30\x82\xff\xff").decode(), "must be a PKCS#10"),
    "P-521": (lambda: signing_request(ec.generate_private_key(ec.SECP521R1())), "must be of an EC key"),
    "secp256k1": (lambda: signing_request(ec.generate_private_key(ec.SECP256K1())), "must be of an EC key"),
    "Ed25519": (lambda: signing_request(ed25519.Ed25519PrivateKey.generate(), None), "must be of an EC key"),
    "RSA of 1024 bits": (lambda: rsa_request(65537, 1024), "must be of an EC key"),
    "RSA with an exponent of 3": (lambda: rsa_request(3, 2048), "must be of an EC key"),
    "signed with another key": (_forged, "signed with the key that it names"),
    "SHA-224": (
        lambda: signing_request(ec.generate_private_key(ec.SECP256R1()), hashes.SHA224()),
        "must be signed with SHA-256",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_request_names_the_field(kind: str) -> None:
    text, why = REFUSED[kind]
    with pytest.raises(AgentError) as caught:
        public_key(text())
    assert caught.value.problem is Problem.INVALID_REQUEST
    (error,) = caught.value.fields
    assert error.field == "csr"
    assert why in error.message


def test_a_key_that_is_too_large_is_not_accepted() -> None:
    large = rsa.RSAPublicNumbers(65537, (1 << 8191) + 1).public_key()
    assert not is_accepted(large)
