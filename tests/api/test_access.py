"""Every cell of the table of permissions: each call, in each role, about one's own job and another user's."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agent.api import access, guard, routes
from agent.api.access import TABLE, Audited, Grant
from agent.api.access import Cell as Answer
from agent.api.guard import Guard
from agent.api.server.identity import NOBODY, PRINCIPAL
from agent.audit.chain import Result
from agent.errors import AgentError
from agent.model.certificate import PEOPLE, Principal, Role
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_backend, over_any_host
from tests.support.every_call import (
    BODIES,
    BYTES,
    ENDLESS,
    FLEET_PATHS,
    MEMBER_PATHS,
    PATHS,
    filled,
)
from tests.support.jobs import make_job
from tests.support.served import AnyServed

from . import authorisation

NOBODYS = "aaaaaaaaaaaa"
NOT_AT_A_FRONT = re.compile(
    r"/metrics$|/usage$|/sweeps|/schedules|/comparison|/models|/jobs/\{job_id\}/(diff|readers)"
)
NAMED = re.compile(r"\{((job|sweep|schedule)_id|model)\}")  # what a path may be about
READER = "shared"  # with the caller, by another user

# Deeds that change nothing unless another one was done before.
UNDOES = {
    "unpinJob": "pinJob",
    "unpinSweep": "pinSweep",
    "resumeSweep": "pauseSweep",
    "resumeSchedule": "pauseSchedule",
}
# What a front has not: the beginnings of paths, and the calls that make one.
OF_HOSTS = {"sweep": "submitSweep", "schedule": "createSchedule", "model": "setAlias"}
MODEL = "churn"


@dataclass(frozen=True)
class Cell:
    """A call, the role of the caller, and whose thing it is about: `own`, `others`, `shared` or `nobodys`."""

    operation: str
    role: Role
    whose: str
    method: str = ""

    def __str__(self) -> str:
        return f"{self.operation}{self.method and '-' + self.method}-{self.role}-{self.whose}"

    @property
    def answer(self) -> Answer:
        """The answer according to the table."""
        if self.whose == "nobodys":
            return Answer.YES if TABLE[self.operation].makes else Answer.ABSENT
        grant = TABLE[self.operation].grant(self.role)
        if self.whose == READER:
            order = [Answer.ABSENT, Answer.FORBIDDEN, Answer.YES]
            return max(grant.others, TABLE[self.operation].reader, key=order.index)
        return grant.own if self.whose == "own" else grant.others


def kind_of(path: str) -> str:
    """`sweep`, `schedule`, `model`, or `job` for every other call."""
    return next((kind for kind in OF_HOSTS if path.startswith(f"/{kind}s")), "job")


def id_of(kind: str) -> str:
    """The member that has the id of such a thing."""
    return kind if kind == "model" else f"{kind}_id"


def read_by_others() -> list[Cell]:
    """The calls about a job, sweep or model that is shared with the caller."""
    shareable = [
        name for name, (_, path, _) in PATHS.items() if re.search(r"\{(job_id|sweep_id|model)\}", path)
    ]
    return [Cell(operation, role, READER) for operation in shareable for role in PEOPLE]


def cells(*, at_hosts_alone: bool) -> list[Cell]:
    found = []
    for operation, (_, path, _) in PATHS.items():
        if bool(NOT_AT_A_FRONT.match(path)) != at_hosts_alone:
            continue
        for role in PEOPLE:
            whose = ["own", "others", "nobodys"] if NAMED.search(path) else ["own", "others"]
            if TABLE[operation].grant(role).others is Answer.NOTHING:
                whose = ["own"]
            found += [Cell(operation, role, each) for each in whose]
            if operation in ("getArtifact", "getModelArtifact"):
                found += [Cell(operation, role, each, "HEAD") for each in whose]
    return found


@dataclass
class Site:
    """A server, and a caller with a job and one `other` thing, or with access to those of another user."""

    served: AnyServed
    caller: Client
    name: str
    job: dict[str, Any]
    other: dict[str, Any]

    def named(self, cell: Cell) -> str:
        """The id of what the call is about."""
        if cell.whose == "nobodys":
            return NOBODYS
        kind = kind_of(PATHS[cell.operation][1])
        return str((self.job if kind == "job" else self.other)[id_of(kind)])

    async def revision(self, name: str) -> int:
        """That of the job, the sweep or the schedule with the id, or of the model."""
        backend = self.served.backend
        if name == self.job["job_id"]:
            return (await backend.jobs.get(name)).revision
        others = {"sweep": backend.sweeps, "schedule": backend.schedules, "model": backend.models}
        (records,) = [each for kind, each in others.items() if id_of(kind) in self.other]
        assert records is not None
        return (await records.get(name)).revision

    async def ask(self, cell: Cell, named: str) -> tuple[int, bytes]:
        method, path, _ = PATHS[cell.operation]
        path = filled(path, named)
        until = ENDLESS.get(cell.operation)
        if until is not None:
            return await self._begin(path, until)
        body: dict[str, Any] = {"json": BODIES.get(cell.operation, None if method == "GET" else {})}
        if cell.operation in BYTES:
            octets = {"Content-Type": "application/octet-stream"}
            body = {"data": BYTES[cell.operation], "headers": octets}
        if cell.operation == "setAlias":  # to what the caller may read
            body["json"] = await completed(self.served, self.caller)
        if cell.operation == "enrol":
            code = await self.served.invite(self.name)
            body["headers"] = {"Authorization": f"Bearer {code}"}
        answer = await self.caller(cell.method or method, path, **body)
        return answer.status, answer.body

    async def _begin(self, path: str, until: bytes) -> tuple[int, bytes]:
        async with self.caller.session.get(self.caller.base + path) as response:
            read = b""
            async with asyncio.timeout(30):
                while response.status == 200 and until not in read:
                    read += await response.content.readany()
            return response.status, read or await response.read()

    async def audited(self, cell: Cell) -> list[dict[str, Any]]:
        rows = await self.served.audited(self.name)
        return [row for row in rows if row["action"] == cell.operation]


async def site_of(served: AnyServed, cell: Cell) -> Site:
    caller, other = await served.known("caller", cell.role), await served.known("other")
    owner = caller if cell.whose == "own" else other
    job = await owner.submit()
    kind = kind_of(PATHS[cell.operation][1])
    served.add_artifact(job, "result.txt", b"hers")
    site = Site(served, caller, "caller", job, await make(served, owner, kind))
    if cell.whose == READER:
        readers = f"/{kind}s/{site.named(cell)}/readers"
        assert (await owner("PUT", readers, json={"users": ["caller"]})).status == 200
    if cell.operation == "removeSecret":
        await site.ask(replace(cell, operation="setSecret"), "")
    if before := UNDOES.get(cell.operation):
        method, path, _ = PATHS[before]
        await owner(method, NAMED.sub(site.named(replace(cell, whose="own")), path))
    return site


async def make(served: AnyServed, owner: Client, kind: str) -> dict[str, Any]:
    """A sweep, a schedule or a model of the owner; for a job nothing more."""
    if kind == "job":
        return {}
    if kind != "model":
        answer = await owner.post(f"/{kind}s", BODIES[OF_HOSTS[kind]])
        return dict(answer.json)
    path = f"/models/{MODEL}"
    made = await owner("PUT", f"{path}/aliases/champion", json=await completed(served, owner))
    assert made.status == 200
    return dict((await owner.get(path)).json)


async def completed(served: AnyServed, owner: Client) -> dict[str, Any]:
    """What an alias can point at: an artifact of a job of the owner that has COMPLETED."""
    job = await owner.submit()
    served.add_artifact(job, "result.txt", job["job_id"].encode())
    await served.finish(job)
    return {"job_id": job["job_id"], "path": "result.txt"}


@over_any_backend
@pytest.mark.parametrize("cell", cells(at_hosts_alone=False), ids=str)
async def test_each_cell_of_the_table(served: AnyServed, cell: Cell) -> None:
    await judge(served, cell)


@over_any_host
@pytest.mark.parametrize("cell", cells(at_hosts_alone=True), ids=str)
async def test_each_cell_of_what_a_front_has_not(served: AnyServed, cell: Cell) -> None:
    await judge(served, cell)


@over_any_host
@pytest.mark.parametrize("cell", read_by_others(), ids=str)
async def test_each_cell_of_what_is_shared(served: AnyServed, cell: Cell) -> None:
    await judge(served, cell)


async def judge(served: AnyServed, cell: Cell) -> None:
    """Makes the call, and holds the answer and the audit to the table."""
    site = await site_of(served, cell)
    named = site.named(cell)
    before = await site.audited(cell)
    status, body = await site.ask(cell, named)
    after = (await site.audited(cell))[len(before) :]

    if NAMED.search(PATHS[cell.operation][1]):
        await judge_call_about_one(site, cell, named, status, body)
    elif cell.answer is Answer.FORBIDDEN:
        assert status == 403
    else:
        assert status == PATHS[cell.operation][2]
        judge_list(site, cell, body)
    judge_audit(cell, named, after)


async def judge_call_about_one(site: Site, cell: Cell, named: str, status: int, body: bytes) -> None:
    match cell.answer:
        case Answer.YES:
            assert status == PATHS[cell.operation][2]
        case Answer.FORBIDDEN:
            assert status == 403
            assert b"urn:ml-agent:problem:forbidden" in body
        case Answer.ABSENT:
            assert (status, body) == await site.ask(cell, NOBODYS)
            assert status == 404
            kind = kind_of(PATHS[cell.operation][1])
            assert cell.method == "HEAD" or f"urn:ml-agent:problem:{kind}-not-found".encode() in body
    if cell.answer is not Answer.YES and cell.whose != "nobodys":
        shared = cell.whose == READER and named == MODEL  # the readers of others are beside their records
        before = 2 if cell.operation in UNDOES or shared else 1
        assert await site.revision(named) == before, "refused, and done all the same"


def judge_list(site: Site, cell: Cell, body: bytes) -> None:
    """A list has the job, or its owner, exactly if the caller may see it."""
    if cell.operation in ("listJobs", "listSweeps", "listSchedules", "listModels", "getEvents", "getHost"):
        marks = {
            "getHost": site.job["owner"],
            "listSweeps": site.other.get("sweep_id"),
            "listSchedules": site.other.get("schedule_id"),
            "listModels": site.other.get("model"),
        }
        mark = marks.get(cell.operation, site.job["job_id"])
        assert (mark.encode() in body) == (cell.answer is Answer.YES)


def judge_audit(cell: Cell, named: str, rows: list[dict[str, Any]]) -> None:
    """Each refusal, each deed and each look at another user's job has one row, and nothing else has one."""
    audited, about_one = TABLE[cell.operation].audited, NAMED.search(PATHS[cell.operation][1])
    expected: list[Result] = []
    never = cell.whose == "own" and cell.answer is Answer.FORBIDDEN
    if never or (cell.answer is not Answer.YES and about_one):
        expected = [Result.REFUSED]
    elif audited is Audited.DEED or (audited is Audited.LOOK and cell.whose in ("others", READER)):
        expected = [Result.DONE if audited is Audited.DEED else Result.SHOWN]
    assert [row["result"] for row in rows] == expected
    role = NOBODY if TABLE[cell.operation].anybody else cell.role
    for row in rows:
        assert (row["actor"], row["role"], row["source"]) == ("caller", role, "127.0.0.1")
        if about_one and cell.operation not in ("rerunJob", "rerunSweep"):
            assert row["subject"] in (named, f"{named}/champion")


