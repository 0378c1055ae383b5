"""`ml-agent renew`, `list` and `revoke`."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from agent.config_files import load
from agent.identity import tls
from agent.identity.authority import authorities, authority_id, server_names
from agent.identity.key_files import certificates
from agent.model.base import now
from agent.model.certificate import Certificate, Role
from agent.store.store import Store
from tests.support.ml_agent import Run, certificates_of, issue, with_store


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`issue` writes into the working directory."""
    monkeypatch.chdir(tmp_path)


def add(*certificates: Certificate) -> None:
    """Records certificates."""

    async def work(store: Store) -> None:
        for each in certificates:
            await store.certificates.add(each)

    asyncio.run(with_store(work))


def certificate(serial: str, user: str, expires_in: timedelta) -> Certificate:
    """As it was recorded before there could be two authorities."""
    issued_at, expires_at = now() - timedelta(days=9), now() + expires_in
    return Certificate(
        serial=serial, user=user, role=Role.ANALYST, issued_at=issued_at, expires_at=expires_at
    )


def test_renew_makes_a_new_server_certificate_for_the_same_names(ready: Run) -> None:
    path = load().pki_directory / "server.crt"
    before = certificates(path)[0]
    assert "server.crt, valid until" in ready("renew").out
    after = certificates(path)[0]
    assert after.serial_number != before.serial_number
    assert server_names(after) == server_names(before)
    context = tls.server_context(load().pki_directory)
    assert context.cert_store_stats()["x509_ca"] == 1


def test_list_shows_user_role_serial_expiry_and_authority(ready: Run) -> None:
    serial = issue(ready, "alice", "--admin", "--days", "7")
    (one,) = certificates_of(ready)
    assert (one["user"], one["role"], one["serial"]) == ("alice", "administrator", serial)
    assert one["authority"] == authority_id(authorities(load().pki_directory)[0])
    assert {"revoked_at", "used_at", "renews"}.isdisjoint(one)
    row = ready("list").out.rstrip("\n").split("\t")
    assert row[:3] == ["alice", "administrator", serial]
    assert row[5:] == ["", one["authority"]]


def test_list_omits_expired_certificates_without_all(ready: Run) -> None:
    add(certificate("ab", "bob", timedelta(days=-1)))
    assert certificates_of(ready) == []
    assert [one["serial"] for one in certificates_of(ready, "--all")] == ["ab"]
    row = ready("list", "--all").out.rstrip("\n").split("\t")
    assert row[-1] == authority_id(authorities(load().pki_directory)[0])


def test_revoke_takes_a_serial_number_as_any_tool_writes_it(ready: Run) -> None:
    serial, other = issue(ready, "alice"), issue(ready, "alice")
    written = serial.upper().zfill(len(serial) + len(serial) % 2)
    done = ready("revoke", ":".join(written[i : i + 2] for i in range(0, len(written), 2)))
    assert (done.status, done.out) == (0, f"revoked  alice, analyst, serial {serial}\n")
    assert f"still valid: alice, serial {other}" in done.err
    revoked = {one["serial"]: "revoked_at" in one for one in certificates_of(ready)}
    assert revoked == {serial: True, other: False}
    assert "nothing left to revoke" in ready("revoke", serial).out


def test_revoke_takes_an_unambiguous_beginning_of_a_serial_number(ready: Run) -> None:
    add(*(certificate(serial, "alice", timedelta(days=1)) for serial in ("abcdef012345", "abcdef678901")))
    assert "Several serial numbers begin with abcdef" in ready("revoke", "abcdef").err
    assert "no certificate" in ready("revoke", "abcde").err
    assert ready("revoke", "ABCDEF0").out == "revoked  alice, analyst, serial abcdef012345\n"


def test_revoke_takes_all_certificates_of_a_user(ready: Run) -> None:
    hers = {issue(ready, "alice"), issue(ready, "alice")}
    his = issue(ready, "bob")
    done = ready("revoke", "--user", "alice")
    assert {line.rpartition(" ")[2] for line in done.out.splitlines()} == hers
    assert done.err == ""
    assert {one["serial"] for one in certificates_of(ready) if "revoked_at" not in one} == {his}


def test_a_revocation_is_reported_even_without_an_authority(ready: Run) -> None:
    serial = issue(ready, "bob")
    (load().pki_directory / "ca.crt").unlink()
    assert "revoked  bob" in ready("revoke", serial).out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name a serial number, or a user"),
        (("ab", "--user", "alice"), "not both"),
        (("hello",), "not a hexadecimal serial number"),
        (("ab",), "no certificate with serial ab"),
        (("--user", "nobody"), "nobody has no certificate"),
    ],
)
def test_revoke_says_why_it_refuses_its_arguments(ready: Run, arguments: tuple[str, ...], why: str) -> None:
    refused = ready("revoke", *arguments)
    assert refused.status != 0
    assert why in " ".join(refused.err.replace("│", " ").split())
