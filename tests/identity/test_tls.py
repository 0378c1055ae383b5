"""Real TLS handshakes on the loopback interface, and contexts whose files are replaced."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.host.files import write_file
from agent.identity import tls
from agent.identity.authority import Authority
from agent.identity.subject import Subject
from agent.identity.tls import CurrentContext, server_context
from tests.support.pki import client_context, exchange, forged, save, yesterday


def test_a_client_of_our_authority_is_accepted_over_tls_1_3(
    directory: Path, authority: Authority, tmp_path: Path
) -> None:
    alice = authority.issue_client("alice")
    save(tmp_path, "alice", alice)
    client = client_context(directory, tmp_path / "alice")
    subject, _ = exchange(server_context(directory), client)
    assert subject == Subject("alice", alice.serial)


def test_a_client_without_a_certificate_is_refused(directory: Path) -> None:
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        exchange(server_context(directory), client_context(directory, None))


def test_a_client_of_a_foreign_authority_is_refused(directory: Path, tmp_path: Path) -> None:
    foreign = Authority.create(tmp_path / "foreign", "ml-agent CA test")
    save(tmp_path, "alice", foreign.issue_client("alice"))
    with pytest.raises(ssl.SSLError, match="unable to get local issuer"):
        exchange(server_context(directory), client_context(directory, tmp_path / "alice"))


def test_an_expired_certificate_is_refused_in_the_handshake(
    directory: Path, authority: Authority, tmp_path: Path
) -> None:
    past = {"start": yesterday(), "end": yesterday() + timedelta(hours=1)}
    save(tmp_path, "alice", forged(authority, authority.issue_client("alice"), **past))
    with pytest.raises(ssl.SSLError, match="certificate has expired"):
        exchange(server_context(directory), client_context(directory, tmp_path / "alice"))


def test_a_server_certificate_is_refused_as_a_client_in_the_handshake(
    directory: Path,
) -> None:
    with pytest.raises(ssl.SSLError, match="unsuitable certificate purpose"):
        exchange(server_context(directory), client_context(directory, directory / "server"))


def test_a_leaf_cannot_issue(directory: Path, authority: Authority, tmp_path: Path) -> None:
    alice = authority.issue_client("alice")
    impostor = Authority(alice.certificate, alice.key).issue_client("bob")
    save(tmp_path, "bob", impostor)
    with (tmp_path / "bob.crt").open("ab") as chain:
        chain.write(alice.certificate_pem())
    with pytest.raises(ssl.SSLError, match="invalid CA certificate"):
        exchange(server_context(directory), client_context(directory, tmp_path / "bob"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_2_is_refused(directory: Path, authority: Authority, tmp_path: Path) -> None:
    save(tmp_path, "alice", authority.issue_client("alice"))
    client = client_context(directory, tmp_path / "alice")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        exchange(server_context(directory), client)


def test_no_session_can_be_resumed(directory: Path, authority: Authority, tmp_path: Path) -> None:
    save(tmp_path, "alice", authority.issue_client("alice"))
    client = client_context(directory, tmp_path / "alice")
    _, session = exchange(server_context(directory), client)
    assert session is not None
    assert not session.has_ticket


@pytest.fixture
def checked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "LOOK_INTERVAL", 0.0)


@pytest.mark.usefixtures("checked_each_time")
def test_new_files_take_effect_with_the_next_connection(
    directory: Path, authority: Authority, tmp_path: Path
) -> None:
    current = CurrentContext(directory)
    before = current()
    assert current() is before
    second = Authority.create(tmp_path / "second", "the next CA")
    with (directory / "ca.crt").open("ab") as trusted:
        trusted.write(second.certificate_pem())
    save(directory, "server", authority.issue_server(["localhost"]))
    bob = second.issue_client("bob")
    save(tmp_path, "bob", bob)
    subject, _ = exchange(current(), client_context(directory, tmp_path / "bob"))
    assert subject == Subject("bob", bob.serial)
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        exchange(before, client_context(directory, tmp_path / "bob"))


@pytest.mark.usefixtures("checked_each_time")
def test_unusable_files_change_nothing_and_are_logged_once(
    directory: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    current = CurrentContext(directory)
    before = current()
    issued = authority.issue_server(["localhost"])
    write_file(directory / "server.crt", issued.certificate_pem(), mode=0o644, replace=True)
    for _ in range(3):
        assert current() is before
    assert [str(directory) in record.message for record in caplog.records] == [True]
    (directory / "server.key").unlink()
    assert current() is before
    write_file(directory / "server.key", issued.key_pem(), mode=0o600)
    assert current() is not before
    assert current() is current()


def test_the_files_are_not_checked_for_each_connection(
    directory: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_INTERVAL", 3600.0)
    current = CurrentContext(directory)
    before = current()
    save(directory, "server", authority.issue_server(["localhost"]))
    assert current() is before


def test_without_usable_files_there_is_no_context(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="ml-agent init"):
        CurrentContext(tmp_path)
