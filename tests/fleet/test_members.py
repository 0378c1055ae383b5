"""What members ask of a front: over TLS, with the fleet's certificates, on a real record."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agent.api.access import TABLE
from agent.api.access import Cell as Answered
from agent.api.fleet_routes import MEMBER_ROUTES
from agent.errors import AgentError, Problem
from agent.fleet import members
from agent.fleet.entries import Claim, HostReport, Joined, NoClaim, Offer, Revision, Step
from agent.fleet.front_client import Fronts
from agent.fleet.record import Record
from agent.model.certificate import PEERS, PEOPLE, Role
from agent.model.fleet import FRONT_SERVER_NAME
from agent.model.job import Job, JobState
from agent.model.member import MemberClaim, MemberJoined, MemberOffer, MemberReport
from tests.support.fleet_front import ServedFront
from tests.support.fleet_record import GIB, HOST, NEED, submitted
from tests.support.jobs import make_job
from tests.support.openapi import Document
from tests.support.redis_server import free_port

pytestmark = pytest.mark.host

REPORT = HostReport(
    capacity=HOST, url="https://h1.example.com:8443", networks=(NEED,), versions={"agent": "1.0"}
)


def offer(host: str = "h1", epoch: str = "1", **changes: Any) -> Offer:
    return Offer(**{"host": host, "epoch": epoch, "capacity": HOST, "needs": (NEED,), **changes})


def revision(claim: Claim, number: int, status: JobState, host: str = "h1", **changes: Any) -> Job:
    """A job as its host's agent has it."""
    told = {"job_id": claim.job_id, "owner": claim.owner, "host": host, "revision": number, "status": status}
    return make_job(**{**told, **changes})


async def project(front: Fronts, claim: Claim, job: Job, host: str = "h1") -> Step:
    return await front.project(claim.job_id, host, claim.fence, Revision.of(job))


@pytest.fixture
async def front(tmp_path: Path, record: Record, document: Document) -> AsyncIterator[ServedFront]:
    async with ServedFront.running(tmp_path, record, document) as front:
        yield front


@pytest.fixture
async def member(front: ServedFront) -> AsyncIterator[Fronts]:
    """The member of h1, which has joined."""
    async with front.member("h1") as member:
        await member.join("h1", REPORT)
        yield member


async def claimed(member: Fronts, record: Record, owner: str = "alice", **fields: Any) -> Claim:
    await submitted(record, owner, **fields)
    claim = await member.claim_next(offer())
    assert isinstance(claim, Claim), claim
    return claim


async def test_a_job_goes_from_its_claim_to_its_end(member: Fronts, record: Record) -> None:
    assert await member.claim_next(offer()) is NoClaim.EMPTY
    claim = await claimed(member, record, request='{"a": "\\u00e4"}')
    assert (claim.owner, claim.attempt, json.loads(claim.request)) == ("alice", 1, {"a": "ä"})
    assert await member.claims_of("h1") == [claim]
    assert await member.confirm(claim.job_id, "h1", "1", claim.fence) is Step.OK
    assert await member.acknowledge(claim.job_id, "h1", claim.fence) is Step.OK
    running = revision(claim, 2, JobState.RUNNING)
    assert await project(member, claim, running) is Step.OK
    assert await project(member, claim, running) is Step.OLD
    assert await project(member, claim, revision(claim, 3, JobState.COMPLETED)) is Step.OK
    job = await record.job(claim.job_id)
    assert job is not None
    assert (job["status"], Job.model_validate_json(job["document"]).status) == ("COMPLETED", "COMPLETED")
    assert await member.claims_of("h1") == []


async def test_a_host_says_what_it_is(member: Fronts, record: Record) -> None:
    assert await member.join("h1", REPORT) == Joined(known=True, epoch="1")
    (row,) = await record.hosts()
    assert (row.name, row.report) == ("h1", REPORT)


async def test_a_job_that_the_agent_refuses_waits_for_another_host(member: Fronts, record: Record) -> None:
    claim = await claimed(member, record)
    assert await member.release(claim.job_id, "h1", claim.fence, elsewhere=True) is Step.OK
    assert await member.release(claim.job_id, "h1", claim.fence, elsewhere=True) is Step.STALE
    assert await member.claim_next(offer()) is NoClaim.NONE_FITS


