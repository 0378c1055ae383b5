"""The calls about jobs, scripts and the host."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from ...model.base import Model, Text, UserName
from ...model.job import JobRequest, JobState, Rerun
from ...model.ref import Ref
from ..access import JOB, check_owner, check_priority, visible_owner
from ..keys import BACKEND
from ..server.identity import CALLER, PRINCIPAL
from ..server.requests import idempotency_key, read_body, read_query
from ..server.responses import json_response

MAX_PAGE = 200


class JobQuery(Model):
    """The query of `GET /jobs`."""

    status: JobState | None = None
    script: Annotated[Text, Field(max_length=255)] | None = None
    owner: UserName | None = None
    cursor: Annotated[str, Field(max_length=18, json_schema_extra={"pattern": "^[0-9]+$"})] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50


class ScriptQuery(Model):
    """The query of `GET /scripts`."""

    ref: Ref | None = None


async def submit_job(request: web.Request) -> web.Response:
    """Submits a job. It is on disk before the answer 202."""
    body, principal = await read_body(request, JobRequest), request[PRINCIPAL]
    check_priority(principal, body.priority)
    job = await request.app[BACKEND].submissions.submit(
        principal.user, body, idempotency_key=idempotency_key(request), by=request[CALLER]
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
    """Lists the jobs that you may see, newest first."""
    query = read_query(request, JobQuery)
    return json_response(
        await request.app[BACKEND].jobs.page(
            owner=check_owner(request, query.owner),
            status=query.status,
            script=query.script,
            cursor=query.cursor,
            limit=query.limit,
        )
    )


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
    """Shows capacity, use, queue and versions, and the share of each user visible_owner jobs you may see."""
    return json_response(await request.app[BACKEND].host.overview(visible_owner(request)))


async def list_scripts(request: web.Request) -> web.Response:
    """Lists the scripts that can be run, with their parameters."""
    return json_response(await request.app[BACKEND].scripts.scripts(read_query(request, ScriptQuery).ref))
