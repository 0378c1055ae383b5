"""The calls of a front for the members of its fleet. The host is the one that the certificate names."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from ...backend.fleet import FleetMembers
from ...errors import AgentError, Problem
from ...model.base import WHOLE, Model
from ...model.fleet import Reseal
from ...model.member import (
    MemberBack,
    MemberConfirmation,
    MemberEpoch,
    MemberHold,
    MemberOffer,
    MemberProjection,
    MemberRelease,
    MemberReport,
    MemberSecretOf,
    MemberSecrets,
    MemberShared,
)
from ..keys import BACKEND
from ..server.identity import PRINCIPAL
from ..server.requests import json_response, read_body, read_query


class After(Model):
    """The query of `GET /fleet/member/claims`: the last job id of the page before."""

    after: Annotated[str, Field(pattern=r"^([a-z2-7]{12})?$")] = ""


class AfterNumber(Model):
    """The query of `GET /fleet/member/secrets`: the number of the news before."""

    after: Annotated[int, WHOLE, Field(ge=0, le=2**53)] = 0


async def _members(request: web.Request) -> tuple[FleetMembers, str]:
    """What answers, and the host that asks. Raises `AgentError` (certificate-refused) for a barred host."""
    members = request.app[BACKEND].members
    if members is None:
        raise AgentError(Problem.INTERNAL, "This is no front of a fleet, and has a call of one.")
    host = request[PRINCIPAL].user
    await members.check(host)
    return members, host


async def join_fleet(request: web.Request) -> web.Response:
    """A host is there, with what it offers."""
    members, host = await _members(request)
    return json_response(await members.join(host, await read_body(request, MemberReport)))


async def begin_as_new(request: web.Request) -> web.Response:
    """A host that was forgotten has ended what it had."""
    members, host = await _members(request)
    asked = await read_body(request, MemberEpoch)
    return json_response(MemberBack(back=await members.back(host, asked.epoch)))


async def claim_job(request: web.Request) -> web.Response:
    """Claims the job whose turn it is among those that fit."""
    members, host = await _members(request)
    return json_response(await members.claim_next(host, await read_body(request, MemberOffer)))


async def list_claims(request: web.Request) -> web.Response:
    """What the host has claimed."""
    members, host = await _members(request)
    return json_response(await members.claims_of(host, read_query(request, After).after))


async def confirm_claim(request: web.Request) -> web.Response:
    """Whether a claim still holds."""
    members, host = await _members(request)
    return json_response(await members.confirm(host, await read_body(request, MemberConfirmation)))


async def acknowledge_claim(request: web.Request) -> web.Response:
    """The host's agent has the job."""
    members, host = await _members(request)
    return json_response(await members.acknowledge(host, await read_body(request, MemberHold)))


async def release_claim(request: web.Request) -> web.Response:
    """The host's agent will never have the job."""
    members, host = await _members(request)
    return json_response(await members.release(host, await read_body(request, MemberRelease)))


async def project_job(request: web.Request) -> web.Response:
    """A revision of a job, as the host's agent has committed it."""
    members, host = await _members(request)
    return json_response(await members.project(host, await read_body(request, MemberProjection)))


async def list_secret_news(request: web.Request) -> web.Response:
    """What has changed of users' secrets. Waits a little for something new."""
    members, host = await _members(request)
    return json_response(await members.secret_news(host, read_query(request, AfterNumber).after))


async def fetch_secret(request: web.Request) -> web.Response:
    """A user's secret, sealed for the host."""
    members, host = await _members(request)
    return json_response(await members.sealed_secret(host, await read_body(request, MemberSecretOf)))


async def share_keys(request: web.Request) -> web.Response:
    """Keys of secrets that the host has sealed for another one."""
    members, _ = await _members(request)
    return json_response(MemberShared(shared=await members.share_keys(await read_body(request, Reseal))))


async def tell_secrets(request: web.Request) -> web.Response:
    """Which secrets the host has."""
    members, host = await _members(request)
    told = await read_body(request, MemberSecrets)
    await members.tell_secrets(host, told)
    return json_response(MemberShared(shared=0))