async def test_a_host_that_was_forgotten_begins_as_new(member: Fronts, record: Record) -> None:
    claim = await claimed(member, record)
    await record.forget("h1", silence=0)
    assert await member.confirm(claim.job_id, "h1", "1", claim.fence) is Step.STALE
    assert await member.join("h1", REPORT) == Joined(known=False, epoch="2")
    assert not await member.back("h1", "1")
    assert await member.back("h1", "2")
    assert (await member.join("h1", REPORT)).known


async def test_a_barred_host_is_answered_nothing(front: ServedFront, member: Fronts, record: Record) -> None:
    """Its certificate is as good as before; another host does not notice."""
    claim = await claimed(member, record)
    assert await record.bar("h1", barred=True)
    asked = [
        lambda: member.join("h1", REPORT),
        lambda: member.claim_next(offer()),
        lambda: member.confirm(claim.job_id, "h1", "1", claim.fence),
        lambda: member.claims_of("h1"),
        lambda: member.sealed_secret("h1", "alice", "token"),
        lambda: member.back("h1", "1"),
    ]
    for ask in asked:
        with pytest.raises(AgentError, match="an operator has barred it") as refused:
            await ask()
        assert refused.value.problem is Problem.CERTIFICATE_REFUSED
    async with front.member("h2") as other:
        assert (await other.join("h2", REPORT)).known
    # It is silent to the fleet from now on, and so it can be given up.
    assert isinstance(await record.forget("h1", silence=0), tuple)
    with pytest.raises(AgentError, match="barred"):
        await member.join("h1", REPORT)
    assert await record.bar("h1", barred=False)
    assert not (await member.join("h1", REPORT)).known
    assert await member.back("h1", "2")


@pytest.mark.parametrize("route", MEMBER_ROUTES, ids=lambda route: route.operation_id)
async def test_every_call_asks_whether_the_host_is_barred(
    front: ServedFront, member: Fronts, record: Record, route: Any
) -> None:
    await record.bar("h1", barred=True)
    answer = await front.ask("h1", route.method, route.path, None if route.method == "GET" else {})
    assert (answer.status, answer.problem) == (403, "certificate-refused")


