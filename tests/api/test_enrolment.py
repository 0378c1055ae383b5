"""First enrolment: a code instead of a certificate, on one path, once, for one key."""

import asyncio
import shutil
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from agent.api.server import rates
from agent.audit.chain import Caller
from agent.identity import tls
from agent.identity.authority import Issued
from agent.identity.certificates import INVITED_UNTIL, admit_until, digest_of
from agent.identity.subject import fingerprint
from agent.model.base import now
from agent.model.certificate import Role
from tests.support.api_client import Answer, Client
from tests.support.pki import signing_request
from tests.support.served import Authorities, Served

KEY = ec.generate_private_key(ec.SECP256R1())
CSR = signing_request(KEY)
OTHER_CSR = signing_request(ec.generate_private_key(ec.SECP256R1()))
UNKNOWN = "a" * 24


@pytest.fixture
def authorities(tmp_path: Path, authorities: Authorities, monkeypatch: pytest.MonkeyPatch) -> Authorities:
    """A copy of the host's authorities: an open invitation changes what the server accepts."""
    directory = tmp_path / "authorities"
    shutil.copytree(authorities.directory, directory)
    monkeypatch.setattr(tls, "LOOK_INTERVAL", 0.0)
    return Authorities(directory, authorities.own, authorities.foreign)


@pytest.fixture
async def stranger(served: Served) -> Client:
    """A client without a certificate."""
    return served.client(None)


async def invite(served: Served, user: str, **fields: Any) -> str:
    """A code, and strangers may connect."""
    code = await served.invite(user, **fields)
    admit_until(served.authorities.directory, now() + timedelta(hours=1))
    return code


async def enrol(client: Client, code: str, csr: str = CSR, **headers: str) -> Answer:
    return await client.post("/enrolment", {"csr": csr}, Authorization=f"Bearer {code}", **headers)


async def test_a_code_brings_a_certificate_that_works(served: Served, stranger: Client) -> None:
    answer = await enrol(stranger, await invite(served, "alice"))
    assert answer.status == 201
    issued = x509.load_pem_x509_certificate(answer.json["certificate"].encode())
    assert issued.public_key() == KEY.public_key()
    trusted = x509.load_pem_x509_certificates(answer.json["ca_certificates"].encode())
    assert fingerprint(trusted[0]) == fingerprint(served.authorities.own.certificate)
    (record,) = [each for each in await served.scene.store.certificates.all() if each.user == "alice"]
    assert (record.serial, record.role) == (answer.json["serial"], Role.ANALYST)
    alice = served.client(Issued(issued, KEY, trusted[0]))
    assert (await alice.get("/jobs")).status == 200


async def test_the_same_key_gets_the_same_certificate_again(served: Served, stranger: Client) -> None:
    code = await invite(served, "alice")
    first, again = await enrol(stranger, code), await enrol(stranger, code)
    assert (first.status, again.status) == (201, 201)
    assert first.json == again.json
    assert len([each for each in await served.scene.store.certificates.all() if each.user == "alice"]) == 1


async def test_another_key_is_refused_once_the_code_is_used(served: Served, stranger: Client) -> None:
    code = await invite(served, "alice")
    await enrol(stranger, code)
    refused = await enrol(stranger, code, OTHER_CSR)
    assert (refused.status, refused.problem) == (401, "invitation-refused")
    assert refused.headers["Www-Authenticate"] == "Bearer"


async def test_of_two_at_once_one_wins(served: Served, stranger: Client) -> None:
    code = await invite(served, "alice")
    answers = await asyncio.gather(enrol(stranger, code), enrol(stranger, code, OTHER_CSR))
    assert sorted(answer.status for answer in answers) == [201, 401]
    assert len([each for each in await served.scene.store.certificates.all() if each.user == "alice"]) == 1


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {UNKNOWN}",
        f"Bearer {UNKNOWN}",
        "Bearer " + "a" * 8000,
        "Bearer \u00e9",
        "Bearer 'OR 1=1 --",
    ],
    ids=["none", "empty", "no-code", "blank", "basic", "unknown", "long", "not-ascii", "sql"],
)
async def test_what_is_no_open_invitation_is_refused(
    served: Served, stranger: Client, authorization: str | None
) -> None:
    await invite(served, "alice")
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await stranger.post("/enrolment", {"csr": CSR}, **headers)
    assert (answer.status, answer.problem) == (401, "invitation-refused")
    rows = [row.content() for row in await served.scene.store.audit.newest(limit=10)]
    assert [row["action"] for row in rows if row["result"] == "refused"] == ["enrol"]


async def test_an_invitation_that_expired_is_refused_and_says_when(served: Served, stranger: Client) -> None:
    await invite(served, "bob")
    code = await invite(served, "alice", expires_at=now() - timedelta(seconds=1))
    answer = await enrol(stranger, code)
    assert (answer.status, answer.problem) == (401, "invitation-refused")
    assert "expired at" in answer.json["detail"]


