"""The certificate authority: what it issues, and for how long."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.identity import authority as authority_module
from agent.identity.authority import Authority
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