async def test_claims_come_in_pages(member: Fronts, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_REQUESTS", 25)
    claims = [await claimed(member, record, request="x" * 10) for _ in range(5)]
    assert await member.claims_of("h1") == sorted(claims, key=lambda claim: claim.job_id)


async def test_a_request_larger_than_a_page_is_shown_alone(
    member: Fronts, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MAX_REQUESTS", 5)
    claims = [await claimed(member, record, request="x" * 10) for _ in range(2)]
    assert len(await member.claims_of("h1")) == len(claims)


# A hostile member


async def test_a_member_does_nothing_for_another_host(
    front: ServedFront, member: Fronts, record: Record
) -> None:
    claim = await claimed(member, record)
    before = await record.job(claim.job_id)
    async with front.member("h2") as hostile:
        await hostile.join("h2", REPORT)
        assert await hostile.confirm(claim.job_id, "h1", "1", claim.fence) is Step.STALE
        assert await hostile.acknowledge(claim.job_id, "h1", claim.fence) is Step.STALE
        assert await hostile.release(claim.job_id, "h1", claim.fence, elsewhere=True) is Step.STALE
        ended = revision(claim, 9, JobState.COMPLETED, host="h2")
        assert await project(hostile, claim, ended, host="h1") is Step.STALE
        assert await hostile.claims_of("h1") == []
        await submitted(record, "bob")
        mine = await hostile.claim_next(offer("h1"))
        assert isinstance(mine, Claim)
        job = await record.job(mine.job_id)
        assert job is not None
        assert job["host"] == "h2"
    assert await record.job(claim.job_id) == before


@pytest.mark.parametrize("changes", [{"owner": "mallory"}, {"host": "h2"}, {"host": None}])
async def test_a_projection_changes_neither_owner_nor_host(
    front: ServedFront, member: Fronts, record: Record, changes: dict[str, Any]
) -> None:
    claim = await claimed(member, record)
    before = await record.job(claim.job_id)
    with pytest.raises(AgentError) as refused:
        await project(member, claim, revision(claim, 2, JobState.RUNNING, **changes))
    assert refused.value.problem is Problem.FORBIDDEN
    assert await record.job(claim.job_id) == before
    rows = [row for row in await front.served.audited("h1") if row["result"] == "refused"]
    assert [(row["action"], row["role"]) for row in rows] == [("projectJob", "member")]


async def test_a_job_that_the_record_does_not_have_is_stale(member: Fronts) -> None:
    absent = Claim("a" * 12, "1", 1, "alice", "")
    assert await project(member, absent, revision(absent, 2, JobState.RUNNING)) is Step.STALE


async def test_what_a_host_says_of_a_job_that_it_has_given_back_is_stale(
    member: Fronts, record: Record
) -> None:
    claim = await claimed(member, record)
    await member.release(claim.job_id, "h1", claim.fence, elsewhere=False)
    assert await project(member, claim, revision(claim, 2, JobState.RUNNING)) is Step.STALE


@pytest.mark.parametrize("path", ["", "/logs", "/events", "/artifacts", "/metrics", "/usage"])
async def test_a_member_reads_no_job_of_the_front(
    front: ServedFront, member: Fronts, record: Record, path: str
) -> None:
    alice = await front.served.known("alice")
    job = await alice.submit()
    known = front.served.parts.jobs.records[job["job_id"]]
    front.served.parts.jobs.put(known.model_copy(update={"host": "h1"}))
    assert (await front.ask("h1", "GET", f"/jobs/{job['job_id']}{path}")).status == 403
    assert (await front.ask("h1", "GET", "/events")).status == 403
    assert (await front.ask("h1", "GET", "/jobs")).status == 403


@pytest.mark.parametrize("route", MEMBER_ROUTES, ids=lambda route: route.operation_id)
async def test_only_members_may_make_these_calls(front: ServedFront, route: Any) -> None:
    for role in PEERS:
        allowed = TABLE[route.operation_id].grant(role).own is Answered.YES
        assert allowed is (role is Role.MEMBER)
        body = None if route.method == "GET" else {}
        answer = await front.ask("p1", route.method, route.path, body, role)
        assert answer.status == ((200 if body is None else 422) if allowed else 403)
    for role in PEOPLE:
        person = await front.served.known("caller", role)
        async with person.session.request(route.method, person.base + route.path, json={}) as response:
            assert response.status == 403
        own = {"On-Behalf-Of": "alice analyst 192.0.2.7"}
        async with person.session.request(
            route.method, person.base + route.path, json={}, headers=own
        ) as response:
            assert response.status == 403


@pytest.mark.parametrize("route", MEMBER_ROUTES, ids=lambda route: route.operation_id)
async def test_a_member_asks_on_behalf_of_nobody(front: ServedFront, route: Any) -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=front.context("h1"))) as session,
        session.request(
            route.method,
            front.served.base + route.path,
            json={},
            headers={"On-Behalf-Of": "alice analyst 192.0.2.7"},
            server_hostname=FRONT_SERVER_NAME,
        ) as response,
    ):
        assert response.status == 403


