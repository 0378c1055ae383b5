"""Who may do what: one table, and the guard that checks each request against it before the handler runs.

docs/authorisation.md shows the table; the tests try every cell of it.
"""

import functools
import re
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web
from aiohttp.typedefs import Handler

from ..audit.chain import Detail
from ..audit.trail import Trail
from ..backend import Backend
from ..errors import AgentError, FieldError, Problem
from ..model.base import ID_ALPHABET, ID_LENGTH
from ..model.certificate import MAY_GO_FIRST, Principal, Role
from ..model.job import Job, no_such_job
from ..model.schedule import Schedule, no_such_schedule
from ..model.sweep import Sweep, no_such_sweep
from .keys import BACKEND
from .server.identity import CALLER, ON_BEHALF_OF, PEER, PRINCIPAL
from .server.requests import check_no_form, is_foreign


class Cell(StrEnum):
    """The answer to a call. ABSENT jobs are also left out of lists and streams."""

    YES = "yes"
    FORBIDDEN = "403"
    ABSENT = "404"
    GIVEN = "given"  # yes if a fleet has given the job to this host; otherwise the job is ABSENT
    NOTHING = "-"  # the call is never about another user


class Audited(StrEnum):
    """Which calls have an audit row. A refusal always has one."""

    NOTHING = ""
    DEED = "deed"  # every call
    LOOK = "look"  # a call about another user's job


@dataclass(frozen=True)
class Grant:
    """What one role may do with its own jobs, and with those of other users."""

    own: Cell
    others: Cell


OWN = Grant(Cell.YES, Cell.ABSENT)
ALL = Grant(Cell.YES, Cell.YES)
SEES_OTHERS = Grant(Cell.YES, Cell.FORBIDDEN)  # may see the job, but not do this with it
NO_OTHERS = Grant(Cell.YES, Cell.NOTHING)
NEVER = Grant(Cell.FORBIDDEN, Cell.NOTHING)
OF_THE_FLEET = Grant(Cell.YES, Cell.GIVEN)
FRONTS, MEMBERS = frozenset({Role.FRONT}), frozenset({Role.MEMBER})
PEERS = FRONTS | MEMBERS
NOBODY: frozenset[Role] = frozenset()


@dataclass(frozen=True)
class Permissions:
    """What each role may do with one call, and whether the audit records it.

    `through` are the peers of the fleet that may make the call on behalf of a user: then the user's role
    counts. `front` and `member` are what these peers may do by themselves.
    """

    analyst: Grant
    operator: Grant
    administrator: Grant
    audited: Audited = Audited.NOTHING
    anybody: bool = False  # also without a certificate: the call itself checks what it is sent
    through: frozenset[Role] = FRONTS
    only_through: bool = False  # users may not make the call by themselves
    at_front: bool = False  # the call is a front's; all others that peers may make are a host's
    front: Grant = NEVER
    member: Grant = NEVER

    def grant(self, role: Role) -> Grant:
        """What one role may do."""
        grant: Grant = getattr(self, role)
        return grant


# What a member asks of a front instead of the fleet's record. The caller's certificate names the host.
OF_MEMBERS = (
    "joinFleet",
    "beginAsNew",
    "claimJob",
    "listClaims",
    "confirmClaim",
    "acknowledgeClaim",
    "releaseClaim",
    "projectJob",
    "listSecretNews",
    "fetchSecret",
    "shareKeys",
    "tellSecrets",
)
MEMBERS_ALONE = Permissions(NEVER, NEVER, NEVER, through=frozenset(), member=NO_OTHERS, at_front=True)

