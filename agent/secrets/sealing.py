"""Secrets sealed for hosts, so that whoever keeps or carries them cannot read them.

A value is encrypted once with a key of its own (AES-256-GCM), and that key is sealed for each host (HPKE, RFC
9180). A host can seal the key for another host without the value. Both say which secret they belong to:
under another user, name, version or host, they cannot be opened.
"""

import base64
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from ..errors import AgentError, Problem
from ..host.files import write_file
from ..model.base import SecretName, UserName

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
PURPOSE = "ml-agent secret 1"
KEY_BITS = 256
NONCE_BYTES = 12


@dataclass(frozen=True)
class About:
    """The secret that something sealed belongs to."""

    user: UserName
    name: SecretName
    version: str

    def bound(self, *more: str) -> bytes:
        """What is authenticated with it. None of the parts can have a NUL."""
        return "\0".join((PURPOSE, self.user, self.name, self.version, *more)).encode()


def new_version(moment: int) -> str:
    """A version that is after those of earlier moments, in microseconds since 1970 by the record's clock.

    It is random besides, and not made of the value: with a hash, whoever reads versions could try guesses.
    """
    return f"{moment:016d}-{secrets.token_hex(8)}"


def new_key() -> bytes:
    """The key of one value."""
    return AESGCM.generate_key(KEY_BITS)


def encrypt(value: bytes, key: bytes, about: About) -> str:
    """The value in base64, with a key that encrypts nothing else."""
    nonce = os.urandom(NONCE_BYTES)
    return _text(nonce + AESGCM(key).encrypt(nonce, value, about.bound()))


def decrypt(text: str, key: bytes, about: About) -> bytes:
    """The value. Raises `AgentError` (invalid-request) for what was not encrypted so."""
    try:
        data = base64.b64decode(text, validate=True)
        return AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], about.bound())
    except (InvalidTag, ValueError) as error:  # binascii.Error is one
        raise _not_sealed(about) from error


def seal(key: bytes, host: str, public: str, about: About) -> str:
    """The key of a value for the host with that public key, both in base64.

    Raises `AgentError` (invalid-request) for what is no public key.
    """
    try:
        to = X25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        return _text(SUITE.encrypt(key, to, info=about.bound(host)))
    except ValueError as error:
        raise AgentError(Problem.INVALID_REQUEST, f"The host {host} has no key of X25519.") from error


def unseal(text: str, host: str, private: X25519PrivateKey, about: About) -> bytes:
    """The key of a value. Raises `AgentError` (invalid-request) for what is not for this host and secret."""
    try:
        return SUITE.decrypt(base64.b64decode(text, validate=True), private, info=about.bound(host))
    except (InvalidTag, ValueError) as error:
        raise _not_sealed(about) from error


def private_key(path: Path) -> X25519PrivateKey:
    """The host's key in a PEM file, made where there is none. Raises `AgentError` (host, configuration)."""
    key = None
    try:
        if not path.exists():
            _make_key(path)
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise AgentError(Problem.HOST, f"{path} cannot be read or made: {error.strerror}.") from error
    except (ValueError, TypeError):
        pass
    if not isinstance(key, X25519PrivateKey):
        raise AgentError(
            Problem.CONFIGURATION,
            f"{path} is not the key with which this host opens secrets of its fleet.",
            "Remove it: the agent makes another one, and other hosts seal the secrets for it.",
        )
    return key


def _make_key(path: Path) -> None:
    pem = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_file(path, pem, mode=0o600)


def public_bytes(key: X25519PrivateKey) -> str:
    """The public key in base64."""
    return _text(key.public_key().public_bytes_raw())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _not_sealed(about: About) -> AgentError:
    return AgentError(
        Problem.INVALID_REQUEST,
        f"The secret {about.name} of {about.user} is not sealed for this host, or not in this version.",
    )