JOB_ID = "a" * 12
AMOUNT = {"jobs": 1, "millicpus": 1, "memory_bytes": GIB}
OFFER = {"epoch": "1", "capacity": AMOUNT, "others": AMOUNT, "ends_in": 0, "needs": ["none"]}


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("join", {"capacity": AMOUNT, "host": "h2"}, "host"),
        ("join", {"capacity": AMOUNT | {"jobs": -1}}, "capacity.jobs"),
        ("join", {"capacity": AMOUNT, "url": "http://h1"}, "url"),
        ("join", {"capacity": AMOUNT, "url": "https://h1/path"}, "url"),
        ("join", {"capacity": AMOUNT, "networks": ["n"] * 101}, "networks"),
        ("join", {"capacity": AMOUNT, "versions": {"agent": "a b"}}, "versions.agent"),
        ("claim", OFFER | {"host": "h2"}, "host"),
        ("claim", OFFER | {"capacity": AMOUNT | {"memory_bytes": 2**60}}, "capacity.memory_bytes"),
        ("claim", OFFER | {"ends_in": -1}, "ends_in"),
        ("claim", OFFER | {"needs": []}, "needs"),
        ("claim", OFFER | {"needs": ["a b"]}, "needs.0"),
        ("claim", OFFER | {"digests": ["a\n"]}, "digests.0"),
        ("back", {"epoch": "x"}, "epoch"),
        ("confirm", {"job_id": "*", "epoch": "1", "fence": "1"}, "job_id"),
        ("confirm", {"job_id": JOB_ID, "epoch": "1", "fence": "1 "}, "fence"),
        ("acknowledge", {"job_id": JOB_ID, "fence": "9" * 21}, "fence"),
        ("release", {"job_id": JOB_ID, "fence": "1"}, "elsewhere"),
        ("project", {"fence": "1", "job": {}}, "job.job_id"),
    ],
)
async def test_what_is_out_of_bounds_is_named(
    front: ServedFront, call: str, body: dict[str, Any], field: str
) -> None:
    answer = await front.ask("h1", "POST", f"/fleet/member/{call}", body)
    assert answer.status == 422, answer.body
    assert field in answer.fields


async def test_the_query_of_claims_is_bounded(front: ServedFront) -> None:
    assert (await front.ask("h1", "GET", "/fleet/member/claims?after=" + "a" * 13)).status == 422
    assert (await front.ask("h1", "GET", "/fleet/member/claims?host=h2")).status == 422


async def test_a_body_is_bounded(front: ServedFront) -> None:
    answer = await front.ask("h1", "POST", "/fleet/member/project", b"x" * (256 * 1024 + 1))
    assert answer.status == 413


VERSION = "1800000000000000-0123456789abcdef"
KEY = {"host": "h2", "public_key": "AAAA", "certificate": "AAAA", "signature": "AAAA"}
TIMES = dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00.000Z")
BODIES: dict[str, dict[str, Any]] = {
    "join": {"capacity": AMOUNT, "networks": ["none"], "versions": {"agent": "1"}},
    "claim": OFFER,
    "back": {"epoch": "7"},
    "confirm": {"job_id": JOB_ID, "epoch": "1", "fence": "1"},
    "acknowledge": {"job_id": JOB_ID, "fence": "1"},
    "release": {"job_id": JOB_ID, "fence": "1", "elsewhere": True},
    "secret": {"user": "alice", "name": "api"},
    "share": {"to": KEY, "secrets": [{"user": "alice", "name": "api", "version": VERSION, "key": "AAAA"}]},
    "held": {
        "whole": True,
        "secrets": [{"name": "api", "user": "alice", "version": VERSION, **TIMES}, {"name": "api", **TIMES}],
        "gone": [{"user": "bob", "name": "api"}],
    },
    "project": {"fence": "1", "job": json.loads(make_job(job_id=JOB_ID).model_dump_json(exclude_none=True))},
}
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def changed(value: Any, draw: Any, depth: int = 0) -> Any:
    """A JSON value with one part of it, or all of it, replaced."""
    if not isinstance(value, dict) or not value or draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    name = draw(st.sampled_from([*value, draw(st.text())]))
    return {**value, name: changed(value.get(name), draw, depth + 1)}


@pytest.mark.parametrize("call", BODIES)
async def test_no_body_is_a_fault_of_the_front(front: ServedFront, call: str) -> None:
    """Whatever a member sends, it is answered, or refused with a reason."""
    found: list[Any] = []

    @settings(max_examples=40, deadline=None, database=None, phases=[Phase.generate])
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        found.append(changed(BODIES[call], data.draw))

    await asyncio.to_thread(collect)
    for body in [BODIES[call], *found]:
        answer = await front.ask("h1", "POST", f"/fleet/member/{call}", body)
        assert answer.status in (200, 400, 403, 413, 422), (body, answer.body)


def test_what_is_sent_has_every_part_of_what_the_record_takes() -> None:
    def parts(kind: type, *without: str) -> set[str]:
        return {field.name for field in fields(kind)} - {*without}

    assert set(MemberReport.model_fields) == parts(HostReport)
    assert set(MemberOffer.model_fields) == parts(Offer, "host")
    assert set(MemberClaim.model_fields) == parts(Claim)
    assert set(MemberJoined.model_fields) == parts(Joined)


