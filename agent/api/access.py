"""Who may do what: one table, and the guard that holds every request to it before its handler runs.

`docs/authorisation.md` shows the table; the tests try every cell of it.
"""

import functools
import re
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web
from aiohttp.typedefs import Handler

from ..audit.chain import Detail
from ..audit.trail import Trail
from ..backend import JobRecords
from ..errors import AgentError, FieldError, Problem
from ..model.base import ID_ALPHABET, ID_LENGTH
from ..model.certificate import Principal, Role
from ..model.job import Job, no_such_job
from .server.identity import CALLER, PRINCIPAL


class Cell(StrEnum):
    """What becomes of a call. In a list or a stream, what is ABSENT is left out."""

    YES = "yes"
    FORBIDDEN = "403"
    ABSENT = "404"
    NOTHING = "-"  # there is no such thing as another's


class Audited(StrEnum):
    """What of a call leaves a row in the audit, besides its refusal."""

    NOTHING = ""
    DEED = "deed"
    LOOK = "look"  # at another's job


@dataclass(frozen=True)
class Grant:
    """What one role may: with what is one's own, and with what is another's."""

    own: Cell
    others: Cell

    def cell(self, *, own: bool) -> Cell:
        """One of the two."""
        return self.own if own else self.others


OWN = Grant(Cell.YES, Cell.ABSENT)
ALL = Grant(Cell.YES, Cell.YES)
SEES_OTHERS = Grant(Cell.YES, Cell.FORBIDDEN)  # may know that it exists, and not do this
NO_OTHERS = Grant(Cell.YES, Cell.NOTHING)


@dataclass(frozen=True)
class Row:
    """What the roles may do with one call."""

    analyst: Grant
    operator: Grant
    administrator: Grant
    audited: Audited = Audited.NOTHING

    def grant(self, role: Role) -> Grant:
        """That of one role."""
        match role:
            case Role.ANALYST:
                return self.analyst
            case Role.OPERATOR:
                return self.operator
            case Role.ADMINISTRATOR:
                return self.administrator


# By operationId. A route without a row here cannot be served.
#                          analyst    operator     administrator
TABLE = {
    "submitJob": Row(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED),
    "listJobs": Row(OWN, ALL, ALL),
    "getJob": Row(OWN, ALL, ALL),
    "cancelJob": Row(OWN, ALL, ALL, Audited.DEED),
    "pinJob": Row(OWN, ALL, ALL, Audited.DEED),
    "unpinJob": Row(OWN, ALL, ALL, Audited.DEED),
    "rerunJob": Row(OWN, SEES_OTHERS, ALL, Audited.DEED),
    "getLogs": Row(OWN, ALL, ALL, Audited.LOOK),
    "getJobEvents": Row(OWN, ALL, ALL),
    "getMetrics": Row(OWN, ALL, ALL),
    "getUsage": Row(OWN, ALL, ALL),
    "getEvents": Row(OWN, ALL, ALL),
    "listArtifacts": Row(OWN, ALL, ALL, Audited.LOOK),
    "getArtifact": Row(OWN, ALL, ALL, Audited.LOOK),
    "listSecrets": Row(NO_OTHERS, NO_OTHERS, NO_OTHERS),
    "setSecret": Row(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED),
    "removeSecret": Row(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED),
    "renewCertificate": Row(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED),
    "listScripts": Row(NO_OTHERS, NO_OTHERS, NO_OTHERS),
    "getHost": Row(OWN, ALL, ALL),
    "getOpenapi": Row(NO_OTHERS, NO_OTHERS, NO_OTHERS),
}

# Rules about values, which the table has no column for.
MAY_GO_FIRST = frozenset({Role.ADMINISTRATOR})  # with a priority above 0

JOB = web.RequestKey("job", Job)
OPERATION = web.RequestKey("operation", str)
JOB_ID = re.compile(f"[{ID_ALPHABET}]{{{ID_LENGTH}}}")


def whose(request: web.Request, principal: Principal | None = None) -> str | None:
    """Whose jobs this call shows, now or to the same client as it has become: one user's, or None for all."""
    principal = principal or request[PRINCIPAL]
    others = TABLE[request[OPERATION]].grant(principal.role).others
    return None if others is Cell.YES else principal.user


