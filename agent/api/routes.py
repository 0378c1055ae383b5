"""The route table: every call of the API."""

import functools

from aiohttp import web
from aiohttp.typedefs import Handler

from ..errors import Problem
from ..model.alias import Alias, AliasHistory, AliasTarget, NamedModel, NamedModelPage
from ..model.artifact import ArtifactManifest
from ..model.certificate import RenewedCertificate, SigningRequest
from ..model.comparison import Comparison, JobDifference
from ..model.explanation import Explanation
from ..model.host import Host, HostList, Usage
from ..model.job import Job, JobPage, JobRequest, Rerun
from ..model.metric import JobMetrics
from ..model.readers import RequestedReaders
from ..model.schedule import (
    Schedule,
    SchedulePage,
    SchedulePreview,
    ScheduleRequest,
    ScheduleRun,
    ScheduleRunPage,
)
from ..model.script import ScriptList
from ..model.secret import SecretChange, SecretEntry, SecretList
from ..model.sweep import Extension, Sweep, SweepPage, SweepRequest, SweepRerun, TrialPage
from ..model.usage import UsageReport
from .calls import (
    artifacts,
    comparison,
    events,
    explanation,
    jobs,
    logs,
    models,
    monitoring,
    own,
    schedules,
    sweeps,
    usage,
)
from .fleet_routes import FLEET_ROUTES, MEMBER_ROUTES
from .guard import Guard
from .keys import BACKEND
from .page_routes import PAGE_ROUTES
from .route import BYTES, EVENTS, JSON_LINES, OPENMETRICS, TEXT, Empty, Header, Route
from .server.requests import BINARY, IDEMPOTENCY_KEY, MAX_IDEMPOTENCY_KEY, read_body

KEY = Header("Idempotency-Key", f"^{IDEMPOTENCY_KEY.pattern}$", MAX_IDEMPOTENCY_KEY)
LOCATION = Header("Location", "^/jobs/[a-z2-7]{12}$")
SCHEDULE_LOCATION = Header("Location", "^/schedules/[a-z2-7]{12}$")
SWEEP_LOCATION = Header("Location", "^/sweeps/[a-z2-7]{12}$")
ENDED = (Problem.SWEEP_ENDED,)
# An empty value counts as no header.
LAST_EVENT = Header("Last-Event-ID", f"^({events.EVENT_ID.pattern})?$")
REMOVED = (Problem.REMOVED_BY_RETENTION,)
# Of an artifact: its digest is the entity tag.
OF_FILES = (Header("Range"), Header("If-Range"), Header("If-Match"), Header("If-None-Match"))
DIGEST = Header("ETag", '^"[0-9a-f]{64}"$', required=False)
NOT_THIS_FILE = (*REMOVED, Problem.PRECONDITION_FAILED, Problem.RANGE_NOT_SATISFIABLE)
# Of an alias: its version is.
IF_MATCH, IF_NONE_MATCH = Header("If-Match"), Header("If-None-Match")
VERSION = Header("ETag", '^"[a-z2-7]{12}"$')

