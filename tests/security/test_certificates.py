"""The certificate matrix: what a client shows, and what it gets: nothing at all, a 403, or an answer as whom.

Real TLS on the loopback interface, the real application and a real record. A client that is refused in the
handshake gets no byte of HTTP; why, the same handshake in memory tells.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

from agent.api.keys import CERTIFICATES
from agent.api.server import identity
from agent.errors import AgentError
from agent.identity import authority as authority_module
from agent.identity import certificates as certificates_module
from agent.identity import rotation, subject
from agent.identity import subject as subject_module
from agent.identity import tls as tls_module
from agent.identity.authority import Authority, Issued
from agent.identity.key_files import certificates
from agent.model.certificate import Role
from tests.support.api_fixtures import (  # noqa: F401
    authorities,
    backend,
    document,
    repository,
    serve,
    served,
)
from tests.support.served import Served

from . import forge
from .forge import Shown, make, uris
from .peers import Connection, Site, outcome, request_of


@pytest.fixture
async def site(served: Served, monkeypatch: pytest.MonkeyPatch) -> Site:  # noqa: F811
    # Streams ask at once; a request always does.
    monkeypatch.setattr(identity, "INTERVAL", 0.05)
    monkeypatch.setattr(certificates_module, "FRESH", 0.0)
    known = served.authorities
    return Site(served, known.own, known.foreign, known.directory)


# --- who is refused in the handshake ------------------------------------------------------------------


def _foreign_with_our_name(site: Site, **options: Any) -> Shown:
    foreign = Authority.make("test CA")
    assert foreign.certificate.subject == site.own.certificate.subject
    return make(foreign, **options)


def _issued_by_a_leaf(site: Site) -> Shown:
    leaf = make(site.own)
    return replace(make(Authority(leaf.certificate, leaf.key)), chain=(leaf.certificate,))


def _issued_by_an_intermediate(site: Site) -> Shown:
    below = forge.issuer_below(site.own)
    return replace(make(below), chain=(below.certificate,))


def _ours(**options: Any) -> Callable[[Site], Shown]:
    return lambda site: make(site.own, **options)


HOUR, DAY = timedelta(hours=1), timedelta(days=1)

REFUSED_IN_THE_HANDSHAKE: dict[str, tuple[Callable[[Site], Shown | None], str]] = {
    "no certificate": (lambda site: None, "peer did not return a certificate"),
    "of a foreign authority": (lambda site: make(site.foreign), "unable to get local issuer"),
    "of a foreign authority, which is sent along": (
        lambda site: replace(make(site.foreign), chain=(site.foreign.certificate,)),
        "self-signed certificate in certificate chain",
    ),
    "of a foreign authority with our name": (_foreign_with_our_name, "unable to get local issuer"),
    "of a foreign authority with our name, without key identifiers": (
        lambda site: _foreign_with_our_name(site, key_ids=False),
        "certificate signature failure|Missing Authority Key Identifier",
    ),
    "self-signed": (lambda site: forge.self_signed(), "self-signed certificate"),
    "issued by a client's certificate": (_issued_by_a_leaf, "invalid CA certificate"),
    "issued by an intermediate authority": (_issued_by_an_intermediate, "path length constraint exceeded"),
    "expired": (_ours(start=-DAY, end=-HOUR), "certificate has expired"),
    "not valid yet": (_ours(start=HOUR, end=DAY), "certificate is not yet valid"),
    "serverAuth alone": (_ours(usages=[Usage.SERVER_AUTH]), "unsuitable certificate purpose"),
    "codeSigning alone": (_ours(usages=[Usage.CODE_SIGNING]), "unsuitable certificate purpose"),
    "the server's own": (
        lambda site: _of(site.own.issue_server(["localhost"])),
        "unsuitable certificate purpose",
    ),
    "a key that may not sign": (_ours(seals=False), "unsuitable certificate purpose"),
    "an extension that is critical and unknown": (_ours(critical=True), "unhandled critical extension"),
    "signed with SHA-1": (lambda site: forge.signed_with_sha1(site.own), "digest algorithm too weak"),
    "an RSA key of 1024 bits": (
        lambda site: make(site.own, key=forge.weak_key()),
        "certificate key too weak",
    ),
    "with another name, written over": (
        lambda site: forge.altered(make(site.own), b"user:alice", b"user:carol"),
        "certificate signature failure",
    ),
    "with a damaged signature": (lambda site: forge.damaged(make(site.own)), "certificate signature failure"),
    "without its key": (lambda site: forge.stolen(make(site.own)), "bad signature"),
}


def _of(issued: Issued) -> Shown:
    return Shown(issued.certificate, issued.key)


@pytest.mark.parametrize("case", REFUSED_IN_THE_HANDSHAKE)
async def test_refused_in_the_handshake(site: Site, case: str) -> None:
    shown_by, why = REFUSED_IN_THE_HANDSHAKE[case]
    shown = shown_by(site)
    if shown is not None:
        await site.record(shown)  # the record would let it in
    assert await outcome(site, shown) == "nothing"
    client = forge.client_context(site.directory, shown)
    with pytest.raises(ssl.SSLError, match=f"(?i){why.replace(' ', '[ _]')}"):
        forge.shake_hands(tls_module.server_context(site.directory), client)
    await site.served.nothing_is_left()


# --- who gets through the handshake and is nobody -----------------------------------------------------


def _named(*values: str) -> Callable[[Site], Shown]:
    return _ours(names=uris(*values))


REFUSED_WITH_403: dict[str, tuple[Callable[[Site], Shown], str]] = {
    "no extended key usage": (_ours(usages=None), "lacks"),
    "no basic constraints": (_ours(constraints=None), "lacks"),
    "an authority's constraints": (
        _ours(constraints=x509.BasicConstraints(ca=True, path_length=0), signs=True),
        "authority",
    ),
    "no alternative name": (_ours(names=None), "lacks"),
    "two users": (_named(forge.ALICE, "urn:ml-job:user:root"), "exactly one"),
    "the same user twice": (_named(forge.ALICE, forge.ALICE), "exactly one"),
    "a DNS name": (_ours(names=[x509.DNSName("alice")]), "exactly one"),
    "an e-mail address": (_ours(names=[x509.RFC822Name("alice@example.org")]), "exactly one"),
    "a URI and a DNS name": (_ours(names=[*uris(forge.ALICE), x509.DNSName("alice")]), "exactly one"),
    "a directory name": (
        _ours(
            names=[x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, forge.ALICE)]))]
        ),
        "exactly one",
    ),
    "a URI of another scheme": (_named("https://ml-job/user/alice"), "its URI is not"),
    "a URN of another name space": (_named("urn:other:user:alice"), "its URI is not"),
    "a scheme in capitals": (_named("URN:ML-JOB:USER:alice"), "its URI is not"),
    "a user in capitals": (_named("urn:ml-job:user:Alice"), "its URI is not"),
    "a user that is percent-encoded": (_named("urn:ml-job:user:%61lice"), "its URI is not"),
    "a user that is empty": (_named("urn:ml-job:user:"), "its URI is not"),
    "a user that is a path": (_named("urn:ml-job:user:../alice"), "its URI is not"),
    "a user with a line break": (_named("urn:ml-job:user:alice\n"), "its URI is not"),
    "a user with a NUL": (_named("urn:ml-job:user:alice\0"), "its URI is not"),
    "a user of 64 letters": (_named("urn:ml-job:user:" + "a" * 64), "its URI is not"),
    "a space before it": (_named(" urn:ml-job:user:alice"), "its URI is not"),
}


@pytest.mark.parametrize("case", REFUSED_WITH_403)
async def test_refused_with_403(site: Site, case: str) -> None:
    shown_by, why = REFUSED_WITH_403[case]
    shown = await site.record(shown_by(site))
    answer = await outcome(site, shown)
    assert answer.startswith("403 The client certificate is refused: ")
    assert why in answer
    await site.served.nothing_is_left()


async def test_refused_with_403_or_earlier_any_extended_key_usage(site: Site) -> None:
    """OpenSSL takes it for no purpose of a client; where one did, we would not."""
    shown = await site.record(make(site.own, usages=[Usage.ANY_EXTENDED_KEY_USAGE]))
    assert (await outcome(site, shown)).startswith(("nothing", "403"))
    with pytest.raises(AgentError, match="clientAuth"):
        subject.identify(shown.certificate.public_bytes(Encoding.DER))


async def test_the_authority_itself_is_nobody(site: Site) -> None:
    shown = await site.record(Shown(site.own.certificate, site.own.key))
    assert (await outcome(site, shown)).startswith(("nothing", "403"))
    with pytest.raises(AgentError):
        subject.identify(shown.certificate.public_bytes(Encoding.DER))


async def test_a_serial_number_that_nobody_recorded_is_refused(site: Site) -> None:
    assert "was not issued by this host" in await outcome(site, make(site.own))


async def test_the_serial_number_of_another_user_is_refused(site: Site) -> None:
    hers = await site.record(make(site.own, names=uris("urn:ml-job:user:root")), "root", Role.ADMINISTRATOR)
    forged = make(site.own, serial=hers.certificate.serial_number)
    assert "was not issued by this host" in await outcome(site, forged)


async def test_one_that_is_signed_with_the_stolen_key_of_the_authority_is_refused(site: Site) -> None:
    hers = await site.record(make(site.own))
    forged = make(site.own, serial=hers.certificate.serial_number)
    assert "was not issued by this host" in await outcome(site, forged)
    assert await outcome(site, hers) == "answered as alice"


async def test_one_that_was_recorded_before_fingerprints_were_is_answered(site: Site) -> None:
    shown = await site.record(make(site.own))
    await site.served.scene.store.database.run(
        lambda db: db.execute("UPDATE certificates SET fingerprint = ''")
    )
    assert await outcome(site, shown) == "answered as alice"


async def test_a_revoked_certificate_is_refused(site: Site) -> None:
    shown = await site.record(make(site.own))
    await site.revoke(shown.serial)
    assert await outcome(site, shown) == "403 The client certificate was revoked."


# --- who is answered ----------------------------------------------------------------------------------

ANSWERED: dict[str, Callable[[Site], Shown]] = {
    "as the agent issues it": lambda site: _of(site.own.issue_client("alice")),
    "a key on P-384": lambda site: make(site.own, key=ec.generate_private_key(ec.SECP384R1())),
    "an RSA key of 2048 bits": lambda site: make(site.own, key=rsa.generate_private_key(65537, 2048)),
    "clientAuth and another usage": _ours(usages=[Usage.CLIENT_AUTH, Usage.EMAIL_PROTECTION]),
    "the authority is sent along": lambda site: replace(make(site.own), chain=(site.own.certificate,)),
    "a foreign authority is sent along": lambda site: replace(
        make(site.own), chain=(site.foreign.certificate,)
    ),
    "valid since a moment ago": _ours(start=timedelta()),
}


@pytest.mark.parametrize("case", ANSWERED)
async def test_answered(site: Site, case: str) -> None:
    shown = await site.record(ANSWERED[case](site))
    assert await outcome(site, shown) == "answered as alice"


async def test_renewed_the_old_and_the_new_one_are_both_good(site: Site) -> None:
    old = await site.record(make(site.own))
    new = await site.renewed(old)
    assert [await outcome(site, shown) for shown in (old, new)] == ["answered as alice"] * 2


async def test_renewed_with_another_users_name_in_the_request_stays_who_it_was(site: Site) -> None:
    new = await site.renewed(await site.record(make(site.own)), "root")
    assert await outcome(site, new) == "answered as alice"
    assert b"root" not in new.certificate.public_bytes(Encoding.DER)


async def test_renewed_from_one_that_is_revoked_afterwards_is_revoked_with_it(site: Site) -> None:
    old = await site.record(make(site.own))
    further = await site.renewed(await site.renewed(old))
    await site.revoke(old.serial)
    assert "was revoked" in await outcome(site, further)


async def test_a_revoked_certificate_is_not_renewed(site: Site) -> None:
    old = await site.record(make(site.own))
    await site.revoke(old.serial)
    async with Connection.open(site, old) as connection:
        body = {"csr": request_of(ec.generate_private_key(ec.SECP256R1()), "alice")}
        assert (await connection.ask("POST", "/certificate", body))[0] == 403
    assert len(await site.served.scene.store.certificates.all()) == 1


# --- what changes while a connection is open ----------------------------------------------------------


async def test_revoked_during_a_connection_it_is_refused_from_the_next_request_on(site: Site) -> None:
    shown = await site.record(make(site.own))
    async with Connection.open(site, shown) as connection:
        assert (await connection.ask("GET", "/jobs"))[0] == 200
        await site.revoke(shown.serial)
        assert (await connection.ask("GET", "/jobs"))[0] == 403


class Later(datetime):
    """The clock, two hours on."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(hours=2)