# By operationId. A route that is not here cannot be served.
#                                  analyst    operator     administrator
TABLE = {
    "submitJob": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED),
    "listJobs": Permissions(OWN, ALL, ALL),
    "getJob": Permissions(OWN, ALL, ALL, member=OF_THE_FLEET),
    "cancelJob": Permissions(OWN, ALL, ALL, Audited.DEED, through=PEERS),
    "pinJob": Permissions(OWN, ALL, ALL, Audited.DEED),
    "unpinJob": Permissions(OWN, ALL, ALL, Audited.DEED),
    "rerunJob": Permissions(OWN, SEES_OTHERS, ALL, Audited.DEED),
    # A fleet's front has no sweeps.
    "submitSweep": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED, through=NOBODY),
    "listSweeps": Permissions(OWN, ALL, ALL, through=NOBODY),
    "getSweep": Permissions(OWN, ALL, ALL, through=NOBODY),
    "listTrials": Permissions(OWN, ALL, ALL, through=NOBODY),
    "cancelSweep": Permissions(OWN, ALL, ALL, Audited.DEED, through=NOBODY),
    "pauseSweep": Permissions(OWN, ALL, ALL, Audited.DEED, through=NOBODY),
    "resumeSweep": Permissions(OWN, ALL, ALL, Audited.DEED, through=NOBODY),
    "extendSweep": Permissions(OWN, SEES_OTHERS, SEES_OTHERS, Audited.DEED, through=NOBODY),
    "pinSweep": Permissions(OWN, ALL, ALL, Audited.DEED, through=NOBODY),
    "unpinSweep": Permissions(OWN, ALL, ALL, Audited.DEED, through=NOBODY),
    "rerunSweep": Permissions(OWN, SEES_OTHERS, ALL, Audited.DEED, through=NOBODY),
    # Nor schedules.
    "createSchedule": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED, through=NOBODY),
    "previewSchedule": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS, through=NOBODY),
    "listSchedules": Permissions(OWN, ALL, ALL, through=NOBODY),
    "getSchedule": Permissions(OWN, ALL, ALL, through=NOBODY),
    "listRuns": Permissions(OWN, ALL, ALL, through=NOBODY),
    "pauseSchedule": Permissions(OWN, ALL, ALL, Audited.DEED, through=NOBODY),
    "resumeSchedule": Permissions(OWN, ALL, ALL, Audited.DEED, through=NOBODY),
    "runSchedule": Permissions(OWN, SEES_OTHERS, SEES_OTHERS, Audited.DEED, through=NOBODY),
    "removeSchedule": Permissions(OWN, ALL, ALL, Audited.DEED, through=NOBODY),
    "getLogs": Permissions(OWN, ALL, ALL, Audited.LOOK),
    "getJobEvents": Permissions(OWN, ALL, ALL),
    "getMetrics": Permissions(OWN, ALL, ALL),
    "getUsage": Permissions(OWN, ALL, ALL),
    # A fleet's front compares no jobs.
    "diffJobs": Permissions(OWN, ALL, ALL, through=NOBODY),
    "compareJobs": Permissions(OWN, ALL, ALL, through=NOBODY),
    "getEvents": Permissions(OWN, ALL, ALL, member=OF_THE_FLEET),
    "listArtifacts": Permissions(OWN, ALL, ALL, Audited.LOOK),
    "getArtifact": Permissions(OWN, ALL, ALL, Audited.LOOK),
    "listSecrets": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS),
    "setSecret": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED),
    "removeSecret": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED),
    "renewCertificate": Permissions(
        NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED, through=frozenset(), front=NO_OTHERS, member=NO_OTHERS
    ),
    "enrol": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED, anybody=True, through=frozenset()),
    "listScripts": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS),
    "getHost": Permissions(OWN, ALL, ALL),
    "listHosts": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS),
    "getOpenapi": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS),
    "takeJob": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED, through=MEMBERS, only_through=True),
    "checkJob": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS, only_through=True),
    "withdrawJob": Permissions(OWN, ALL, ALL, Audited.DEED, through=PEERS, only_through=True),
    "getRoom": Permissions(NEVER, NEVER, NEVER, through=frozenset(), front=NO_OTHERS, member=NO_OTHERS),
    **dict.fromkeys(OF_MEMBERS, MEMBERS_ALONE),
    "drainHost": Permissions(NEVER, NO_OTHERS, NO_OTHERS, Audited.DEED, only_through=True),
    "undrainHost": Permissions(NEVER, NO_OTHERS, NO_OTHERS, Audited.DEED, only_through=True),
    "tellJobs": Permissions(NEVER, NEVER, NEVER, through=frozenset(), member=NO_OTHERS),
    "getHeldSecrets": Permissions(NEVER, NEVER, NEVER, through=frozenset(), member=NO_OTHERS),
    "takeSecret": Permissions(
        NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED, through=MEMBERS, only_through=True
    ),
    "dropSecret": Permissions(
        NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED, through=MEMBERS, only_through=True
    ),
    "resealSecrets": Permissions(NEVER, NEVER, NEVER, Audited.DEED, through=frozenset(), member=NO_OTHERS),
}

