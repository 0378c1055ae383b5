"""Programs of a fleet of different versions: fronts are upgraded first, then host after host."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import agent.fleet
from agent import __version__
from agent.api.fleet_routes import MEMBER_ROUTES
from agent.errors import AgentError, FieldError, Problem
from agent.fleet.backend.documents import job_of
from agent.fleet.entries import Claim, HostReport, Joined, NoClaim, Offer
from agent.fleet.front_client import Fronts
from agent.fleet.host_agent import HostAgent
from agent.jobs.requests import as_asked, fingerprint_of
from agent.model.base import Model
from agent.model.fleet import Reseal
from agent.model.job import Job, JobRequest, to_json
from agent.model.member import (
    MemberConfirmation,
    MemberEpoch,
    MemberHold,
    MemberOffer,
    MemberProjection,
    MemberRelease,
    MemberReport,
    MemberSecretOf,
    MemberSecrets,
)
from tests.support.fleet_record import HOST, NEED
from tests.support.hosts_and_fronts import Fleet
from tests.support.jobs import make_job
from tests.support.served_fleet import MemberByHand

LATER: dict[str, Any] = {"of_a_later_version": {"a": [1]}}
EARLIER = json.loads(Path(__file__).with_name("earlier_version.json").read_text("utf-8"))
OFFER = Offer(host="h1", epoch="1", capacity=HOST, needs=(NEED,))


# What one says is understood by the other


SAYS: dict[str, type[Model]] = {
    "joinFleet": MemberReport,
    "beginAsNew": MemberEpoch,
    "claimJob": MemberOffer,
    "confirmClaim": MemberConfirmation,
    "acknowledgeClaim": MemberHold,
    "releaseClaim": MemberRelease,
    "projectJob": MemberProjection,
    "fetchSecret": MemberSecretOf,
    "tellSecrets": MemberSecrets,
    "shareKeys": Reseal,
}


@pytest.mark.parametrize("call", SAYS)
def test_a_front_takes_what_a_member_of_the_first_version_says(call: str) -> None:
    """A member that is added to one of these needs a default."""
    SAYS[call].model_validate(EARLIER["member_says"][call])


def test_every_call_with_a_body_is_among_them() -> None:
    calls = {route.operation_id for route in MEMBER_ROUTES if route.method != "GET"}
    assert calls == set(SAYS) == set(EARLIER["member_says"])


def test_a_job_that_a_later_version_has_written_is_read() -> None:
    job = json.loads(to_json(make_job(host="h1", limits={"cpus": 1})))
    written = {**job, **LATER, "limits": {**job["limits"], **LATER}}
    row = {"document": json.dumps(written), "revision": "4", "created": "0", "state": "given"}
    row |= {"host": "h1", "attempt": "1", "max_attempts": "1"}
    assert job_of(row).limits.cpus == 1


@contextlib.asynccontextmanager
async def answering(answers: dict[str, Any]) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A program that answers each path so, whatever it is asked, and a client."""

    async def answer(request: web.Request) -> web.Response:
        said = answers[request.path]
        return web.Response(text=said) if isinstance(said, str) else web.json_response(said)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield session, str(server.make_url("")).rstrip("/")


async def test_a_member_reads_what_a_later_front_answers() -> None:
    claim = {"job_id": "aaaaaaaaaaaa", "fence": "1", "attempt": 1, "owner": "alice", "request": "{}", **LATER}
    news = {"number": 1, "time": 1, "owners": [], "more": False, **LATER}
    sealed = {"version": "1700000000000000-0123456789abcdef", "key": "", "value": "", "by": "a b c", **LATER}
    answers = {
        "join": {"known": True, "epoch": "1", "stop": [], **LATER},
        "claim": {"claim": claim, **LATER},
        "claims": {"claims": [claim], "more": False, **LATER},
        "secrets": news,
        "secret": {"secret": sealed, **LATER},
    }
    paths = {f"/fleet/member/{call}": answer for call, answer in answers.items()}
    async with answering(paths) as (http, url):
        fronts = Fronts(http, [url])
        known = Claim("aaaaaaaaaaaa", "1", 1, "alice", "{}")
        assert await fronts.join("h1", HostReport(capacity=HOST)) == Joined(known=True, epoch="1")
        assert await fronts.claim_next(OFFER) == known
        assert await fronts.claims_of("h1") == [known]
        assert (await fronts.secret_news("h1", 0)).number == 1
        assert (secret := await fronts.sealed_secret("h1", "alice", "token"))
        assert secret.by == "a b c"


