"""The calls for programs of the fleet that this host is in. Outside of any fleet, a host lacks them."""

from typing import TypeVar

from aiohttp import web

from ...backend.fleet import FleetHost, FleetSecrets
from ...errors import AgentError, Problem
from ...model.fleet import GivenJob, RemovedSecret, Reseal, SealedSecret, ToldJobs
from ...model.job import JobRequest
from ..access import JOB, check_priority
from ..keys import BACKEND
from ..server.identity import CALLER, PRINCIPAL
from ..server.requests import json_response, read_body
from .own import secret_name

T = TypeVar("T")


def _fleet(request: web.Request) -> FleetHost:
    return _part(request.app[BACKEND].fleet)


def _secrets(request: web.Request) -> FleetSecrets:
    return _part(request.app[BACKEND].fleet_secrets)


def _part(part: T | None) -> T:
    if part is None:
        raise AgentError(Problem.INTERNAL, "This host is in no fleet, and has a call of one.")
    return part


async def take_job(request: web.Request) -> web.Response:
    """Takes a job of the fleet, under the fleet's id. It is on disk before the answer 202."""
    given, principal = await read_body(request, GivenJob), request[PRINCIPAL]
    check_priority(principal, given.request.priority)
    job = await _fleet(request).take(principal.user, given, by=request[CALLER])
    return json_response(job, status=202, location=f"/jobs/{job.job_id}")


async def check_job(request: web.Request) -> web.Response:
    """Shows the job that a request would become here. Nothing is accepted."""
    body, principal = await read_body(request, JobRequest), request[PRINCIPAL]
    check_priority(principal, body.priority)
    return json_response(await _fleet(request).check(principal.user, body))


async def withdraw_job(request: web.Request) -> web.Response:
    """Ends a job that has never begun here, so that it can run on another host."""
    return json_response(await _fleet(request).withdraw(request[JOB].job_id, by=request[CALLER]))


async def tell_jobs(request: web.Request) -> web.Response:
    """Lets retention remove jobs of whose end the fleet has heard."""
    told = await read_body(request, ToldJobs)
    await _fleet(request).tell(told)
    return json_response(told)


async def get_room(request: web.Request) -> web.Response:
    """Shows what the host can still give to jobs."""
    return json_response(await _fleet(request).room())


async def drain_host(request: web.Request) -> web.Response:
    """Starts no more jobs on this host. Those that run go on."""
    return json_response(await _fleet(request).drain(draining=True, by=request[CALLER]))


async def undrain_host(request: web.Request) -> web.Response:
    """Starts jobs on this host again."""
    return json_response(await _fleet(request).drain(draining=False, by=request[CALLER]))


async def get_held_secrets(request: web.Request) -> web.Response:
    """Lists every secret that the host has, with the versions of the fleet's, and without a value."""
    return json_response(await _secrets(request).held())


async def take_secret(request: web.Request) -> web.Response:
    """Opens a version of a user's secret that is sealed for this host, and stores it."""
    name, sealed = secret_name(request), await read_body(request, SealedSecret)
    return json_response(await _secrets(request).take(name, sealed, by=request[CALLER]))


async def drop_secret(request: web.Request) -> web.Response:
    """Removes a user's secret up to a version. One that was set on this host stays."""
    name, removed = secret_name(request), await read_body(request, RemovedSecret)
    await _secrets(request).remove(name, removed, by=request[CALLER])
    return json_response(removed)


async def reseal_secrets(request: web.Request) -> web.Response:
    """Seals keys of secrets, which this host can open, for another host of the fleet."""
    return json_response(await _secrets(request).reseal(await read_body(request, Reseal), by=request[CALLER]))
