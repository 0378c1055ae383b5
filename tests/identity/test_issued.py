"""The files that carry a certificate to its holder."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from agent.identity.authority import Authority
from agent.identity.issued import new_password


def test_a_pkcs12_file_has_certificate_key_and_authority(
    authority: Authority,
) -> None:
    alice = authority.issue_client("alice")
    password = new_password()
    data = alice.pkcs12("alice", password)
    key, certificate, others = pkcs12.load_key_and_certificates(data, password.encode())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == alice.key.public_key()
    assert (certificate, others) == (alice.certificate, [authority.certificate])
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_key_and_certificates(data, b"wrong")


def test_a_pkcs12_file_without_a_password_is_never_made(authority: Authority) -> None:
    with pytest.raises(ValueError, match="needs a password"):
        authority.issue_client("alice").pkcs12("alice", "")


def test_passwords_differ_and_can_be_typed() -> None:
    passwords = {new_password() for _ in range(100)}
    assert len(passwords) == 100
    assert all(len(password) == 23 and password.isascii() for password in passwords)