# Deeds that are done whatever has filled the user's share of the audit: each undoes an earlier one, or has a
# bound of its own.
ALWAYS_RECORDED = frozenset(
    {
        "cancelJob",
        "cancelSweep",
        "pauseSchedule",
        "removeSchedule",
        "unpinJob",
        "unpinSweep",
        "removeSecret",
        "dropSecret",
        "renewCertificate",
        "enrol",
    }
)

JOB = web.RequestKey("job", Job)
SWEEP = web.RequestKey("sweep", Sweep)
SCHEDULE = web.RequestKey("schedule", Schedule)
NAMES = frozenset({"job_id", "sweep_id", "schedule_id"})  # what a path may name
OPERATION = web.RequestKey("operation", str)
UNREADABLE = web.RequestKey("unreadable", str)  # what a handler was asked for, and the client may not read
JOB_ID = re.compile(f"[{ID_ALPHABET}]{{{ID_LENGTH}}}")


def visible_owner(request: web.Request, principal: Principal | None = None) -> str | None:
    """The user whose jobs this call shows; None for all users' jobs, as far as `shows` lets them through.

    `principal` is the client as it is now, by default as the request began.
    """
    principal = principal or request[PRINCIPAL]
    others = TABLE[request[OPERATION]].grant(principal.role).others
    return None if others in (Cell.YES, Cell.GIVEN) else principal.user


def shows(principal: Principal, job: Job) -> bool:
    """Whether lists and streams that `visible_owner` opens to all users' jobs show this one."""
    return principal.role is not Role.MEMBER or job.host is not None


def may_read(principal: Principal, job: Job) -> bool:
    """Whether the client may read a job that it names, by whatever call."""
    return _cell(TABLE["getJob"].grant(principal.role), principal, job) is Cell.YES


def check_priority(principal: Principal, priority: int, field: str = "priority") -> None:
    """Raises `AgentError` (forbidden) if the role may not put a job before those of other users."""
    if priority > 0 and principal.role not in MAY_GO_FIRST:
        raise _forbidden(field, "must be at most 0: only administrators may put a job before others")


def check_owner(request: web.Request, owner: str | None) -> str | None:
    """The owner to filter by. Raises `AgentError` (forbidden) if the client may not see that user's jobs."""
    visible = visible_owner(request)
    if visible is not None and owner not in (None, visible):
        raise _forbidden("owner", "must be yourself: only operators and administrators see other users' jobs")
    return visible or owner


def check_readable(request: web.Request, name: str, found: Job | Sweep | None, absent: AgentError) -> None:
    """Raises `absent` for a job or sweep that a query names, where the client may not read it."""
    principal = request[PRINCIPAL]
    if isinstance(found, Sweep):
        readable = _cell(TABLE["getSweep"].grant(principal.role), principal, found) is Cell.YES
    else:
        readable = found is not None and may_read(principal, found)
    if not readable:
        request[UNREADABLE] = name
        raise absent


async def check_still_allowed(request: web.Request) -> None:
    """Checks a request again whose answer still goes on, after the role of its client has changed.

    Raises `AgentError` (job-not-found, forbidden) if the new role may not make this call.
    """
    principal, job = request[PRINCIPAL], request.get(JOB)
    grant = TABLE[request[OPERATION]].grant(principal.role)
    cell = grant.own if job is None else _cell(grant, principal, job)
    if cell is not Cell.YES:
        raise no_such_job() if cell is Cell.ABSENT else _forbidden()


def _cell(grant: Grant, principal: Principal, named: Job | Sweep | Schedule) -> Cell:
    cell = grant.own if named.owner == principal.user else grant.others
    if cell is Cell.GIVEN:
        return Cell.YES if isinstance(named, Job) and named.host is not None else Cell.ABSENT
    return cell


def _may_speak(request: web.Request, permissions: Permissions) -> bool:
    """Whether the client may make the call for whom it makes it: for itself, or on behalf of a user."""
    backend = request.app[BACKEND]
    if request[PRINCIPAL].role.peer and (backend.members if permissions.at_front else backend.fleet) is None:
        return False
    if (peer := request.get(PEER)) is not None:
        return peer.role in permissions.through
    return ON_BEHALF_OF not in request.headers and not permissions.only_through