async def test_expired_during_a_connection_it_is_refused_from_the_next_request_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = await site.record(make(site.own, end=HOUR))
    async with Connection.open(site, shown) as connection:
        assert (await connection.ask("GET", "/jobs"))[0] == 200
        monkeypatch.setattr(subject_module, "datetime", Later)
        status, answer = await connection.ask("GET", "/jobs")
    assert status == 403
    assert "expired" in answer["detail"]


async def test_expired_by_the_real_clock_it_is_refused_on_the_same_connection(site: Site) -> None:
    statuses: list[int] = []
    for seconds in (2, 8, 32):  # a busy machine may need more of them for a handshake
        shown = await site.record(make(site.own, end=timedelta(seconds=seconds)))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            async with Connection.open(site, shown) as connection:
                while 403 not in statuses:
                    statuses.append((await connection.ask("GET", "/jobs"))[0])
                    await asyncio.sleep(0.05)
        if 200 in statuses:
            break
        statuses.clear()
    assert statuses == [200] * (len(statuses) - 1) + [403]


async def test_the_role_is_that_of_the_moment(site: Site) -> None:
    hers, his = await site.record(make(site.own)), await site.record(_bob(site), "bob")
    async with Connection.open(site, his) as connection:
        _, job = await connection.ask("POST", "/jobs", {"script_name": "succeed.py"})
    async with Connection.open(site, hers) as connection:
        seen = []
        for role in ("analyst", "administrator", "analyst"):
            await _set_role(site, hers, role)
            seen.append((await connection.ask("GET", f"/jobs/{job['job_id']}"))[0])
    assert seen == [404, 200, 404]


