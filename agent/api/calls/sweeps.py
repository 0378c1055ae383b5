"""The calls about sweeps."""

from functools import partial
from typing import Annotated

from aiohttp import web
from pydantic import Field

from ...backend.experiments import Sweeps
from ...errors import AgentError, Problem
from ...model.base import Model, UserName
from ...model.readers import RequestedReaders
from ...model.sweep import Extension, SweepRequest, SweepRerun, SweepState
from ..access import SWEEP, check_owner, check_priority, may_read
from ..keys import BACKEND
from ..server.identity import CALLER, PRINCIPAL
from ..server.requests import idempotency_key, json_response, read_body, read_query
from .jobs import MAX_PAGE, Cursor, open_cursor, seal_cursor, shares_of


class SweepQuery(Model):
    """The query of `GET /sweeps`."""

    status: SweepState | None = None
    owner: UserName | None = None
    shared: bool | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50


class TrialQuery(Model):
    """The query of `GET /sweeps/{id}/trials`."""

    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50


async def submit_sweep(request: web.Request) -> web.Response:
    """Submits a sweep, whose trials are jobs. It is on disk before the answer 202."""
    body, principal = await read_body(request, SweepRequest), request[PRINCIPAL]
    check_priority(principal, body.priority)
    sweep = await _sweeps(request).submit(
        principal.user,
        body,
        idempotency_key=idempotency_key(request),
        by=request[CALLER],
        may_read=partial(may_read, principal),
    )
    return json_response(sweep, status=202, location=f"/sweeps/{sweep.sweep_id}")


async def rerun_sweep(request: web.Request) -> web.Response:
    """Runs a sweep again with the same code, image, space and seed, apart from your changes."""
    changes = await read_body(request, SweepRerun) if await request.read() else SweepRerun()
    sweep = await _sweeps(request).rerun(
        request[PRINCIPAL].user,
        request[SWEEP],
        changes,
        idempotency_key=idempotency_key(request),
        by=request[CALLER],
    )
    return json_response(sweep, status=202, location=f"/sweeps/{sweep.sweep_id}")


async def list_sweeps(request: web.Request) -> web.Response:
    """Lists the sweeps that you may see, newest first."""
    query = read_query(request, SweepQuery)
    kind = "shared sweeps" if query.shared else "sweeps"
    before = open_cursor(request, query.cursor, kind)
    if query.shared:
        user, shares = request[PRINCIPAL].user, shares_of(request)
        page = await shares.sweeps(
            user, owner=query.owner, status=query.status, before=before, limit=query.limit
        )
    else:
        owner = check_owner(request, query.owner)
        page = await _sweeps(request).page(owner=owner, status=query.status, before=before, limit=query.limit)
    following = seal_cursor(request, page.next_cursor, kind)
    return json_response(page.model_copy(update={"next_cursor": following}))


async def get_sweep(request: web.Request) -> web.Response:
    """Shows one sweep: how far it is, and its best trial."""
    return json_response(request[SWEEP])


async def list_trials(request: web.Request) -> web.Response:
    """Lists the trials of a sweep in the order in which they were made."""
    query, sweep_id = read_query(request, TrialQuery), request[SWEEP].sweep_id
    after = open_cursor(request, query.cursor, sweep_id)
    page = await _sweeps(request).trials(sweep_id, after=-1 if after is None else after, limit=query.limit)
    following = seal_cursor(request, page.next_cursor, sweep_id)
    return json_response(page.model_copy(update={"next_cursor": following}))


async def cancel_sweep(request: web.Request) -> web.Response:
    """Cancels a sweep and those of its trials that have not ended."""
    sweep = await _sweeps(request).cancel(request[SWEEP].sweep_id, by=request[CALLER])
    return json_response(sweep, status=202)


async def pause_sweep(request: web.Request) -> web.Response:
    """Pauses a sweep: no more trials are made. Those that wait or run go on."""
    return json_response(await _sweeps(request).pause(request[SWEEP].sweep_id, by=request[CALLER]))


async def resume_sweep(request: web.Request) -> web.Response:
    """Resumes a sweep that is paused."""
    return json_response(await _sweeps(request).resume(request[SWEEP].sweep_id, by=request[CALLER]))


async def extend_sweep(request: web.Request) -> web.Response:
    """Gives a sweep more trials, also after its end: so many in all."""
    body = await read_body(request, Extension)
    sweep = await _sweeps(request).extend(request[SWEEP].sweep_id, body.trials, by=request[CALLER])
    return json_response(sweep)


async def set_sweep_readers(request: web.Request) -> web.Response:
    """Lets the named users, or everybody, read a sweep and all its trials, and nobody else."""
    sweep, body = request[SWEEP], await read_body(request, RequestedReaders)
    deed = request[CALLER].did("setSweepReaders", sweep.sweep_id, owner=sweep.owner, readers=body.names)
    await shares_of(request).share(sweep.sweep_id, body, deed=deed)
    return json_response(await _sweeps(request).get(sweep.sweep_id))


async def pin_sweep(request: web.Request) -> web.Response:
    """Pins a sweep: retention keeps it with all its trials."""
    return await _pin(request, pinned=True)


async def unpin_sweep(request: web.Request) -> web.Response:
    """Unpins a sweep: retention may remove it again, as a whole."""
    return await _pin(request, pinned=False)


async def _pin(request: web.Request, *, pinned: bool) -> web.Response:
    sweep_id, by = request[SWEEP].sweep_id, request[CALLER]
    return json_response(await _sweeps(request).pin(sweep_id, pinned=pinned, by=by))


def _sweeps(request: web.Request) -> Sweeps:
    """Raises `AgentError` (no-such-route) where there are none, as at a fleet's front."""
    if (sweeps := request.app[BACKEND].sweeps) is None:
        raise AgentError(
            Problem.NO_SUCH_ROUTE, "There are no sweeps here.", "Submit the sweep to a host of the fleet."
        )
    return sweeps