def test_the_table_has_each_route_and_no_others() -> None:
    assert TABLE.keys() == PATHS.keys() | FLEET_PATHS.keys() | MEMBER_PATHS.keys()


async def test_a_route_without_permissions_cannot_be_served(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "TABLE", {name: row for name, row in TABLE.items() if name != "getHost"})
    with pytest.raises(AgentError, match="does not have the call getHost"):
        await serve()


async def test_a_route_without_the_guard_cannot_be_served(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tell_all(_: web.Request) -> web.Response:
        return web.Response()

    def add_to(app: web.Application, guard: Guard) -> None:
        app.router.add_route("GET", "/all", tell_all)

    monkeypatch.setattr(routes, "add_to", add_to)
    with pytest.raises(AgentError, match="has no guard"):
        await serve()


def test_the_page_shows_the_table() -> None:
    shown = Path(authorisation.PAGE).read_text("utf-8")
    assert shown == authorisation.page(shown), "run python -m tests.api.authorisation"


@over_any_backend
async def test_a_call_that_a_role_may_never_make_is_forbidden_and_audited(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Grant(Answer.FORBIDDEN, Answer.FORBIDDEN)
    monkeypatch.setitem(TABLE, "submitJob", replace(TABLE["submitJob"], operator=nothing))
    served: AnyServed = await serve()
    operator = await served.known("oscar", Role.OPERATOR)
    answer = await operator.post("/jobs", b"not even read")
    assert (answer.status, answer.problem) == (403, "forbidden")
    (row,) = await served.audited("oscar")
    assert (row["action"], row["result"]) == ("submitJob", "refused")


@pytest.mark.parametrize("role", PEOPLE)
@pytest.mark.parametrize("owner", ["caller", "other"])
async def test_a_long_answer_checks_the_table_for_the_present_role(role: Role, owner: str) -> None:
    request = make_mocked_request("GET", "/")
    request[PRINCIPAL] = Principal(user="caller", role=role)
    request[access.OPERATION], request[access.JOB] = "rerunJob", make_job(owner=owner)
    problem = {"analyst": "job-not-found", "operator": "forbidden"}.get(role)
    if owner == "caller" or problem is None:
        await access.check_still_allowed(request)
        return
    with pytest.raises(AgentError) as refused:
        await access.check_still_allowed(request)
    assert refused.value.problem == problem


# What must hold for every table.


@pytest.mark.parametrize("operation", TABLE)
def test_an_analyst_never_has_access_to_another_users_jobs(operation: str) -> None:
    # The name of a model can be taken, which whoever wants it must be told.
    allowed = Answer.FORBIDDEN if TABLE[operation].makes else Answer.ABSENT
    assert TABLE[operation].analyst.others in (allowed, Answer.NOTHING)


@pytest.mark.parametrize("operation", TABLE)
def test_who_may_read_may_change_nothing(operation: str) -> None:
    method, path, _ = (PATHS | FLEET_PATHS | MEMBER_PATHS)[operation]
    may = method == "GET" and NAMED.search(path) is not None
    assert TABLE[operation].reader in ((Answer.YES, Answer.FORBIDDEN) if may else (Answer.FORBIDDEN,))


@pytest.mark.parametrize("operation", TABLE)
def test_a_higher_role_may_do_everything_that_a_lower_one_may(operation: str) -> None:
    order = [Answer.ABSENT, Answer.FORBIDDEN, Answer.YES]
    row = TABLE[operation]
    others = [row.grant(role).others for role in (Role.ANALYST, Role.OPERATOR, Role.ADMINISTRATOR)]
    assert others == sorted(others, key=lambda cell: order.index(cell) if cell in order else 0)


# The rules about values.


@over_any_backend
@pytest.mark.parametrize("role", PEOPLE)
async def test_only_an_administrator_may_set_a_priority_above_zero(served: AnyServed, role: Role) -> None:
    client = await served.known("caller", role)
    answer = await client.post("/jobs", {"script_name": "succeed.py", "priority": 1})
    if role is Role.ADMINISTRATOR:
        assert answer.status == 202
        return
    assert (answer.status, answer.problem, answer.fields) == (403, "forbidden", ["priority"])
    (row,) = await served.audited("caller")
    assert (row["action"], row["result"]) == ("submitJob", "refused")
    await served.nothing_is_left()


@over_any_backend
@pytest.mark.parametrize("role", PEOPLE)
async def test_owner_filter_requires_a_role_that_sees_all_jobs(served: AnyServed, role: Role) -> None:
    client, bob = await served.known("caller", role), await served.known("bob")
    job = await bob.submit()
    answer = await client.get("/jobs?owner=bob")
    if role is Role.ANALYST:
        assert (answer.status, answer.problem, answer.fields) == (403, "forbidden", ["owner"])
    else:
        assert [each["job_id"] for each in answer.json["jobs"]] == [job["job_id"]]


def test_a_principal_does_not_contain_permissions() -> None:
    assert Principal(user="carol", role=Role.OPERATOR).model_dump() == {"user": "carol", "role": "operator"}