def check_priority(principal: Principal, priority: int) -> None:
    """Raises `AgentError` (forbidden) for a priority that puts a job before those of others."""
    if priority > 0 and principal.role not in MAY_GO_FIRST:
        raise _forbidden("priority", "must be at most 0; only administrators put jobs before those of others")


def check_owner(request: web.Request, owner: str | None) -> str | None:
    """The owner to filter by. Raises `AgentError` (forbidden) where a client asks for another's, unseen."""
    visible = whose(request)
    if visible is not None and owner not in (None, visible):
        raise _forbidden("owner", "must be yourself; only operators and administrators see others' jobs")
    return visible or owner


async def check_again(request: web.Request) -> None:
    """For answers that go on after their client has become another: whether it may still have this one.

    Raises `AgentError` (job-not-found, forbidden) where the table says no to the principal as it is by now.
    """
    principal, job = request[PRINCIPAL], request.get(JOB)
    grant = TABLE[request[OPERATION]].grant(principal.role)
    cell = grant.cell(own=job is None or job.owner == principal.user)
    if cell is not Cell.YES:
        raise no_such_job() if cell is Cell.ABSENT else _forbidden()


class Guard:
    """Stands before every handler: finds the job that a path names, and asks the table."""

    def __init__(self, jobs: JobRecords, trail: Trail) -> None:
        self._jobs = jobs
        self._trail = trail
        self._guarded: set[Handler] = set()

    def before(self, operation_id: str, handler: Handler) -> Handler:
        """The handler, guarded; where the path has a job, it finds it under `JOB`.

        Raises `AgentError` (internal) where the table has no such row.
        """
        row = TABLE.get(operation_id)
        if row is None:
            raise AgentError(
                Problem.INTERNAL,
                f"The call {operation_id} has no row in the table of who may do what.",
                "Add one to TABLE in agent/api/access.py.",
            )

        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            request[OPERATION] = operation_id
            await self._admit(request, row)
            try:
                return await handler(request)
            except AgentError as error:
                if error.problem is Problem.FORBIDDEN:  # by a rule
                    await self._refused(request, error.problem)
                raise

        self._guarded.add(guarded)
        return guarded

    def demand_all(self, app: web.Application) -> None:
        """Raises `AgentError` (internal) where a route was added without the guard."""
        for route in app.router.routes():
            if route.handler not in self._guarded:
                raise AgentError(
                    Problem.INTERNAL, f"{route.method} {route.resource} answers whoever asks.", "Guard it."
                )

    async def _admit(self, request: web.Request, row: Row) -> None:
        principal = request[PRINCIPAL]
        grant = row.grant(principal.role)
        if "job_id" not in request.match_info:
            if grant.own is not Cell.YES:
                await self._refused(request, Problem.FORBIDDEN)
                raise _forbidden()
            return
        job = await self._found(request.match_info["job_id"])
        own = job is not None and job.owner == principal.user
        cell = Cell.ABSENT if job is None else grant.cell(own=own)
        owner = {"owner": job.owner} if job else {}
        if job is not None and cell is Cell.YES:
            request[JOB] = job
            if row.audited is Audited.LOOK and not own:
                what = owner | _path(request)
                await self._trail.shown(request[CALLER], request[OPERATION], job.job_id, **what)
        elif cell is Cell.FORBIDDEN:
            await self._refused(request, Problem.FORBIDDEN, **owner)
            raise _forbidden()
        else:
            # Another's job and none differ in nothing that a client sees, nor in the time that it takes.
            await self._refused(request, Problem.JOB_NOT_FOUND, **owner)
            raise no_such_job()

    async def _found(self, job_id: str) -> Job | None:
        try:
            return await self._jobs.get(job_id)
        except AgentError as error:
            if error.problem is Problem.JOB_NOT_FOUND:
                return None
            raise

    async def _refused(self, request: web.Request, problem: Problem, **details: Detail) -> None:
        job_id = request.match_info.get("job_id", "")
        subject = job_id if JOB_ID.fullmatch(job_id) else ""
        await self._trail.refused(request[CALLER], request[OPERATION], subject, problem=problem, **details)


def _path(request: web.Request) -> dict[str, str]:
    path = request.match_info.get("path")
    return {} if path is None else {"path": path}


def _forbidden(field: str = "", message: str = "") -> AgentError:
    return AgentError(
        Problem.FORBIDDEN,
        "Your role does not allow this.",
        "docs/authorisation.md says who may do what.",
        (FieldError(field, message),) if field else (),
    )