class Guard:
    """Finds what a path names, and checks the table before the handler runs."""

    def __init__(self, backend: Backend, trail: Trail) -> None:
        self._backend = backend
        self._trail = trail
        self._guarded: set[Handler] = set()

    def guard(self, operation_id: str, handler: Handler) -> Handler:
        """The handler behind the table. It has what its path names in the request, such as `request[JOB]`.

        Raises `AgentError` (internal) if the table does not have the call.
        """
        permissions = TABLE.get(operation_id)
        if permissions is None:
            raise AgentError(
                Problem.INTERNAL,
                f"The table of permissions does not have the call {operation_id}.",
                "Add it to TABLE in agent/api/access.py.",
            )

        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            request[OPERATION] = operation_id
            await self._admit(request, permissions)
            if permissions.audited is Audited.DEED and operation_id not in ALWAYS_RECORDED:
                await self._trail.check_share(request[CALLER])
            try:
                return await handler(request)
            except AgentError as error:
                if error.problem in (Problem.FORBIDDEN, Problem.INVITATION_REFUSED):  # by what was sent
                    await self._refused(request, error.problem)
                if error.problem is Problem.COMMIT_REFUSED and request.method == "POST":
                    await self._refused(request, error.problem, why=error.message)
                if UNREADABLE in request:
                    await self._refused(request, error.problem)
                raise

        self._guarded.add(guarded)
        return guarded

    def check_all_guarded(self, app: web.Application) -> None:
        """Raises `AgentError` (internal) for a route that was added without the guard."""
        for route in app.router.routes():
            if route.handler not in self._guarded:
                raise AgentError(
                    Problem.INTERNAL,
                    f"{route.method} {route.resource} has no guard: it answers everybody.",
                    "Add the route with Guard.guard.",
                )

    async def _admit(self, request: web.Request, permissions: Permissions) -> None:
        if is_foreign(request):
            await self._refused(request, Problem.FOREIGN_ORIGIN)
            raise AgentError(
                Problem.FOREIGN_ORIGIN,
                "The request comes from a page of another site.",
                "Use ml-job, the app, or a program that sends neither Origin nor Sec-Fetch-Site.",
            )
        check_no_form(request)
        if permissions.anybody:
            return
        principal = request[PRINCIPAL]
        grant = permissions.grant(principal.role)
        if grant.own is not Cell.YES or not _may_speak(request, permissions):
            await self._refused(request, Problem.FORBIDDEN)
            raise _forbidden()
        if not (named := request.match_info.keys() & NAMES):
            return
        found, absent = await self._found(request, named.pop())
        own = found is not None and found.owner == principal.user
        cell = Cell.ABSENT if found is None else _cell(grant, principal, found)
        owner = {"owner": found.owner} if found else {}
        if found is not None and cell is Cell.YES:
            if isinstance(found, Sweep):
                request[SWEEP] = found
                return
            if isinstance(found, Schedule):
                request[SCHEDULE] = found
                return
            request[JOB] = found
            if permissions.audited is Audited.LOOK and not own:
                path = request.match_info.get("path")
                what = owner | ({} if path is None else {"path": path})
                await self._trail.shown(request[CALLER], request[OPERATION], found.job_id, **what)
        elif cell is Cell.FORBIDDEN:
            await self._refused(request, Problem.FORBIDDEN, **owner)
            raise _forbidden()
        else:
            # What is another user's is indistinguishable from what is missing, timing included.
            await self._refused(request, absent.problem, **owner)
            raise absent

    async def _found(
        self, request: web.Request, named: str
    ) -> tuple[Job | Sweep | Schedule | None, AgentError]:
        """What the path names, or None; and the error for what is not there."""
        name, backend = request.match_info[named], self._backend
        absent = {"job_id": no_such_job, "sweep_id": no_such_sweep, "schedule_id": no_such_schedule}[named]()
        try:
            if named == "job_id":
                return await backend.jobs.get(name), absent
            if named == "sweep_id":
                return (await backend.sweeps.get(name) if backend.sweeps else None), absent
            return (await backend.schedules.get(name) if backend.schedules else None), absent
        except AgentError as error:
            if error.problem is absent.problem:
                return None, absent
            raise

    async def _refused(self, request: web.Request, problem: Problem, **details: Detail) -> None:
        name = next((request.match_info[each] for each in NAMES if each in request.match_info), "")
        name = request.get(UNREADABLE, name)
        subject = name if JOB_ID.fullmatch(name) else ""
        await self._trail.refused(request[CALLER], request[OPERATION], subject, problem=problem, **details)


def _forbidden(field: str = "", message: str = "") -> AgentError:
    return AgentError(
        Problem.FORBIDDEN,
        "Your role does not allow this.",
        "docs/authorisation.md lists what each role may do.",
        (FieldError(field, message),) if field else (),
    )
