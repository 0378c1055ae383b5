"""What is sealed for a host: opened there, under its own name alone, and by nobody else."""

import base64
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Problem
from agent.secrets.sealing import (
    KEY_BITS,
    About,
    decrypt,
    encrypt,
    new_key,
    new_version,
    private_key,
    public_bytes,
    seal,
    unseal,
)

ABOUT = About("alice", "api", new_version(1))
VALUE = b"hunter2-do-not-show"
OTHERS = [
    replace(ABOUT, user="bob"),
    replace(ABOUT, name="apj"),
    replace(ABOUT, version=new_version(2)),
    replace(ABOUT, user="alicea", name="pi"),
]

# A key and a value as the first version of this code sealed them: what a record has must still be opened.
EARLIER = {
    "about": About("alice", "api", "0000000001000000-0123456789abcdef"),
    "private": "6BFUD+yJImumLOGXlpWzXRh6aOuWo7aj54HGmvmF600=",
    "key": "Up7n3GtCvQ4srsP9g3zkJQy8qETLzFPxh8BWifbAZmvYDqrRFvwL4uEkVrky"
    "dEc+TCsWPVsQxjQkwXSyR9LvIXtaiKmPq3H0jbGe2fuZttE=",
    "value": "0etA/gJ1TxcH1Nj1Sq23xWI9KgqeZl/BF1+FOgvSl3qUfUer59uovjhmnR0z9L0=",
}


@pytest.fixture(scope="module")
def private() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


@given(value=st.binary(max_size=2000))
def test_what_is_encrypted_is_read_with_its_key_and_no_other(value: bytes) -> None:
    key = new_key()
    text = encrypt(value, key, ABOUT)
    assert decrypt(text, key, ABOUT) == value
    with pytest.raises(AgentError):
        decrypt(text, new_key(), ABOUT)


@pytest.mark.parametrize("other", OTHERS)
def test_a_value_is_of_one_user_name_and_version(other: About) -> None:
    key = new_key()
    with pytest.raises(AgentError, match="not sealed") as caught:
        decrypt(encrypt(VALUE, key, ABOUT), key, other)
    assert caught.value.problem is Problem.INVALID_REQUEST
    assert VALUE.decode() not in str(caught.value)


@pytest.mark.parametrize("other", OTHERS)
def test_a_sealed_key_is_of_one_user_name_version_and_host(other: About, private: X25519PrivateKey) -> None:
    key = new_key()
    text = seal(key, "h1", public_bytes(private), ABOUT)
    assert unseal(text, "h1", private, ABOUT) == key
    for host, about, opener in (
        ("h1", other, private),
        ("h2", ABOUT, private),
        ("h1", ABOUT, X25519PrivateKey.generate()),
    ):
        with pytest.raises(AgentError, match="not sealed"):
            unseal(text, host, opener, about)


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", base64.b64encode(bytes(80)).decode(), "ä"])
def test_what_is_no_sealed_thing_is_refused(text: str, private: X25519PrivateKey) -> None:
    for attempt in (
        lambda: decrypt(text, new_key(), ABOUT),
        lambda: unseal(text, "h1", private, ABOUT),
        lambda: decrypt(encrypt(VALUE, new_key(), ABOUT), b"too short", ABOUT),
    ):
        with pytest.raises(AgentError) as caught:
            attempt()
        assert caught.value.problem is Problem.INVALID_REQUEST


@pytest.mark.parametrize("public", ["", "AAAA", "not base64!", base64.b64encode(bytes(32)).decode()])
def test_nothing_is_sealed_for_what_is_no_key(public: str) -> None:
    with pytest.raises(AgentError, match="no key of X25519"):
        seal(new_key(), "h1", public, ABOUT)


def test_neither_the_value_nor_its_key_is_in_what_is_kept(private: X25519PrivateKey) -> None:
    key = new_key()
    for text in (encrypt(VALUE, key, ABOUT), seal(key, "h1", public_bytes(private), ABOUT)):
        kept = base64.b64decode(text, validate=True)
        assert VALUE not in kept
        assert key not in kept
    assert len(key) * 8 == KEY_BITS


def test_the_same_value_is_sealed_differently_each_time(private: X25519PrivateKey) -> None:
    key = new_key()
    assert encrypt(VALUE, key, ABOUT) != encrypt(VALUE, key, ABOUT)
    assert seal(key, "h1", public_bytes(private), ABOUT) != seal(key, "h1", public_bytes(private), ABOUT)


def test_versions_are_in_the_order_of_time_and_tell_nothing() -> None:
    versions = [new_version(moment) for moment in (0, 1, 999, 1_800_000_000_000_000, 2_000_000_000_000_000)]
    assert versions == sorted(versions)
    assert new_version(1) != new_version(1)


def test_what_an_earlier_version_sealed_is_opened() -> None:
    about, private = EARLIER["about"], EARLIER["private"]
    assert isinstance(about, About)
    assert isinstance(private, str)
    opener = X25519PrivateKey.from_private_bytes(base64.b64decode(private))
    key = unseal(str(EARLIER["key"]), "h1", opener, about)
    assert decrypt(str(EARLIER["value"]), key, about) == VALUE


def test_a_host_makes_its_key_once_for_its_account_alone(tmp_path: Path) -> None:
    path = tmp_path / "state/fleet-secrets.key"
    first = private_key(path)
    assert public_bytes(private_key(path)) == public_bytes(first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", [b"", b"not PEM", b"of another kind"])
def test_a_damaged_key_is_never_replaced_by_itself(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "fleet-secrets.key"
    if text == b"of another kind":
        text = generate_private_key(SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    path.write_bytes(text)
    with pytest.raises(AgentError, match="Remove it") as caught:
        private_key(path)
    assert caught.value.problem is Problem.CONFIGURATION
    assert path.read_bytes() == text


def test_a_directory_that_takes_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AgentError) as caught:
        private_key(tmp_path / "file/fleet-secrets.key")
    assert caught.value.problem is Problem.HOST