# Several fronts


class Losing:
    """A front that carries out what it is asked, and dies before it answers."""

    def __init__(self, target: str, context: Any) -> None:
        self.asked: list[str] = []
        self._target = target
        self._context = context

    @contextlib.asynccontextmanager
    async def listening(self, front: ServedFront) -> AsyncIterator[str]:
        """Its address."""
        context = front.served.http.newest_listener._context()  # the same certificate
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=context)
        async with server:
            yield f"https://localhost:{server.sockets[0].getsockname()[1]}"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        length = next((int(line.split(":")[1]) for line in head.splitlines() if "ength:" in line), 0)
        body = await reader.readexactly(length)
        self.asked.append(path)
        connector = aiohttp.TCPConnector(ssl=self._context)
        async with aiohttp.ClientSession(connector=connector) as session:
            await session.request(
                method,
                self._target + path,
                data=body,
                headers={"Content-Type": "application/json"},
                server_hostname=FRONT_SERVER_NAME,
            )
        writer.transport.abort()


async def test_the_next_front_is_asked_where_one_is_away(front: ServedFront, record: Record) -> None:
    away = f"https://localhost:{free_port()}"
    async with front.member("h1", away, front.served.base) as member:
        assert (await member.join("h1", REPORT)).known
    async with front.member("h1", away, front.served.base) as member:
        await submitted(record)
        assert isinstance(await member.claim_next(offer()), Claim)


async def test_where_no_front_answers_the_last_error_is_raised(front: ServedFront) -> None:
    async with front.member("h1", *(f"https://localhost:{free_port()}" for _ in range(2))) as member:
        with pytest.raises(AgentError, match="front does not answer") as caught:
            await member.join("h1", REPORT)
        assert caught.value.problem is Problem.HOST


async def test_what_may_be_repeated_is_when_its_answer_is_lost(
    front: ServedFront, member: Fronts, record: Record
) -> None:
    claim = await claimed(member, record)
    losing = Losing(front.served.base, front.context("h1"))
    async with losing.listening(front) as away:

        def anew() -> contextlib.AbstractAsyncContextManager[Fronts]:
            return front.member("h1", away, front.served.base)

        async with anew() as asking:
            assert (await asking.join("h1", REPORT)).known
        async with anew() as asking:
            assert await asking.confirm(claim.job_id, "h1", "1", claim.fence) is Step.OK
        async with anew() as asking:
            assert await asking.acknowledge(claim.job_id, "h1", claim.fence) is Step.OK
        async with anew() as asking:
            assert await asking.claims_of("h1") == [claim]
        async with anew() as asking:
            assert await project(asking, claim, revision(claim, 2, JobState.RUNNING)) is Step.OLD
        async with anew() as asking:
            assert await asking.release(claim.job_id, "h1", claim.fence, elsewhere=False) is Step.STALE
    assert len({path.partition("?")[0] for path in losing.asked}) == 6


async def test_a_claim_whose_answer_is_lost_is_not_claimed_again(
    front: ServedFront, member: Fronts, record: Record
) -> None:
    """A second claim would be another job's, and the first one would be forgotten."""
    first, second = await submitted(record), await submitted(record)
    losing = Losing(front.served.base, front.context("h1"))
    async with losing.listening(front) as away, front.member("h1", away, front.served.base) as asking:
        with pytest.raises(AgentError) as caught:
            await asking.claim_next(offer())
        assert caught.value.problem is Problem.HOST
        assert [claim.job_id for claim in await asking.claims_of("h1")] == [first]
        found = await asking.claim_next(offer())
        assert isinstance(found, Claim)
        assert found.job_id == second


async def test_a_front_of_another_fleet_is_not_asked(
    front: ServedFront, tmp_path: Path, record: Record, document: Document
) -> None:
    async with (
        ServedFront.running(tmp_path / "other", record, document) as other,
        front.member("h1", other.served.base) as member,
    ):
        with pytest.raises(AgentError, match="front does not answer"):
            await member.join("h1", REPORT)
