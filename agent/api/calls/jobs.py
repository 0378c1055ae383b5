"""The calls about jobs, scripts and one's own certificate: parse, ask, answer."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from ...model.base import Model, Text, UserName
from ...model.certificate import SigningRequest
from ...model.job import JobRequest, JobState, Rerun
from ...model.script import Ref
from ..access import JOB, check_owner, check_priority, whose
from ..keys import BACKEND, CERTIFICATES
from ..server.identity import CALLER, PRINCIPAL, peer_certificate
from ..server.requests import idempotency_key, read_body, read_query

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


async def submit_job(request: web.Request) -> web.Response:
    """Accepts a job; it is on disk when this answers 202."""
    body, principal = await read_body(request, JobRequest), request[PRINCIPAL]
    check_priority(principal, body.priority)
    job = await request.app[BACKEND].submissions.submit(
        principal.user, body, idempotency_key=idempotency_key(request), by=request[CALLER]
    )
    return answer(job, status=202, location=f"/jobs/{job.job_id}")


async def rerun_job(request: web.Request) -> web.Response:
    """Runs a job again: the same code, image and parameters, or with changes; for whoever asks."""
    changes = await read_body(request, Rerun) if await request.read() else Rerun()
    job = await request.app[BACKEND].submissions.rerun(
        request[PRINCIPAL].user,
        request[JOB],
        changes,
        idempotency_key=idempotency_key(request),
        by=request[CALLER],
    )
    return answer(job, status=202, location=f"/jobs/{job.job_id}")


async def list_jobs(request: web.Request) -> web.Response:
    """Jobs, newest first: those that one may see, of one owner or of all."""
    query = read_query(request, JobQuery)
    return answer(
        await request.app[BACKEND].jobs.page(
            owner=check_owner(request, query.owner),
            status=query.status,
            script=query.script,
            cursor=query.cursor,
            limit=query.limit,
        )
    )


async def get_job(request: web.Request) -> web.Response:
    """One job."""
    return answer(request[JOB])


async def cancel_job(request: web.Request) -> web.Response:
    """SIGTERM, the grace of the unit, SIGKILL; a job that waits ends at once."""
    job = await request.app[BACKEND].jobs.cancel(request[JOB].job_id, by=request[CALLER])
    return answer(job, status=202)


async def get_usage(request: web.Request) -> web.Response:
    """What the job's unit uses now: CPU, memory, tasks."""
    return answer(await request.app[BACKEND].host.usage(request[JOB]))


async def pin_job(request: web.Request) -> web.Response:
    """Keeps a job, its artifacts and its log for as long as it is pinned."""
    return await _pin(request, pinned=True)


async def unpin_job(request: web.Request) -> web.Response:
    """Leaves a job to retention again."""
    return await _pin(request, pinned=False)


async def _pin(request: web.Request, *, pinned: bool) -> web.Response:
    job_id, by = request[JOB].job_id, request[CALLER]
    return answer(await request.app[BACKEND].jobs.pin(job_id, pinned=pinned, by=by))


async def get_host(request: web.Request) -> web.Response:
    """Capacity, queue and versions; and the part in it of those whose jobs one may see."""
    return answer(await request.app[BACKEND].host.overview(whose(request)))


async def list_scripts(request: web.Request) -> web.Response:
    """What can be run, with its parameters."""
    return answer(await request.app[BACKEND].scripts.scripts(read_query(request, ScriptQuery).ref))


async def renew_certificate(request: web.Request) -> web.Response:
    """A new certificate for whoever asks, for a key of their own; the old one stays good until it ends."""
    body = await read_body(request, SigningRequest)
    renewed = request.app[CERTIFICATES].renew(peer_certificate(request), body.csr, request[CALLER])
    return answer(await renewed)
