"""The calls about schedules."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from ...backend.experiments import Schedules
from ...errors import AgentError, Problem
from ...model.base import Model, UserName
from ...model.certificate import Principal
from ...model.schedule import MAX_RUNS, ScheduleRequest
from ..access import SCHEDULE, check_owner, check_priority
from ..keys import BACKEND
from ..server.identity import CALLER, PRINCIPAL
from ..server.requests import idempotency_key, json_response, read_body, read_query
from .jobs import Cursor, open_cursor, seal_cursor

MAX_PAGE = 50  # each has its next times, for which systemd may have to be asked


class ScheduleQuery(Model):
    """The query of `GET /schedules`."""

    owner: UserName | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = MAX_PAGE


class RunQuery(Model):
    """The query of `GET /schedules/{id}/runs`."""

    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_RUNS)] = 50


async def create_schedule(request: web.Request) -> web.Response:
    """Makes a schedule, which submits a job or a sweep at times of a calendar."""
    body, principal = await read_body(request, ScheduleRequest), request[PRINCIPAL]
    _check_priority(principal, body)
    schedule = await _schedules(request).create(
        principal.user, body, idempotency_key=idempotency_key(request), by=request[CALLER]
    )
    return json_response(schedule, status=201, location=f"/schedules/{schedule.schedule_id}")


async def preview_schedule(request: web.Request) -> web.Response:
    """Shows the next times of a schedule before it is made, after the same checks."""
    body, principal = await read_body(request, ScheduleRequest), request[PRINCIPAL]
    _check_priority(principal, body)
    return json_response(await _schedules(request).preview(principal.user, body))


async def list_schedules(request: web.Request) -> web.Response:
    """Lists the schedules that you may see, newest first."""
    query = read_query(request, ScheduleQuery)
    page = await _schedules(request).page(
        owner=check_owner(request, query.owner),
        before=open_cursor(request, query.cursor, "schedules"),
        limit=query.limit,
    )
    following = seal_cursor(request, page.next_cursor, "schedules")
    return json_response(page.model_copy(update={"next_cursor": following}))


async def get_schedule(request: web.Request) -> web.Response:
    """Shows one schedule: its next times, and its newest run."""
    return json_response(request[SCHEDULE])


async def list_runs(request: web.Request) -> web.Response:
    """Lists the runs of a schedule, newest first: each with its job, or the reason why it has none."""
    query, schedule_id = read_query(request, RunQuery), request[SCHEDULE].schedule_id
    before = open_cursor(request, query.cursor, schedule_id)
    page = await _schedules(request).runs(schedule_id, before=before, limit=query.limit)
    following = seal_cursor(request, page.next_cursor, schedule_id)
    return json_response(page.model_copy(update={"next_cursor": following}))


async def pause_schedule(request: web.Request) -> web.Response:
    """Pauses a schedule: no more runs are made. What they have become goes on."""
    return json_response(await _schedules(request).pause(request[SCHEDULE].schedule_id, by=request[CALLER]))


async def resume_schedule(request: web.Request) -> web.Response:
    """Resumes a schedule that is paused or suspended, from the next time on."""
    return json_response(await _schedules(request).resume(request[SCHEDULE].schedule_id, by=request[CALLER]))


async def run_schedule(request: web.Request) -> web.Response:
    """Makes a run of a schedule now, also while it is paused."""
    run = await _schedules(request).run(request[SCHEDULE].schedule_id, by=request[CALLER])
    return json_response(run, status=202)


async def remove_schedule(request: web.Request) -> web.Response:
    """Removes a schedule and the record of its runs. Jobs and sweeps stay."""
    return json_response(await _schedules(request).remove(request[SCHEDULE].schedule_id, by=request[CALLER]))


def _check_priority(principal: Principal, body: ScheduleRequest) -> None:
    field = "job.priority" if body.sweep is None else "sweep.priority"
    check_priority(principal, body.submission.priority, field)


def _schedules(request: web.Request) -> Schedules:
    """Raises `AgentError` (no-such-route) where there are none, as at a fleet's front."""
    if (schedules := request.app[BACKEND].schedules) is None:
        raise AgentError(
            Problem.NO_SUCH_ROUTE, "There are no schedules here.", "Make the schedule on a host of the fleet."
        )
    return schedules