async def test_a_member_takes_a_later_fronts_reason_for_one_that_passes() -> None:
    async with answering({"/fleet/member/claim": {"why": "of-a-later-version"}}) as (http, url):
        assert await Fronts(http, [url]).claim_next(OFFER) is NoClaim.NONE_FITS


async def test_a_member_reads_what_its_later_agent_answers() -> None:
    """Between the upgrade of an agent and that of the member on its host."""
    job = {**json.loads(to_json(make_job(job_id="aaaaaaaaaaaa", host="h1"))), **LATER}
    amount = {"jobs": 3, "cpus": 2.0, "memory_bytes": 2**31, **LATER}
    room = {
        **{"host": "h1", "draining": False, "capacity": amount, "free": amount, "others": amount, **LATER},
        **{"ends_in_seconds": 0.0, "networks": ["none"], "image": "i", "image_digest": "sha256:1"},
    }
    answers = {
        "/fleet/room": room,
        "/jobs/aaaaaaaaaaaa": job,
        "/events": f"event: job\ndata: {json.dumps(job)}\n\nevent: current\ndata: {{}}\n\n",
    }
    async with answering(answers) as (http, url):
        agent = HostAgent(http, url)
        assert (await agent.room()).capacity.jobs == 3
        assert await agent.job("aaaaaaaaaaaa") is not None
        assert [each.job_id for each in await agent.jobs()] == ["aaaaaaaaaaaa"]
        assert [each.job_id async for each in agent.changes()] == ["aaaaaaaaaaaa"]


@pytest.mark.parametrize("module", ["host_agent", "front_client", "backend"])
def test_nothing_that_another_program_tells_is_refused_for_being_new(module: str) -> None:
    """`Model.told` leaves out what only a later version knows; `model_validate` refuses all of it."""
    place = Path(agent.fleet.__path__[0]) / module
    sources = sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    read = {source.name: source.read_text("utf-8") for source in sources}
    assert sources
    assert [name for name, text in read.items() if ".model_validate" in text] == []


def test_a_request_is_the_same_one_when_it_is_repeated_after_an_upgrade() -> None:
    """A member that is added to a request must not change the digest of requests without it."""
    request = JobRequest(script_name="hello.py", hyperparameters={"n": "1"}, priority=-1)
    digest = "c156c0f34a4badb3c2fee7f75731124896f4688c185e67049c83f2530ba7e333"
    assert fingerprint_of(as_asked(request)) == digest


# Who runs what


def checks(monkeypatch: pytest.MonkeyPatch, member: MemberByHand, asked: list[str], *, refuses: bool) -> None:
    """Notes that the host is asked about a request, which its agent may not know."""
    part = member.served.backend.fleet
    assert part is not None
    check = part.check

    async def noted(user: str, request: JobRequest) -> Job:
        asked.append(member.name)
        if refuses:
            unknown = FieldError("of_a_later_version", "is not allowed")
            raise AgentError(Problem.INVALID_REQUEST, "", fields=(unknown,))
        return await check(user, request)

    monkeypatch.setattr(part, "check", noted)


@pytest.mark.host
@pytest.mark.parametrize("able", [True, False])
async def test_what_an_earlier_host_does_not_know_a_later_one_of_its_size_may(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    asked: list[str] = []
    for name, version, refuses in (("h1", "0.0.8", True), ("h2", "0.0.9", not able)):
        checks(monkeypatch, await fleet.host(name, versions={"agent": version}), asked, refuses=refuses)
    async with fleet.front() as front:
        answer = await (await front.known("alice")).post("/jobs", {"script_name": "succeed.py"})
    assert asked == ["h1", "h2"]
    assert answer.status == (202 if able else 422)
    assert able or answer.fields == ["of_a_later_version"]


@pytest.mark.host
async def test_a_host_of_the_fronts_version_is_asked_first(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name, version in (("h1", "0.0.9"), ("h2", __version__)):
        checks(monkeypatch, await fleet.host(name, versions={"agent": version}), asked, refuses=False)
    async with fleet.front() as front:
        await (await front.known("alice")).submit()
    assert asked == ["h2"]


@pytest.mark.host
async def test_a_host_is_given_what_the_user_asked_for_and_nothing_that_only_the_front_knows(
    fleet: Fleet,
) -> None:
    await fleet.host("h1")
    body = {"script_name": "succeed.py", "priority": -1}
    async with fleet.front() as front:
        job = (await (await front.known("alice")).post("/jobs", body)).json
        row = await fleet.record.job(job["job_id"])
    assert row is not None
    # What the user was told is pinned.
    assert set(json.loads(row["request"])["request"]) == {*body, "ref", "limits"}
