"""The certificate authority: what it issues, and for how long."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from agent.errors import AgentError
from agent.identity import authority as authority_module
from agent.identity.authority import Authority, new_password, server_names
from agent.identity.tls import server_context


def test_a_client_certificate_is_valid_at_once_for_the_given_lifetime(
    authority: Authority,
) -> None:
    certificate = authority.issue_client("alice", timedelta(days=7)).certificate
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert certificate.not_valid_before_utc < datetime.now(UTC)
    assert timedelta(days=7, seconds=-10) < left <= timedelta(days=7)


def test_macos_accepts_the_lifetime_of_a_server_certificate(authority: Authority) -> None:
    certificate = authority.issue_server(["localhost"]).certificate
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=825)


def test_an_authority_that_has_ended_says_what_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority_module, "CA_LIFETIME", timedelta(minutes=-1))
    authority = Authority.make("a CA that has ended")
    with pytest.raises(AgentError, match="rotate-ca"):
        authority.issue_client("alice")


def test_a_private_key_is_readable_by_its_owner_only_and_never_overwritten(directory: Path) -> None:
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    before = (directory / "ca.key").read_bytes()
    with pytest.raises(AgentError, match=r"ca\.key exists"):
        Authority.create(directory, "another")
    assert (directory / "ca.key").read_bytes() == before


def test_an_authority_whose_key_belongs_to_another_is_refused(directory: Path, tmp_path: Path) -> None:
    Authority.create(tmp_path / "other", "another")
    (directory / "ca.crt").write_bytes((tmp_path / "other/ca.crt").read_bytes())
    with pytest.raises(AgentError, match=r"is not the key of"):
        Authority.load(directory)


def test_a_missing_authority_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="ml-agent init"):
        Authority.load(tmp_path)
    with pytest.raises(AgentError, match="ml-agent init"):
        server_context(tmp_path)


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


def test_server_names_are_read_back(authority: Authority) -> None:
    names = ["ml.example.org", "*.example.org", "192.0.2.7", "2001:db8::1"]
    assert server_names(authority.issue_server(names).certificate) == names


@pytest.mark.parametrize("name", ["", "with space", "a/b", "münchen", "-x", "a..b", "a" * 64, "x\n"])
def test_an_invalid_server_name_is_refused_and_named(authority: Authority, name: str) -> None:
    with pytest.raises(AgentError) as caught:
        authority.issue_server(["localhost", name])
    assert repr(name) in caught.value.message
