"""Who may do what: one table, against which `guard` checks each request before its handler runs.

docs/authorisation.md shows the table; the tests try every cell of it.
"""

from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from ..errors import AgentError, FieldError, Problem
from ..model.alias import NamedModel, no_such_model
from ..model.certificate import MAY_GO_FIRST, Principal, Role
from ..model.job import Job, no_such_job
from ..model.schedule import Schedule
from ..model.sweep import Sweep
from .keys import BACKEND
from .server.identity import ON_BEHALF_OF, PEER, PRINCIPAL


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
OWN_NAME = Grant(Cell.YES, Cell.FORBIDDEN)  # others learn that it is taken
ALL = Grant(Cell.YES, Cell.YES)
SEES_OTHERS = Grant(Cell.YES, Cell.FORBIDDEN)  # may see the job, but not do this with it
NO_OTHERS = Grant(Cell.YES, Cell.NOTHING)
NEVER = Grant(Cell.FORBIDDEN, Cell.NOTHING)
OF_THE_FLEET = Grant(Cell.YES, Cell.GIVEN)
FRONTS, MEMBERS = frozenset({Role.FRONT}), frozenset({Role.MEMBER})
PEERS = FRONTS | MEMBERS
NOBODY: frozenset[Role] = frozenset()


Named = Job | Sweep | Schedule | NamedModel  # what a path may be about


def is_shared(named: Named, user: str) -> bool:
    """Whether the owner lets this user read it."""
    readers = None if isinstance(named, Schedule) else named.readers
    return readers is not None and readers.include(user)


@dataclass(frozen=True)
class Permissions:
    """What each role may do with one call, and whether the audit records it.

    `reader` is what those may do, besides, with whom what the call is about is shared. `makes`: the call may
    be about what is not there yet. `through` are the peers of the fleet that may make the call on behalf of a
    user: then the user's role counts. `front` and `member` are what these peers may do by themselves.
    """

    analyst: Grant
    operator: Grant
    administrator: Grant
    audited: Audited = Audited.NOTHING
    reader: Cell = Cell.FORBIDDEN
    makes: bool = False
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

    def cell(self, principal: Principal, named: Named) -> Cell:
        """What the client may do with this job, sweep or model."""
        grant = self.grant(principal.role)
        if named.owner == principal.user:
            return grant.own
        if grant.others is Cell.GIVEN:
            return Cell.YES if isinstance(named, Job) and named.host is not None else Cell.ABSENT
        if is_shared(named, principal.user):
            return max(grant.others, self.reader, key=(Cell.ABSENT, Cell.FORBIDDEN, Cell.YES).index)
        return grant.others


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
    "getJob": Permissions(OWN, ALL, ALL, reader=Cell.YES, member=OF_THE_FLEET),
    "cancelJob": Permissions(OWN, ALL, ALL, Audited.DEED, through=PEERS),
    "pinJob": Permissions(OWN, ALL, ALL, Audited.DEED),
    "unpinJob": Permissions(OWN, ALL, ALL, Audited.DEED),
    "rerunJob": Permissions(OWN, SEES_OTHERS, ALL, Audited.DEED),
    # A fleet's front has no sweeps.
    "submitSweep": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS, Audited.DEED, through=NOBODY),
    "listSweeps": Permissions(OWN, ALL, ALL, through=NOBODY),
    "getSweep": Permissions(OWN, ALL, ALL, reader=Cell.YES, through=NOBODY),
    "listTrials": Permissions(OWN, ALL, ALL, reader=Cell.YES, through=NOBODY),
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
    # Nor anything that is shared, nor models by name.
    "setJobReaders": Permissions(OWN, SEES_OTHERS, ALL, Audited.DEED, through=NOBODY),
    "setSweepReaders": Permissions(OWN, SEES_OTHERS, ALL, Audited.DEED, through=NOBODY),
    "listModels": Permissions(OWN, ALL, ALL, through=NOBODY),
    "getModel": Permissions(OWN, ALL, ALL, reader=Cell.YES, through=NOBODY),
    "getAlias": Permissions(OWN, ALL, ALL, reader=Cell.YES, through=NOBODY),
    "getAliasHistory": Permissions(OWN, ALL, ALL, reader=Cell.YES, through=NOBODY),
    "getModelArtifact": Permissions(OWN, ALL, ALL, Audited.LOOK, reader=Cell.YES, through=NOBODY),
    "setAlias": Permissions(OWN_NAME, ALL, ALL, Audited.DEED, makes=True, through=NOBODY),
    "removeAlias": Permissions(OWN, ALL, ALL, Audited.DEED, through=NOBODY),
    "setModelReaders": Permissions(OWN, SEES_OTHERS, ALL, Audited.DEED, through=NOBODY),
    "getLogs": Permissions(OWN, ALL, ALL, Audited.LOOK, reader=Cell.YES),
    "getJobEvents": Permissions(OWN, ALL, ALL, reader=Cell.YES),
    "getMetrics": Permissions(OWN, ALL, ALL, reader=Cell.YES),
    "getUsage": Permissions(OWN, ALL, ALL, reader=Cell.YES),
    # A fleet's front compares no jobs, and has no ledger.
    "diffJobs": Permissions(OWN, ALL, ALL, reader=Cell.YES, through=NOBODY),
    "compareJobs": Permissions(OWN, ALL, ALL, reader=Cell.YES, through=NOBODY),
    "listUsage": Permissions(OWN, ALL, ALL, through=NOBODY),
    "scrapeMetrics": Permissions(NEVER, NO_OTHERS, NO_OTHERS, through=NOBODY),
    # It quotes lines of the log. A front explains a job itself.
    "getExplanation": Permissions(OWN, ALL, ALL, Audited.LOOK, reader=Cell.YES, through=NOBODY),
    "getEvents": Permissions(OWN, ALL, ALL, member=OF_THE_FLEET),
    "listArtifacts": Permissions(OWN, ALL, ALL, Audited.LOOK, reader=Cell.YES),
    "getArtifact": Permissions(OWN, ALL, ALL, Audited.LOOK, reader=Cell.YES),
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
    "getDocs": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS),
    "getDocsAsset": Permissions(NO_OTHERS, NO_OTHERS, NO_OTHERS),
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
        "removeAlias",
        "removeSecret",
        "dropSecret",
        "renewCertificate",
        "enrol",
    }
)

