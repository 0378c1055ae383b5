"""`ml-agent invite`, and what `revoke` does to invitations."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from agent.config_files import load
from agent.identity.authority import authorities
from agent.identity.invitations import admitted_until, digest_of
from agent.identity.subject import fingerprint
from agent.model.base import now
from agent.model.certificate import Invitation, Role
from agent.store.store import Store
from tests.support.ml_agent import Run, with_store


def invitation(code: str) -> Invitation | None:
    async def work(store: Store) -> Invitation | None:
        return await store.invitations.get(digest_of(code))

    return asyncio.run(with_store(work))


def link_in(text: str) -> str:
    return next(line.strip() for line in text.splitlines() if "ml-job://" in line)


def test_a_link_has_the_address_the_code_and_the_authority(ready: Run) -> None:
    ended = ready("invite", "alice", "--operator", "--days", "7", "--hours", "2")
    assert ended.status == 0, ended.err
    parts = urlsplit(link_in(ended.out))
    query = parse_qs(parts.query)
    settings = load()
    assert (parts.scheme, parts.path, parts.port) == ("ml-job", "/enrol", settings.http.port)
    assert query["ca"] == [fingerprint(authorities(settings.pki_directory)[0])]
    made = invitation(query["code"][0])
    assert made is not None
    assert (made.user, made.role, made.days) == ("alice", Role.OPERATOR, 7)
    until = admitted_until(settings.pki_directory)
    assert until == made.expires_at
    assert 7100 < (until - now()).total_seconds() <= 7200


def test_a_shorter_invitation_does_not_end_a_longer_one(ready: Run) -> None:
    ready("invite", "alice", "--hours", "48")
    until = admitted_until(load().pki_directory)
    ready("invite", "bob", "--hours", "1")
    assert admitted_until(load().pki_directory) == until


def test_a_name_that_the_server_does_not_have_is_refused(ready: Run) -> None:
    ended = ready("invite", "alice", "--host", "elsewhere.example")
    assert ended.status != 0
    assert "does not have the name elsewhere.example" in ended.err
    assert "--san elsewhere.example" in ended.err
    assert admitted_until(load().pki_directory) is None


@pytest.mark.parametrize(
    "arguments", [("Alice!",), ("alice", "--hours", "0"), ("alice", "--admin", "--operator")]
)
def test_wrong_arguments_make_no_invitation(ready: Run, arguments: tuple[str, ...]) -> None:
    assert ready("invite", *arguments).status == 2
    assert admitted_until(load().pki_directory) is None


def test_revoking_a_user_withdraws_the_invitations_too(ready: Run) -> None:
    code = parse_qs(urlsplit(link_in(ready("invite", "alice").out)).query)["code"][0]
    ended = ready("revoke", "--user", "alice")
    assert ended.status == 0, ended.err
    assert "withdrew 1 invitation of alice" in ended.out
    assert invitation(code) is None


def test_the_audit_has_the_invitation_and_its_withdrawal_but_not_the_code(ready: Run) -> None:
    code = parse_qs(urlsplit(link_in(ready("invite", "alice").out)).query)["code"][0]
    ready("revoke", "--user", "alice")
    shown = ready("audit", "--json").out
    assert '"invite"' in shown
    assert '"withdrawInvitations"' in shown
    assert code not in shown


def test_a_certificate_that_the_site_does_not_allow_cannot_be_promised(ready: Run) -> None:
    most = load().certificates.max_client_days
    ended = ready("invite", "alice", "--days", str(most + 1))
    assert ended.status != 0
    assert admitted_until(load().pki_directory) is None
    assert ready("invite", "alice", "--days", str(most)).status == 0