async def test_a_withdrawn_invitation_is_refused(served: Served, stranger: Client) -> None:
    code, other = await invite(served, "alice"), await invite(served, "bob")
    deed = Caller(actor="root", role="account", source="this host").did("withdrawInvitations", user="alice")
    assert await served.scene.store.invitations.withdraw("alice", now(), deed=deed) == 1
    assert (await enrol(stranger, code)).status == 401
    assert (await enrol(stranger, other)).status == 201


@pytest.mark.parametrize(
    "csr",
    [
        "",
        "x",
        CSR[:-40],
        signing_request(rsa.generate_private_key(65537, 1024)),
        signing_request(ec.generate_private_key(ec.SECP521R1())),
    ],
    ids=["empty", "text", "cut", "rsa-1024", "p-521"],
)
async def test_a_signing_request_that_is_refused_leaves_the_invitation_open(
    served: Served, stranger: Client, csr: str
) -> None:
    code = await invite(served, "alice")
    refused = await enrol(stranger, code, csr)
    assert (refused.status, refused.fields) == (422, ["csr"])
    assert (await enrol(stranger, code)).status == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs"),
        ("POST", "/jobs"),
        ("GET", "/host"),
        ("GET", "/events"),
        ("GET", "/openapi.json"),
        ("GET", "/enrolment"),
        ("POST", "/enrolment/"),
        ("POST", "/enrolment/../jobs"),
        ("POST", "//enrolment"),
        ("POST", "/certificate"),
        ("GET", "/nothing"),
    ],
)
async def test_a_stranger_gets_nowhere_else(served: Served, stranger: Client, method: str, path: str) -> None:
    code = await invite(served, "alice")
    async with stranger.session.request(
        method,
        served.base + path,
        headers={"Authorization": f"Bearer {code}", "Content-Type": "application/json"},
        data=b'{"csr": ""}' if method == "POST" else None,
    ) as response:
        problem = await response.json(content_type=None)
    assert response.status == 403
    assert problem["type"].endswith("certificate-refused")


async def test_without_an_open_invitation_nobody_connects_without_a_certificate(
    served: Served, stranger: Client
) -> None:
    with pytest.raises(aiohttp.ClientError):
        await enrol(stranger, UNKNOWN)
    alice = await served.known("alice")
    assert (await alice.get("/jobs")).status == 200


async def test_when_the_last_invitation_ends_nobody_connects_without_a_certificate_any_more(
    served: Served, authorities: Authorities
) -> None:
    code = await invite(served, "alice")
    assert (await enrol(served.client(None), code)).status == 201
    (authorities.directory / INVITED_UNTIL).write_text("2020-01-01T00:00:00.000Z")
    with pytest.raises(aiohttp.ClientError):
        await enrol(served.client(None), code)


async def test_a_wrong_certificate_is_refused_also_while_strangers_may_enrol(served: Served) -> None:
    code = await invite(served, "alice")
    foreigner = served.client(served.authorities.foreign.issue_client("alice"))
    with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
        await enrol(foreigner, code)


async def test_whoever_has_a_certificate_may_enrol_too(served: Served) -> None:
    bob = await served.known("bob")
    assert (await enrol(bob, await invite(served, "alice"))).status == 201


async def test_strangers_share_a_rate_limit(
    served: Served, stranger: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "REFUSAL_DELAY", 0.0)
    await invite(served, "alice")
    answers = [await enrol(stranger, UNKNOWN) for _ in range(rates.ENROLMENT_BURST + 3)]
    assert [answer.status for answer in answers].count(429) >= 2
    assert "Retry-After" in answers[-1].headers
    alice = await served.known("alice")
    assert (await alice.get("/jobs")).status == 200


async def test_the_code_is_stored_nowhere(served: Served, stranger: Client) -> None:
    code = await invite(served, "alice")
    assert (await enrol(stranger, code)).status == 201
    state = served.scene.settings.state_directory
    files = [path for path in [*state.rglob("*"), *served.authorities.directory.rglob("*")] if path.is_file()]
    assert files
    assert [path for path in files if code.encode() in path.read_bytes()] == []
    assert (await served.scene.store.invitations.get(digest_of(code))) is not None


async def test_the_audit_names_who_enrolled_and_from_where(served: Served, stranger: Client) -> None:
    answer = await enrol(stranger, await invite(served, "alice"))
    row: dict[str, Any] = (await served.scene.store.audit.newest(limit=1))[0].content()
    assert (row["action"], row["result"], row["actor"], row["role"]) == ("enrol", "done", "alice", "invited")
    assert (row["subject"], row["source"]) == (answer.json["serial"], "127.0.0.1")


async def test_ed25519_is_refused_because_the_keychain_has_no_such_identities(
    served: Served, stranger: Client
) -> None:
    code = await invite(served, "alice")
    request = signing_request(ed25519.Ed25519PrivateKey.generate(), None)
    assert (await enrol(stranger, code, request)).status == 422