JOB = web.RequestKey("job", Job)
SWEEP = web.RequestKey("sweep", Sweep)
SCHEDULE = web.RequestKey("schedule", Schedule)
MODEL = web.RequestKey("model", NamedModel)
OPERATION = web.RequestKey("operation", str)
UNREADABLE = web.RequestKey("unreadable", str)  # what a handler was asked for, and the client may not read


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


def may_read(principal: Principal, named: Named) -> bool:
    """Whether the client may read a job, sweep or model that it names, by whatever call."""
    kinds = {Job: "getJob", Sweep: "getSweep", Schedule: "getSchedule", NamedModel: "getModel"}
    return TABLE[kinds[type(named)]].cell(principal, named) is Cell.YES


def check_priority(principal: Principal, priority: int, field: str = "priority") -> None:
    """Raises `AgentError` (forbidden) if the role may not put a job before those of other users."""
    if priority > 0 and principal.role not in MAY_GO_FIRST:
        raise forbidden(field, "must be at most 0: only administrators may put a job before others")


def check_owner(request: web.Request, owner: str | None) -> str | None:
    """The owner to filter by. Raises `AgentError` (forbidden) if the client may not see that user's jobs."""
    visible = visible_owner(request)
    if visible is not None and owner not in (None, visible):
        raise forbidden("owner", "must be yourself: only operators and administrators see other users' jobs")
    return visible or owner


def check_readable(request: web.Request, name: str, found: Named | None, absent: AgentError) -> None:
    """Raises `absent` for what a query or a body names, where the client may not read it."""
    if found is None or not may_read(request[PRINCIPAL], found):
        request[UNREADABLE] = name
        raise absent


async def find_readable(request: web.Request, job_id: str) -> Job:
    """A job that a body names. Raises `AgentError` (job-not-found) where the client may not read it."""
    try:
        job = await request.app[BACKEND].jobs.get(job_id)
    except AgentError:
        request[UNREADABLE] = job_id
        raise
    check_readable(request, job_id, job, no_such_job())
    return job


async def check_still_allowed(request: web.Request) -> None:
    """Checks a request again whose answer still goes on: its client may have another role, or no share now.

    Raises `AgentError` (job-not-found, model-not-found, forbidden) if the client may not make this call.
    """
    principal, named = request[PRINCIPAL], request.get(JOB) or request.get(MODEL)
    permissions = TABLE[request[OPERATION]]
    if named is None:
        cell = permissions.grant(principal.role).own
    else:
        cell = permissions.cell(principal, await _as_shared_now(request, named))
    if cell is Cell.ABSENT:
        raise no_such_model() if isinstance(named, NamedModel) else no_such_job()
    if cell is not Cell.YES:
        raise forbidden()


async def _as_shared_now(request: web.Request, named: Job | NamedModel) -> Named:
    """What a path names, as it is now if its owner lets the client read it."""
    if named.owner == request[PRINCIPAL].user or not is_shared(named, request[PRINCIPAL].user):
        return named
    backend = request.app[BACKEND]
    if isinstance(named, Job):
        return await backend.jobs.get(named.job_id)
    return await backend.models.get(named.model) if backend.models else named


def may_speak(request: web.Request, permissions: Permissions) -> bool:
    """Whether the client may make the call for whom it makes it: for itself, or on behalf of a user."""
    backend = request.app[BACKEND]
    if request[PRINCIPAL].role.peer and (backend.members if permissions.at_front else backend.fleet) is None:
        return False
    if (peer := request.get(PEER)) is not None:
        return peer.role in permissions.through
    return ON_BEHALF_OF not in request.headers and not permissions.only_through


def forbidden(field: str = "", message: str = "") -> AgentError:
    """For what the client's role does not allow, or what it does not allow to say in a field."""
    return AgentError(
        Problem.FORBIDDEN,
        "Your role does not allow this.",
        "docs/authorisation.md lists what each role may do.",
        (FieldError(field, message),) if field else (),
    )