def _bob(site: Site) -> Shown:
    return make(site.own, names=uris("urn:ml-job:user:bob"))


async def _set_role(site: Site, shown: Shown, role: str) -> None:
    statement = "UPDATE certificates SET role = ? WHERE serial = ?"
    await site.served.scene.store.database.run(lambda db: db.execute(statement, (role, shown.serial)))


# Each kind of stream: its path and what it accepts, and what comes before the certificate ends.
STREAMS = {
    "a log as events": ("/jobs/{}/logs", "text/event-stream", b"event: line"),
    "a log as lines of JSON": ("/jobs/{}/logs?follow=true", "application/x-ndjson", b'"event":"line"'),
    "a log as text": ("/jobs/{}/logs?follow=true", "text/plain", b"hello"),
    "changes of all jobs": ("/events", "text/event-stream", b"event: current"),
    "changes of one job": ("/jobs/{}/events", "text/event-stream", b"event: job"),
}


async def _cut_short(
    site: Site, kind: str, end_it: Callable[[Shown], Any], role: Role = Role.ANALYST
) -> tuple[bytes, bool]:
    """What comes on a stream of that kind once something has happened to its certificate."""
    path, accept, first = STREAMS[kind]
    shown = await site.record(make(site.own, end=HOUR), role=role)
    bob = await site.served.known("bob") if role is Role.ADMINISTRATOR else None
    job = await site.served.running_job(bob or await site.served.known("alice"))
    site.served.log("hello")
    async with Connection.open(site, shown) as connection:
        await connection.send("GET", path.format(job["job_id"]), Accept=accept)
        assert (await connection.head())[0] == 200
        await connection.until(first)
        await end_it(shown)
        return await connection.rest()


