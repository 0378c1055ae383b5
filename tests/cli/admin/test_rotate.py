"""`ml-agent rotate-ca`: in two steps, and nobody who has renewed is cut off."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from agent.cli.failure import EXIT_CONFIGURATION
from agent.config_files import load
from agent.identity import authority as authority_module
from agent.identity.authority import Authority, authorities, authority_id
from agent.identity.key_files import certificates, replace_pair
from agent.model.base import now
from agent.model.certificate import Certificate, Role
from agent.store.store import Store
from tests.support.ml_agent import Run, certificates_of, issue, with_store


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`issue` writes into the working directory."""
    monkeypatch.chdir(tmp_path)


def renewed_and_used(serial: str, user: str) -> None:
    """Records what a client's renewal and its first request record."""

    async def work(store: Store) -> None:
        authority = Authority.load(load().pki_directory)
        certificate = authority.issue_client(user)
        row = Certificate(
            serial=certificate.serial,
            user=user,
            role=Role.ANALYST,
            issued_at=now(),
            expires_at=certificate.certificate.not_valid_after_utc,
            authority=authority_id(authority.certificate),
            renews=serial,
        )
        await store.certificates.renew(row, limit=10)
        await store.certificates.mark_used(row.serial, now())

    asyncio.run(with_store(work))


def test_a_rotation_has_two_steps_and_the_second_waits_until_all_have_renewed(ready: Run) -> None:
    directory = load().pki_directory
    hers, his = issue(ready, "alice"), issue(ready, "bob")
    old = authorities(directory)[0]
    begun = ready("rotate-ca")
    assert begun.status == 0
    assert f"alice has not renewed {hers}" in begun.out
    new = authorities(directory)[0]
    assert authorities(directory) == [new, old]
    assert "kept" in ready("rotate-ca").out.splitlines()[0]  # a rotation under way does not begin again
    assert authorities(directory) == [new, old]

    renewed_and_used(hers, "alice")
    refused = ready("rotate-ca", "--finish")
    assert refused.status == 1
    assert f"bob has not renewed {his}" in refused.err
    assert "alice" not in refused.err
    assert authorities(directory) == [new, old]

    renewed_and_used(his, "bob")
    finished = ready("rotate-ca", "--finish")
    assert finished.status == 0
    assert authorities(directory) == [new]
    certificates(directory / "server.crt")[0].verify_directly_issued_by(new)
    assert "nothing to finish" in ready("rotate-ca", "--finish").out
    shown = {row.split("\t")[2]: row.split("\t")[-1] for row in ready("list").out.splitlines()}
    assert shown[hers] == f"{authority_id(old)} ended"
    assert authority_id(new) in shown.values()


def test_clients_that_have_not_renewed_can_be_revoked_or_cut_off(ready: Run) -> None:
    hers, his = issue(ready, "alice"), issue(ready, "bob")
    ready("rotate-ca")
    ready("revoke", hers)
    forced = ready("rotate-ca", "--finish", "--force")
    assert forced.status == 0
    assert f"cut off  bob has not renewed {his}" in forced.out
    assert "alice" not in forced.out
    assert ready("rotate-ca", "--force").status == 2


def test_a_client_that_was_cut_off_does_not_block_the_next_rotation(ready: Run) -> None:
    his = issue(ready, "bob")
    ready("rotate-ca")
    ready("rotate-ca", "--finish", "--force")
    assert his not in ready("rotate-ca").out
    assert ready("rotate-ca", "--finish").status == 0
    revoked = ready("revoke", issue(ready, "bob"))
    assert (revoked.status, revoked.err) == (0, "")


def test_an_expired_authority_issues_nothing_and_can_be_replaced(
    ready: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = load().pki_directory
    with monkeypatch.context() as patch:
        patch.setattr(authority_module, "CA_LIFETIME", timedelta(minutes=-1))
        ended = Authority.make("an old CA")
    replace_pair(directory, "ca", ended.certificate_pem(), ended.key_pem())
    for command in (("issue", "alice"), ("renew",), ("init", "--san", "new.example.org")):
        refused = ready(*command)
        assert refused.status == EXIT_CONFIGURATION
        assert "authority expired at" in refused.err
        assert "`ml-agent rotate-ca`" in refused.err
    assert certificates_of(ready) == []
    assert ready("rotate-ca").status == 0
    assert "`ml-agent rotate-ca --finish`" in ready("renew").err  # the old authority would sign it
    assert ready("rotate-ca", "--finish").status == 0
    issue(ready, "alice")
    assert ready("renew").status == 0


def test_during_a_rotation_the_old_authority_signs_the_server_certificate(ready: Run) -> None:
    directory = load().pki_directory
    old = authorities(directory)[0]
    ready("rotate-ca")
    assert ready("init").out.count("made") == 0
    assert ready("init", "--san", "other.example.org").out.count("made") == 1
    certificates(directory / "server.crt")[0].verify_directly_issued_by(old)
    ready("renew")
    certificates(directory / "server.crt")[0].verify_directly_issued_by(old)


@pytest.mark.parametrize("command", [("renew",), ("list",), ("rotate-ca",), ("rotate-ca", "--finish")])
def test_without_an_authority_the_remedy_is_named(
    ready: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ML_AGENT_STATE_DIRECTORY", str(tmp_path / "nothing"))
    (tmp_path / "nothing").mkdir()
    refused = ready(*command)
    assert refused.status == EXIT_CONFIGURATION
    assert "`ml-agent init`" in refused.err
