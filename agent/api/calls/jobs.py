"""The calls about jobs, scripts and the host."""

from functools import partial
from typing import Annotated, Literal

from aiohttp import web
from pydantic import FailFast, Field

from ...backend.experiments import Shares
from ...errors import AgentError, Problem
from ...model.base import Model, Text, UserName
from ...model.host import HostList
from ...model.job import JobPage, JobRequest, JobState, Rerun
from ...model.metric import MetricName
from ...model.readers import RequestedReaders
from ...model.ref import Ref
from ...model.search import MAX_LABEL_FILTERS, JobSearch, LabelFilter, Order
from ..access import JOB, check_owner, check_priority, may_read, visible_owner
from ..keys import BACKEND, OPAQUE
from ..server.identity import CALLER, PRINCIPAL
from ..server.opaque import TEXT
from ..server.problems import invalid
from ..server.requests import idempotency_key, json_response, read_body, read_query

MAX_PAGE = 200
MAX_CURSOR = 100  # characters
Cursor = Annotated[str, Field(max_length=MAX_CURSOR, json_schema_extra={"pattern": f"^{TEXT}$"})]


Labels = Annotated[list[LabelFilter], FailFast(), Field(max_length=MAX_LABEL_FILTERS, default_factory=list)]


class JobQuery(Model):
    """The query of `GET /jobs`."""

    status: JobState | None = None
    script: Annotated[Text, Field(max_length=255)] | None = None
    owner: UserName | None = None
    label: Labels
    metric: MetricName | None = None
    sort: Literal[Order.NEWEST, Order.OLDEST, Order.HIGHEST, Order.LOWEST] = Order.NEWEST
    shared: bool | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50


class ScriptQuery(Model):
    """The query of `GET /scripts`."""

    ref: Ref | None = None


async def submit_job(request: web.Request) -> web.Response:
    """Submits a job. It is on disk before the answer 202."""
    body, principal = await read_body(request, JobRequest), request[PRINCIPAL]
    check_priority(principal, body.priority)
    job = await request.app[BACKEND].submissions.submit(
        principal.user,
        body,
        idempotency_key=idempotency_key(request),
        by=request[CALLER],
        may_read=partial(may_read, principal),
    )
    return json_response(job, status=202, location=f"/jobs/{job.job_id}")


async def rerun_job(request: web.Request) -> web.Response:
    """Runs a job again with the same code, image and parameters, apart from your changes."""
    changes = await read_body(request, Rerun) if await request.read() else Rerun()
    job = await request.app[BACKEND].submissions.rerun(
        request[PRINCIPAL].user,
        request[JOB],
        changes,
        idempotency_key=idempotency_key(request),
        by=request[CALLER],
    )
    return json_response(job, status=202, location=f"/jobs/{job.job_id}")


async def list_jobs(request: web.Request) -> web.Response:
    """Lists the jobs that you may see, newest first, or by a metric."""
    query = read_query(request, JobQuery)
    searched = query.label or query.metric or query.sort is not Order.NEWEST
    if query.shared and searched:
        raise invalid("shared", "must be left out where label, metric or sort is given")
    if query.shared:
        return await _list_shared(request, query)
    if searched:
        return json_response(await _searched(request, query))
    seq = open_cursor(request, query.cursor, "page")
    page = await request.app[BACKEND].jobs.page(
        owner=check_owner(request, query.owner),
        status=query.status,
        script=query.script,
        cursor=None if seq is None else str(seq),
        limit=query.limit,
    )
    following = seal_cursor(request, page.next_cursor, "page")
    return json_response(page.model_copy(update={"next_cursor": following}))


async def _searched(request: web.Request, query: JobQuery) -> JobPage:
    """The page of a list by labels, or in another order; a fleet's front has none."""
    backend = request.app[BACKEND]
    if backend.comparisons is None:
        raise invalid("label", "and metric and sort are for the hosts of a fleet, not for its front")
    if query.sort in (Order.HIGHEST, Order.LOWEST) and query.metric is None:
        raise invalid("metric", "must be there where sort is highest or lowest")
    labels = dict(each.split("=", 1) for each in query.label)
    if len(labels) < len(query.label):
        raise invalid("label", "must not name a label twice")
    what = f"search {query.sort} {query.metric or ''}"
    page = await backend.comparisons.search(
        JobSearch(
            owner=check_owner(request, query.owner),
            status=query.status,
            script=query.script,
            labels=labels,
            metric=query.metric,
            order=query.sort,
            after=open_cursor(request, query.cursor, what),
            limit=query.limit,
        )
    )
    jobs = [await backend.jobs.with_place(job) for job in page.jobs]
    following = seal_cursor(request, page.next_cursor, what)
    return page.model_copy(update={"jobs": jobs, "next_cursor": following})