ROUTES = (
    Route(
        "POST",
        "/jobs",
        jobs.submit_job,
        Job,
        status=202,
        body=JobRequest,
        request_headers=(KEY,),
        response_headers=(LOCATION,),
        refuses=(Problem.TOO_MANY_JOBS,),
    ),
    Route("GET", "/jobs", jobs.list_jobs, JobPage, query=jobs.JobQuery),
    Route("GET", "/jobs/{job_id}", jobs.get_job, Job),
    Route("POST", "/jobs/{job_id}/cancel", jobs.cancel_job, Job, status=202, body=Empty),
    Route("PUT", "/jobs/{job_id}/pin", jobs.pin_job, Job, body=Empty, refuses=(Problem.TOO_MANY_PINNED,)),
    Route("DELETE", "/jobs/{job_id}/pin", jobs.unpin_job, Job, body=Empty),
    Route(
        "PUT",
        "/jobs/{job_id}/readers",
        jobs.set_job_readers,
        Job,
        body=RequestedReaders,
        refuses=(Problem.NO_SUCH_ROUTE,),
    ),
    Route(
        "POST",
        "/jobs/{job_id}/rerun",
        jobs.rerun_job,
        Job,
        status=202,
        body=Rerun,
        request_headers=(KEY,),
        response_headers=(LOCATION,),
        refuses=(Problem.TOO_MANY_JOBS,),
    ),
    Route(
        "GET",
        "/jobs/{job_id}/logs",
        logs.get_logs,
        (TEXT, EVENTS, JSON_LINES),
        query=logs.LogQuery,
        request_headers=(LAST_EVENT,),
        refuses=(*REMOVED, Problem.NOT_ACCEPTABLE),
    ),
    Route("GET", "/jobs/{job_id}/events", events.get_job_events, (EVENTS,), request_headers=(LAST_EVENT,)),
    Route("GET", "/jobs/{job_id}/metrics", events.get_metrics, JobMetrics, refuses=REMOVED),
    Route("GET", "/jobs/{job_id}/usage", jobs.get_usage, Usage),
    Route(
        "GET",
        "/usage",
        usage.list_usage,
        UsageReport,
        also_as=(usage.CSV,),
        query=usage.UsageQuery,
        refuses=(Problem.NO_SUCH_ROUTE, Problem.NOT_ACCEPTABLE),
    ),
    Route("GET", "/metrics", monitoring.scrape_metrics, (TEXT, OPENMETRICS)),
    Route("GET", "/jobs/{job_id}/explanation", explanation.get_explanation, Explanation),
    Route(
        "GET",
        "/events",
        events.get_events,
        (EVENTS,),
        query=events.EventQuery,
        request_headers=(LAST_EVENT,),
    ),
    Route("GET", "/jobs/{job_id}/artifacts", artifacts.list_artifacts, ArtifactManifest, refuses=REMOVED),
    Route(
        "GET",
        "/jobs/{job_id}/artifacts/{path}",
        artifacts.get_artifact,
        (BYTES,),
        also=(206, 304),
        request_headers=OF_FILES,
        response_headers=(DIGEST,),
        refuses=NOT_THIS_FILE,
    ),
    Route(
        "POST",
        "/sweeps",
        sweeps.submit_sweep,
        Sweep,
        status=202,
        body=SweepRequest,
        request_headers=(KEY,),
        response_headers=(SWEEP_LOCATION,),
        refuses=(Problem.TOO_MANY_JOBS, Problem.NO_SUCH_ROUTE),
    ),
    Route(
        "GET",
        "/sweeps",
        sweeps.list_sweeps,
        SweepPage,
        query=sweeps.SweepQuery,
        refuses=(Problem.NO_SUCH_ROUTE,),
    ),
    Route("GET", "/sweeps/{sweep_id}", sweeps.get_sweep, Sweep),
    Route(
        "GET",
        "/sweeps/{sweep_id}/trials",
        sweeps.list_trials,
        TrialPage,
        query=sweeps.TrialQuery,
    ),
    Route("POST", "/sweeps/{sweep_id}/cancel", sweeps.cancel_sweep, Sweep, status=202, body=Empty),
    Route("POST", "/sweeps/{sweep_id}/pause", sweeps.pause_sweep, Sweep, body=Empty, refuses=ENDED),
    Route(
        "POST",
        "/sweeps/{sweep_id}/resume",
        sweeps.resume_sweep,
        Sweep,
        body=Empty,
        refuses=ENDED,
    ),
    Route(
        "POST",
        "/sweeps/{sweep_id}/extend",
        sweeps.extend_sweep,
        Sweep,
        body=Extension,
        refuses=(*ENDED, Problem.TOO_MANY_JOBS),
    ),
    Route(
        "PUT",
        "/sweeps/{sweep_id}/pin",
        sweeps.pin_sweep,
        Sweep,
        body=Empty,
        refuses=(Problem.TOO_MANY_PINNED,),
    ),
    Route("DELETE", "/sweeps/{sweep_id}/pin", sweeps.unpin_sweep, Sweep, body=Empty),
    Route("PUT", "/sweeps/{sweep_id}/readers", sweeps.set_sweep_readers, Sweep, body=RequestedReaders),
    Route(
        "POST",
        "/sweeps/{sweep_id}/rerun",
        sweeps.rerun_sweep,
        Sweep,
        status=202,
        body=SweepRerun,
        request_headers=(KEY,),
        response_headers=(SWEEP_LOCATION,),
        refuses=(Problem.TOO_MANY_JOBS,),
    ),
    Route(
        "GET",
        "/jobs/{job_id}/diff/{other_id}",
        comparison.diff_jobs,
        JobDifference,
    ),
    Route(
        "GET",
        "/comparison",
        comparison.compare_jobs,
        Comparison,
        also_as=(comparison.CSV, comparison.PARQUET),
        query=comparison.ComparisonQuery,
        refuses=(
            Problem.JOB_NOT_FOUND,
            Problem.SWEEP_NOT_FOUND,
            Problem.NO_SUCH_ROUTE,
            Problem.NOT_ACCEPTABLE,
        ),
    ),
    Route(
        "POST",
        "/schedules",
        schedules.create_schedule,
        Schedule,
        status=201,
        body=ScheduleRequest,
        request_headers=(KEY,),
        response_headers=(SCHEDULE_LOCATION,),
        refuses=(Problem.TOO_MANY_SCHEDULES, Problem.NO_SUCH_ROUTE),
    ),
    Route(
        "POST",
        "/schedules/preview",
        schedules.preview_schedule,
        SchedulePreview,
        body=ScheduleRequest,
        refuses=(Problem.NO_SUCH_ROUTE,),
    ),
    Route(
        "GET",
        "/schedules",
        schedules.list_schedules,
        SchedulePage,
        query=schedules.ScheduleQuery,
        refuses=(Problem.NO_SUCH_ROUTE,),
    ),
    Route("GET", "/schedules/{schedule_id}", schedules.get_schedule, Schedule),
    Route(
        "GET",
        "/schedules/{schedule_id}/runs",
        schedules.list_runs,
        ScheduleRunPage,
        query=schedules.RunQuery,
    ),
    Route("POST", "/schedules/{schedule_id}/pause", schedules.pause_schedule, Schedule, body=Empty),
    Route("POST", "/schedules/{schedule_id}/resume", schedules.resume_schedule, Schedule, body=Empty),
    Route(
        "POST", "/schedules/{schedule_id}/run", schedules.run_schedule, ScheduleRun, status=202, body=Empty
    ),
    Route("DELETE", "/schedules/{schedule_id}", schedules.remove_schedule, Schedule, body=Empty),
    Route(
        "GET",
        "/models",
        models.list_models,
        NamedModelPage,
        query=models.ModelQuery,
        refuses=(Problem.NO_SUCH_ROUTE,),
    ),
    Route("GET", "/models/{model}", models.get_model, NamedModel),
    Route(
        "PUT",
        "/models/{model}/readers",
        models.set_model_readers,
        NamedModel,
        body=RequestedReaders,
    ),
    Route("GET", "/models/{model}/aliases/{alias}", models.get_alias, Alias, response_headers=(VERSION,)),
    Route(
        "PUT",
        "/models/{model}/aliases/{alias}",
        models.set_alias,
        Alias,
        body=AliasTarget,
        request_headers=(IF_MATCH, IF_NONE_MATCH),
        response_headers=(VERSION,),
        refuses=(
            *REMOVED,
            Problem.FORBIDDEN,
            Problem.PRECONDITION_FAILED,
            Problem.NOT_COMPLETED,
            Problem.TOO_MANY_MODELS,
            Problem.TOO_MANY_PINNED,
        ),
    ),
    Route(
        "DELETE",
        "/models/{model}/aliases/{alias}",
        models.remove_alias,
        Alias,
        body=Empty,
        request_headers=(IF_MATCH,),
        refuses=(Problem.PRECONDITION_FAILED,),
    ),
    Route("GET", "/models/{model}/aliases/{alias}/history", models.get_alias_history, AliasHistory),
    Route(
        "GET",
        "/models/{model}/aliases/{alias}/artifact",
        models.get_model_artifact,
        (BYTES,),
        also=(206, 304),
        request_headers=OF_FILES,
        response_headers=(DIGEST,),
        refuses=NOT_THIS_FILE,
    ),
    Route("GET", "/scripts", jobs.list_scripts, ScriptList, query=jobs.ScriptQuery),
    Route("GET", "/secrets", own.list_secrets, SecretList),
    Route(
        "PUT",
        "/secrets/{name}",
        own.set_secret,
        SecretChange,
        body=BINARY,
        refuses=(Problem.INVALID_REQUEST, Problem.TOO_MANY_SECRETS),
    ),
    Route(
        "DELETE",
        "/secrets/{name}",
        own.remove_secret,
        SecretEntry,
        body=Empty,
        refuses=(Problem.INVALID_REQUEST, Problem.SECRET_NOT_FOUND),
    ),
    Route("GET", "/host", jobs.get_host, Host),
    Route("GET", "/hosts", jobs.list_hosts, HostList),
    Route(
        "POST",
        "/certificate",
        own.renew_certificate,
        RenewedCertificate,
        body=SigningRequest,
        refuses=(Problem.INVALID_REQUEST, Problem.TOO_MANY_CERTIFICATES),
    ),
    Route(
        "POST",
        "/enrolment",
        own.enrol,
        RenewedCertificate,
        status=201,
        body=SigningRequest,
        refuses=(Problem.INVALID_REQUEST, Problem.INVITATION_REFUSED),
    ),
    *PAGE_ROUTES,
)


def add_to(app: web.Application, guard: Guard) -> None:
    """Adds every route behind the guard. The path of an artifact may contain slashes.

    What has a route of its own is no id: there, another method is told as such.
    """
    backend = app[BACKEND]
    of_peers = (FLEET_ROUTES if backend.fleet else ()) + (MEMBER_ROUTES if backend.members else ())
    for route in (*ROUTES, *of_peers):
        path = route.path.replace("{path}", "{path:.+}")
        path = path.replace("{schedule_id}", "{schedule_id:(?!preview$)[^{}/]+}")
        handler = _with_empty_body(route.handler) if route.body is Empty else route.handler
        handler = guard.guard(route.operation_id, handler)
        app.router.add_route(route.method, path, handler)
        if route.operation_id in ("getArtifact", "getModelArtifact"):
            app.router.add_route("HEAD", path, handler)


def _with_empty_body(handler: Handler) -> Handler:
    """The handler, for a body without members or without a byte."""

    @functools.wraps(handler)
    async def checked(request: web.Request) -> web.StreamResponse:
        if await request.read():
            await read_body(request, Empty)
        return await handler(request)

    return checked
