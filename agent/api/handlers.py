"""The calls about jobs and scripts: parse, ask `Jobs`, answer."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from ..jobs import Jobs
from ..models import Job, JobRequest, JobState, Model, Rerun, Text, UserName
from .identity import PRINCIPAL
from .problems import invalid
from .requests import idempotency_key, read_body, read_query

JOBS = web.AppKey("jobs", Jobs)
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

    ref: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=255)] | None = None


def answer(
    model: Model, *, status: int = 200, location: str | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    """A model as JSON; what is absent is left out, never null."""
    response = web.Response(
        status=status,
        body=model.model_dump_json(exclude_none=True).encode(),
        content_type="application/json",
        headers=headers,
    )
    if location:
        response.headers["Location"] = location
    return response


async def visible_job(request: web.Request) -> Job:
    """The job of the path, if it exists for whoever asks: another's job is as absent as none."""
    principal = request[PRINCIPAL]
    job = await request.app[JOBS].get(request.match_info["job_id"])
    if not principal.sees_all and job.owner != principal.user:
        return await request.app[JOBS].get("")
    return job


async def submit_job(request: web.Request) -> web.Response:
    """Accepts a job; it is on disk when this answers 202."""
    body, principal = await read_body(request, JobRequest), request[PRINCIPAL]
    if body.priority > 0 and not principal.sees_all:
        raise invalid("priority", "must be at most 0; only administrators put jobs before those of others")
    job = await request.app[JOBS].submit(principal.user, body, idempotency_key=idempotency_key(request))
    return answer(job, status=202, location=f"/jobs/{job.job_id}")


async def rerun_job(request: web.Request) -> web.Response:
    """Runs a job again: the same code, image and parameters, or with changes; for whoever asks."""
    earlier = await visible_job(request)
    changes = await read_body(request, Rerun) if request.can_read_body else Rerun()
    job = await request.app[JOBS].rerun(
        request[PRINCIPAL].user, earlier, changes, idempotency_key=idempotency_key(request)
    )
    return answer(job, status=202, location=f"/jobs/{job.job_id}")


async def list_jobs(request: web.Request) -> web.Response:
    """Jobs, newest first: one's own, or an administrator's choice."""
    query, principal = read_query(request, JobQuery), request[PRINCIPAL]
    if not principal.sees_all and query.owner not in (None, principal.user):
        raise invalid("owner", "must be yourself; only administrators see the jobs of others")
    return answer(
        await request.app[JOBS].page(
            owner=query.owner if principal.sees_all else principal.user,
            status=query.status,
            script=query.script,
            cursor=query.cursor,
            limit=query.limit,
        )
    )


async def get_job(request: web.Request) -> web.Response:
    """One job."""
    return answer(await visible_job(request))


async def cancel_job(request: web.Request) -> web.Response:
    """SIGTERM, the grace of the unit, SIGKILL; a job that waits ends at once."""
    job = await visible_job(request)
    return answer(await request.app[JOBS].cancel(job.job_id), status=202)


async def get_usage(request: web.Request) -> web.Response:
    """What the job's unit uses now: CPU, memory, tasks."""
    return answer(await request.app[JOBS].usage(await visible_job(request)))


async def pin_job(request: web.Request) -> web.Response:
    """Keeps a job, its artifacts and its log for as long as it is pinned."""
    return await _pin(request, pinned=True)


async def unpin_job(request: web.Request) -> web.Response:
    """Leaves a job to retention again."""
    return await _pin(request, pinned=False)


async def _pin(request: web.Request, *, pinned: bool) -> web.Response:
    job = await visible_job(request)
    return answer(await request.app[JOBS].pin(job.job_id, pinned=pinned))


async def get_host(request: web.Request) -> web.Response:
    """Capacity, queue and versions; an administrator sees every user's part in it."""
    principal = request[PRINCIPAL]
    return answer(await request.app[JOBS].host(None if principal.sees_all else principal.user))


async def list_scripts(request: web.Request) -> web.Response:
    """What can be run, with its parameters."""
    return answer(await request.app[JOBS].scripts(read_query(request, ScriptQuery).ref))
