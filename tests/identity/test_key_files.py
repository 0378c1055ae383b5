"""Certificates and keys on the disk: complete, matching, and after a crash at any step."""

import ssl
import stat
from pathlib import Path

import pytest

from agent.errors import AgentError, misconfigured
from agent.identity import key_files, tls
from agent.identity.authority import Authority, Issued
from tests.support.crashing import Crash, crash_after


@pytest.fixture(scope="module")
def pairs() -> list[Issued]:
    authority = Authority.make("test CA")
    return [authority.issue_server(["localhost"]) for _ in range(2)]


def put(directory: Path, issued: Issued) -> None:
    key_files.replace_pair(directory, "server", issued.certificate_pem(), issued.key_pem())


def shown(directory: Path) -> Issued | None:
    """Fails unless the certificate can be used with the key that is found for it."""
    certificate = key_files.certificates(directory / "server.crt")[0]
    key = key_files.key_file(directory, "server", certificate)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(directory / "server.crt", key)
    return certificate


def test_a_replaced_pair_leaves_two_files_with_their_modes(tmp_path: Path, pairs: list[Issued]) -> None:
    for issued in pairs:
        put(tmp_path, issued)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        "server.crt": 0o644,
        "server.key": 0o600,
    }
    assert shown(tmp_path) == pairs[1].certificate


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_crash_at_any_step_leaves_the_old_pair_or_the_new_one(
    tmp_path: Path, pairs: list[Issued], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = pairs
    put(tmp_path, old)
    with monkeypatch.context() as patch:
        crash_after(steps, patch)
        with pytest.raises(Crash):
            put(tmp_path, new)
    assert shown(tmp_path) == (old if steps == 1 else new).certificate
    key_files.settle(tmp_path, "server", key_files.certificates(tmp_path / "server.crt")[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["server.crt", "server.key"]
    assert shown(tmp_path) == (old if steps == 1 else new).certificate


def test_a_key_that_does_not_match_is_named(tmp_path: Path, pairs: list[Issued]) -> None:
    put(tmp_path, pairs[0])
    (tmp_path / "server.key").write_bytes(pairs[1].key_pem())
    with pytest.raises(AgentError, match=r"server\.key is not the key of the certificate"):
        shown(tmp_path)
    (tmp_path / "server.key").write_text("no key")
    with pytest.raises(AgentError, match=r"server\.key cannot be read"):
        shown(tmp_path)


def test_files_that_are_replaced_while_they_are_read_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.create(tmp_path, "test CA")
    old, new = (authority.issue_server(["localhost"]) for _ in range(2))
    put(tmp_path, old)
    replaced = []

    def key_of_the_old_one(*arguments: object) -> Path:
        if not replaced:
            replaced.append(True)
            put(tmp_path, new)
            raise misconfigured("the key is another certificate's by now")
        return key_files.key_file(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tls, "key_file", key_of_the_old_one)
    assert tls.server_context(tmp_path).verify_mode is ssl.CERT_REQUIRED
    assert replaced
