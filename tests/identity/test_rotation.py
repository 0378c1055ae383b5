"""One authority replaces another: what a crash at any step leaves, and which clients lose access."""

import fcntl
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.identity import authority as authority_module
from agent.identity import rotation, tls
from agent.identity.authority import Authority, server_names
from agent.identity.key_files import certificates
from agent.model.certificate import Certificate, Role
from tests.support.crashing import Crash, crash_after


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A PKI directory with one authority."""
    authority = Authority.create(tmp_path, "the first CA")
    rotation.replace_server(tmp_path, authority.issue_server(["localhost"]))
    return tmp_path


def servers_issuer(directory: Path) -> str:
    """Which authority the server's certificate is from; it must be one that is trusted."""
    tls.server_context(directory)  # raises where it cannot be served
    certificate = certificates(directory / "server.crt")[0]
    for authority in authority_module.authorities(directory):
        if certificate.issuer == authority.subject:
            certificate.verify_directly_issued_by(authority)
            return authority.subject.rfc4514_string()
    raise AssertionError("nobody trusts the server")


def test_during_a_rotation_the_new_authority_issues_and_the_server_has_the_old_one(
    directory: Path,
) -> None:
    old = Authority.load(directory)
    new = rotation.begin(directory, "the second CA")
    assert rotation.under_way(directory)
    assert authority_module.authorities(directory) == [new.certificate, old.certificate]
    assert Authority.load(directory).certificate == new.certificate
    assert Authority.load(directory, eldest=True).certificate == old.certificate
    assert servers_issuer(directory) == "CN=the first CA"


def test_after_a_rotation_only_the_new_authority_is_left(directory: Path) -> None:
    old_key = (directory / "ca.key").read_bytes()
    new = rotation.begin(directory, "the second CA")
    rotation.finish(directory, ["localhost", "ml.example.org"])
    assert authority_module.authorities(directory) == [new.certificate]
    assert Authority.load(directory).certificate == new.certificate
    assert servers_issuer(directory) == "CN=the second CA"
    assert server_names(certificates(directory / "server.crt")[0])[1] == "ml.example.org"
    assert sorted(path.name for path in directory.iterdir()) == [
        "ca.crt",
        "ca.key",
        "server.crt",
        "server.key",
    ]
    assert old_key not in [path.read_bytes() for path in directory.iterdir()]


@pytest.mark.parametrize("steps", [1, 2])
def test_the_first_step_can_be_repeated_after_a_crash(
    directory: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_after(steps, patch)
        with pytest.raises(Crash):
            rotation.begin(directory, "the second CA")
    assert Authority.load(directory).issue_client("alice")
    assert servers_issuer(directory) == "CN=the first CA"
    assert rotation.under_way(directory) == (steps == 2)
    with rotation.exclusive(directory):
        if not rotation.under_way(directory):
            rotation.begin(directory, "the third CA")
    rotation.finish(directory, ["localhost"])
    assert servers_issuer(directory) in ("CN=the second CA", "CN=the third CA")
    assert Authority.load(directory).certificate == authority_module.authorities(directory)[0]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_the_second_step_can_be_repeated_after_a_crash(
    directory: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = rotation.begin(directory, "the second CA")
    with monkeypatch.context() as patch:
        crash_after(steps, patch)
        with pytest.raises(Crash):
            rotation.finish(directory, ["localhost"])
    assert Authority.load(directory).certificate == new.certificate
    assert servers_issuer(directory) == ("CN=the first CA" if steps == 1 else "CN=the second CA")
    with rotation.exclusive(directory):
        if rotation.under_way(directory):
            rotation.finish(directory, ["localhost"])
    assert servers_issuer(directory) == "CN=the second CA"
    assert Authority.load(directory).certificate == new.certificate
    assert sorted(path.name for path in directory.iterdir()) == [
        "ca.crt",
        "ca.key",
        "server.crt",
        "server.key",
    ]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_first_authority_can_be_made_after_a_crash(
    tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_after(steps, patch)
        with pytest.raises(Crash):
            Authority.create(tmp_path, "the first CA")
    with rotation.exclusive(tmp_path):
        if not (tmp_path / "ca.crt").exists():
            Authority.create(tmp_path, "the first CA")
    assert Authority.load(tmp_path).certificate == authority_module.authorities(tmp_path)[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.crt", "ca.key"]


def test_commands_that_change_the_files_exclude_each_other(directory: Path) -> None:
    other = os.open(directory, os.O_RDONLY)
    try:
        with rotation.exclusive(directory), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)


def test_no_client_outlives_its_authority(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority_module, "CA_LIFETIME", timedelta(days=3))
    authority = rotation.begin(directory, "a short-lived CA")
    client = authority.issue_client("alice", timedelta(days=30)).certificate
    assert client.not_valid_after_utc == authority.certificate.not_valid_after_utc


# --- clients that would lose access --------------------------------------------------------------------


def test_clients_that_have_not_renewed_are_found() -> None:
    trusted = [Authority.make(f"the {which} CA").certificate for which in ("third", "second")]
    ended = authority_module.authority_id(Authority.make("the first CA").certificate)
    new, old = map(authority_module.authority_id, trusted)
    moment = datetime.now(UTC)

    def row(serial: str, authority: str, *, renews: str | None = None, **more: object) -> Certificate:
        times = {"issued_at": moment, "expires_at": moment + timedelta(days=9)}
        known = {"serial": serial, "user": "alice", "role": Role.ANALYST, "authority": authority}
        return Certificate.model_validate({**known, **times, "renews": renews, **more})

    def losing(*rows: Certificate) -> list[str]:
        return [each.serial for each in rotation.not_renewed(rows, trusted)]

    assert losing(row("a", old)) == ["a"]
    assert losing(row("a", "")) == ["a"]  # recorded when there was only one authority
    assert losing(row("a", new)) == []
    assert losing(row("a", old, expires_at=moment - timedelta(days=1))) == []
    assert losing(row("a", old, revoked_at=moment)) == []
    # The authority of this one has ended: its holder has lost access already.
    assert losing(row("a", ended)) == []
    # Another certificate of the same user may be on another machine.
    assert losing(row("a", old), row("b", new, used_at=moment)) == ["a"]
    # A renewal that was never used may have been lost on its way.
    assert losing(row("a", old), row("b", new, renews="a")) == ["a"]
    assert losing(row("a", old), row("b", new, renews="a", used_at=moment)) == []
    # Renewed in two steps.
    chain = (
        row("a", old),
        row("b", old, renews="a", used_at=moment),
        row("c", new, renews="b", used_at=moment),
    )
    assert losing(*chain) == []
    assert losing(*chain[:2]) == ["a", "b"]