async def _list_shared(request: web.Request, query: JobQuery) -> web.Response:
    backend = request.app[BACKEND]
    page = await shares_of(request).jobs(
        request[PRINCIPAL].user,
        owner=query.owner,
        status=query.status,
        script=query.script,
        before=open_cursor(request, query.cursor, "shared"),
        limit=query.limit,
    )
    jobs = [await backend.jobs.with_place(job) for job in page.jobs]
    following = seal_cursor(request, page.next_cursor, "shared")
    return json_response(JobPage(jobs=jobs, next_cursor=following))


async def set_job_readers(request: web.Request) -> web.Response:
    """Lets the named users, or everybody, read a job, its log and its artifacts, and nobody else."""
    job, body = request[JOB], await read_body(request, RequestedReaders)
    if job.host is not None:
        raise AgentError(
            Problem.NO_SUCH_ROUTE, "A job of a fleet cannot be shared.", "Submit it to the host itself."
        )
    deed = request[CALLER].did("setJobReaders", job.job_id, owner=job.owner, readers=body.names)
    await shares_of(request).share(job.job_id, body, deed=deed)
    return json_response(await request.app[BACKEND].jobs.get(job.job_id))


def shares_of(request: web.Request) -> Shares:
    """Raises `AgentError` (no-such-route) where nothing is shared, as at a fleet's front."""
    if (shares := request.app[BACKEND].shares) is None:
        raise AgentError(Problem.NO_SUCH_ROUTE, "Nothing is shared here.", "Ask a host of the fleet.")
    return shares


def open_cursor(request: web.Request, cursor: str | None, what: str) -> int | None:
    """The number in a cursor of this user's pages of `what`, or None. Raises `AgentError` for others."""
    number = None
    if cursor is not None:
        number = request.app[OPAQUE].open_number(cursor, what, request[PRINCIPAL].user)
        if number is None:
            raise invalid("cursor", "must be the next_cursor of an earlier page")
    return number


def seal_cursor(request: web.Request, number: str | None, what: str) -> str | None:
    """The cursor that `open_cursor` opens; None behind the last page."""
    if number is None:
        return None
    return request.app[OPAQUE].seal_number(int(number), what, request[PRINCIPAL].user)


async def get_job(request: web.Request) -> web.Response:
    """Shows one job."""
    return json_response(request[JOB])


async def cancel_job(request: web.Request) -> web.Response:
    """Cancels a job: SIGTERM and, after the grace period, SIGKILL. A waiting job ends at once."""
    job = await request.app[BACKEND].jobs.cancel(request[JOB].job_id, by=request[CALLER])
    return json_response(job, status=202)


async def get_usage(request: web.Request) -> web.Response:
    """Shows the CPU time, memory and tasks that the job uses now."""
    return json_response(await request.app[BACKEND].host.usage(request[JOB]))


async def pin_job(request: web.Request) -> web.Response:
    """Pins a job: retention keeps it, its artifacts and its log."""
    return await _pin(request, pinned=True)


async def unpin_job(request: web.Request) -> web.Response:
    """Unpins a job: retention may remove it again."""
    return await _pin(request, pinned=False)


async def _pin(request: web.Request, *, pinned: bool) -> web.Response:
    job_id, by = request[JOB].job_id, request[CALLER]
    return json_response(await request.app[BACKEND].jobs.pin(job_id, pinned=pinned, by=by))


async def get_host(request: web.Request) -> web.Response:
    """Shows capacity, use, queue and versions, and the share of each user whose jobs you may see."""
    return json_response(await request.app[BACKEND].host.overview(visible_owner(request)))


async def list_hosts(request: web.Request) -> web.Response:
    """Lists the hosts of a fleet: since when each is heard of, its capacity, use and versions."""
    host = await request.app[BACKEND].host.overview(request[PRINCIPAL].user)
    return json_response(HostList(hosts=host.hosts or []))


async def list_scripts(request: web.Request) -> web.Response:
    """Lists the scripts that can be run, with their parameters."""
    return json_response(await request.app[BACKEND].scripts.scripts(read_query(request, ScriptQuery).ref))