@pytest.mark.parametrize("kind", STREAMS)
async def test_revoked_during_a_stream_it_ends_with_an_error_and_text_is_cut(site: Site, kind: str) -> None:
    body, ended = await _cut_short(site, kind, lambda shown: site.revoke(shown.serial))
    _is_refused(kind, body, ended=ended, why=b"was revoked")


@pytest.mark.parametrize("kind", STREAMS)
async def test_expired_during_a_stream_it_ends_with_an_error_and_text_is_cut(
    site: Site, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def expire(shown: Shown) -> None:
        monkeypatch.setattr(subject_module, "datetime", Later)

    body, ended = await _cut_short(site, kind, expire)
    _is_refused(kind, body, ended=ended, why=b"expired")


def _is_refused(kind: str, body: bytes, *, ended: bool, why: bytes) -> None:
    if kind == "a log as text":
        assert not ended
        return
    assert ended
    assert b"urn:ml-agent:problem:certificate-refused" in body
    assert b'"status":403' in body
    assert why in body


@pytest.mark.parametrize("kind", [kind for kind in STREAMS if "log" in kind])
async def test_who_may_not_see_a_job_any_more_reads_its_log_no_further(site: Site, kind: str) -> None:
    body, ended = await _cut_short(
        site, kind, lambda shown: _set_role(site, shown, "analyst"), Role.ADMINISTRATOR
    )
    if kind == "a log as text":
        assert not ended
    else:
        assert b"urn:ml-agent:problem:job-not-found" in body


async def test_revoked_during_a_download_it_is_cut_short(site: Site) -> None:
    shown, alice = await site.record(make(site.own)), await site.served.known("alice")
    job = await alice.submit()
    size = 64 * 2**20
    with (site.served.artifacts(job) / "model").open("wb") as file:
        file.truncate(size)
    await site.served.finish(job)
    async with Connection.open(site, shown) as connection:
        await connection.send("GET", f"/jobs/{job['job_id']}/artifacts/model")
        assert (await connection.head())[0] == 200
        await site.revoke(shown.serial)
        await asyncio.sleep(2 * identity.INTERVAL)  # nobody reads meanwhile, so nobody is asked
        body, _ = await connection.rest()
    assert len(body) < size


# --- rotation -----------------------------------------------------------------------------------------


@dataclass
class Rotating:
    """A site whose authority is replaced; it listens anew at each stage, as for new connections."""

    site: Site
    directory: Path

    async def listen(self) -> str:
        return await self.site.served.http.listen(self.directory)

    async def renew(self, old: Shown, base: str) -> Shown:
        key = ec.generate_private_key(ec.SECP256R1())
        async with Connection.open(self.site, old, base=base, trust=self.directory) as connection:
            status, answer = await connection.ask("POST", "/certificate", {"csr": request_of(key, "alice")})
        assert status == 200, answer
        (self.directory / "renewed").mkdir(exist_ok=True)
        (self.directory / "renewed/ca.crt").write_text(answer["ca_certificates"])
        return Shown(x509.load_pem_x509_certificate(answer["certificate"].encode()), key)


@pytest.fixture
def rotating(site: Site, tmp_path: Path) -> Rotating:
    directory = tmp_path / "rotated"
    authority = Authority.create(directory, "the first CA")
    rotation.replace_server(directory, authority.issue_server(["localhost"]))
    site.own = authority
    site.served.app[CERTIFICATES]._directory = directory
    return Rotating(site, directory)


async def test_rotated_every_stage_answers_whom_it_should(rotating: Rotating) -> None:
    site, directory = rotating.site, rotating.directory
    before = await rotating.listen()
    trust_of_old = directory / "old"
    trust_of_old.mkdir()
    (trust_of_old / "ca.crt").write_bytes((directory / "ca.crt").read_bytes())
    late = await site.record(_of(Authority.load(directory).issue_client("alice")))
    early = await site.record(_of(Authority.load(directory).issue_client("alice")))
    assert await outcome(site, early, base=before, trust=trust_of_old) == "answered as alice"
    async with Connection.open(site, early, base=before, trust=trust_of_old) as held:
        rotation.begin(directory, "the second CA")
        overlap = await rotating.listen()
        assert await outcome(site, late, base=overlap, trust=trust_of_old) == "answered as alice"
        new = await rotating.renew(early, overlap)
        trust_of_new = directory / "renewed"
        assert len(certificates(trust_of_new / "ca.crt")) == 2
        # In the overlap the old one, the new one, and who has both go on.
        assert await outcome(site, early, base=overlap, trust=trust_of_old) == "answered as alice"
        assert await outcome(site, new, base=overlap, trust=trust_of_new) == "answered as alice"
        known = await site.served.scene.store.certificates.all()
        trusted = authority_module.authorities(directory)
        assert {each.serial for each in rotation.not_renewed(known, trusted)} == {late.serial}
        rotation.finish(directory, ["localhost"])
        finished = await rotating.listen()
        assert await outcome(site, new, base=finished, trust=trust_of_new) == "answered as alice"
        assert await outcome(site, early, base=finished, trust=trust_of_new) == "nothing"
        assert await outcome(site, late, base=finished, trust=trust_of_old) == "nothing"
        # A connection from before it all has not been dropped.
        assert (await held.ask("GET", "/jobs"))[0] == 200


async def test_rotated_an_authority_that_has_ended_lets_nobody_in_even_if_it_is_stolen(
    rotating: Rotating,
) -> None:
    site, directory = rotating.site, rotating.directory
    thief = Authority.load(directory)
    rotation.begin(directory, "the second CA")
    rotation.finish(directory, ["localhost"])
    forged = await site.record(make(thief))
    assert await outcome(site, forged, base=await rotating.listen(), trust=directory) == "nothing"


# --- the protocol -------------------------------------------------------------------------------------


async def test_tls_1_2_is_refused(site: Site) -> None:
    shown = await site.record(make(site.own))
    context = forge.client_context(site.directory, shown)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)unsupported[ _]protocol"):
        forge.shake_hands(tls_module.server_context(site.directory), context)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("localhost", int(site.served.base.rpartition(":")[2]), ssl=context)


async def test_no_session_ticket_is_given_and_a_session_is_not_resumed(site: Site) -> None:
    shown = await site.record(make(site.own))
    sessions, reused = await asyncio.to_thread(_two_connections, site, shown)
    assert not any(session.has_ticket for session in sessions)
    assert reused == [False, False]


def _two_connections(site: Site, shown: Shown) -> tuple[list[ssl.SSLSession], list[bool | None]]:
    """Two answered requests, the second with the session of the first."""
    context = forge.client_context(site.directory, shown)
    port = int(site.served.base.rpartition(":")[2])
    sessions: list[ssl.SSLSession] = []
    reused = []
    for _ in range(2):
        session = sessions[-1] if sessions else None
        with (
            socket.create_connection(("localhost", port), 20) as connection,
            context.wrap_socket(connection, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert tls.recv(12) == b"HTTP/1.1 200"
            assert tls.session is not None
            sessions.append(tls.session)
            reused.append(tls.session_reused)
    return sessions, reused


def test_weak_keys_and_digests_are_below_the_level_that_the_server_demands(site: Site) -> None:
    assert tls_module.server_context(site.directory).security_level >= 2
