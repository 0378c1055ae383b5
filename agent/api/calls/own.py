"""Calls about what is one's own: secrets, of which no call answers with a value, and the certificate."""

from aiohttp import web
from pydantic import Field

from ...errors import AgentError, Problem
from ...model.base import Model, SecretName
from ...model.certificate import SigningRequest
from ...model.secret import SecretList
from ..keys import BACKEND, CERTIFICATES, ENROLMENT
from ..server.identity import CALLER, PRINCIPAL, peer_certificate
from ..server.requests import header, json_response, read_body, read_bytes, validate

SCHEME = "bearer"  # RFC 6750


class _Path(Model):
    name: SecretName = Field()


async def list_secrets(request: web.Request) -> web.Response:
    """Lists the secrets that your jobs may get: your own and those for everybody, without their values."""
    return json_response(SecretList(secrets=await request.app[BACKEND].secrets.of(request[PRINCIPAL].user)))


async def set_secret(request: web.Request) -> web.Response:
    """Sets a secret of your own and replaces an earlier value. The body is the value, byte for byte."""
    name, value = secret_name(request), await read_bytes(request)
    return json_response(await request.app[BACKEND].secrets.set(name, value, by=request[CALLER]))


async def remove_secret(request: web.Request) -> web.Response:
    """Removes a secret of your own. Running jobs keep the value that they were given."""
    return json_response(await request.app[BACKEND].secrets.remove(secret_name(request), by=request[CALLER]))


def secret_name(request: web.Request) -> SecretName:
    """The name in the path. Raises `AgentError` (invalid-request)."""
    return validate(_Path, request.match_info).name


async def renew_certificate(request: web.Request) -> web.Response:
    """Issues a new certificate for your key. The old certificate stays valid until it expires."""
    body = await read_body(request, SigningRequest)
    renewed = request.app[CERTIFICATES].renew(peer_certificate(request), body.csr, request[CALLER])
    return json_response(await renewed)


async def enrol(request: web.Request) -> web.Response:
    """Issues the certificate of an invitation, whose code is the bearer token, for a key of the client's."""
    body = await read_body(request, SigningRequest)
    scheme, _, code = (header(request, "Authorization") or "").partition(" ")
    if scheme.lower() != SCHEME:
        raise AgentError(
            Problem.INVITATION_REFUSED,
            "The request has no invitation.",
            "Send the header Authorization: Bearer CODE.",
        )
    return json_response(
        await request.app[ENROLMENT].enrol(code.strip(), body.csr, request[CALLER]), status=201
    )
