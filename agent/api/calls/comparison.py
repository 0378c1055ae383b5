"""The calls that hold jobs side by side."""

from typing import Annotated

from aiohttp import web
from pydantic import FailFast, Field

from ...backend.experiments import Comparisons
from ...errors import AgentError, FieldError, Problem
from ...model.base import JobId, Model
from ...model.comparison import MAX_COMPARED, MeasuredJob
from ...model.job import no_such_job
from ...model.metric import MetricName
from ...model.sweep import Direction, Objective, SweepId, no_such_sweep
from ..access import JOB, check_readable
from ..keys import BACKEND
from ..server.accept import preferred
from ..server.problems import invalid
from ..server.requests import JSON, json_response, read_query

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
FORMS = (JSON, CSV, PARQUET)


Jobs = Annotated[
    list[JobId],
    FailFast(),
    Field(max_length=MAX_COMPARED, default_factory=list, json_schema_extra={"uniqueItems": True}),
]


class ComparisonQuery(Model):
    """The query of `GET /comparison`: either jobs, or a sweep; and the metric that decides."""

    job: Jobs
    sweep: SweepId | None = None
    maximize: MetricName | None = None
    minimize: MetricName | None = None


async def compare_jobs(request: web.Request) -> web.StreamResponse:
    """Compares jobs, or the trials of a sweep: parameters, metrics, time and use, as JSON, CSV or Parquet."""
    query, form = read_query(request, ComparisonQuery), preferred(request, FORMS)
    if form is None:
        raise AgentError(
            Problem.NOT_ACCEPTABLE,
            f"A comparison can be {', '.join(FORMS[:-1])} or {FORMS[-1]}.",
            f"Send Accept: {CSV} for a table.",
        )
    jobs, objective = await _asked(request, query)
    backend = _comparisons(request)
    comparison = await backend.compared(jobs, objective)
    if form == JSON:
        return json_response(comparison)
    if form == PARQUET:
        return web.Response(body=await backend.parquet(comparison), content_type=PARQUET)
    pieces = await backend.csv(comparison)
    return web.Response(body=b"".join([piece async for piece in pieces]), content_type=CSV, charset="utf-8")


async def _asked(request: web.Request, query: ComparisonQuery) -> tuple[list[MeasuredJob], Objective | None]:
    """The jobs of a query, all of which the client may read, and what decides."""
    if (query.sweep is None) == (not query.job):
        raise invalid("job", "must name at least one job, unless there is a sweep; and not both")
    if query.maximize is not None and query.minimize is not None:
        raise invalid("minimize", "must be left out where there is maximize")
    objective = None
    for metric, direction in ((query.maximize, Direction.MAXIMIZE), (query.minimize, Direction.MINIMIZE)):
        if metric is not None:
            objective = Objective(metric=metric, direction=direction)
    backend = _comparisons(request)
    if query.sweep is not None:
        sweeps = request.app[BACKEND].sweeps
        try:
            sweep = await sweeps.get(query.sweep) if sweeps else None
        except AgentError as error:
            if error.problem is not Problem.SWEEP_NOT_FOUND:
                raise
            sweep = None
        check_readable(request, query.sweep, sweep, no_such_sweep())
        assert sweep is not None
        return await backend.trials(query.sweep), objective or sweep.objective
    if len(set(query.job)) < len(query.job):
        raise invalid("job", "must not name a job twice")
    jobs = await backend.jobs(query.job)
    found = {each.job.job_id: each.job for each in jobs}
    for number, job_id in enumerate(query.job):
        absent = no_such_job()
        absent.fields = (FieldError(f"job.{number}", "is no job, or not yours"),)
        check_readable(request, job_id, found.get(job_id), absent)
    return jobs, objective


async def diff_jobs(request: web.Request) -> web.Response:
    """Shows in what two jobs differ: commit, image, parameters, limits; and what that did to the metrics."""
    backend, ids = _comparisons(request), (request[JOB].job_id, request.match_info["other_id"])
    found = {each.job.job_id: each for each in await backend.jobs(ids)}
    for job_id in ids:
        job = found[job_id].job if job_id in found else None
        check_readable(request, job_id, job, no_such_job())
    return json_response(await backend.difference(*(found[job_id] for job_id in ids)))


def _comparisons(request: web.Request) -> Comparisons:
    """Raises `AgentError` (no-such-route) where there are none, as at a fleet's front."""
    if (comparisons := request.app[BACKEND].comparisons) is None:
        raise AgentError(
            Problem.NO_SUCH_ROUTE,
            "Jobs cannot be compared here.",
            "Compare them at the host of the fleet that has run them.",
        )
    return comparisons
