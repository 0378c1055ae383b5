"""Calls about one's own certificate: renewal, and first enrolment with an invitation."""

from aiohttp import web

from ...errors import AgentError, Problem
from ...model.certificate import SigningRequest
from ..keys import CERTIFICATES, ENROLMENT
from ..server.identity import CALLER, peer_certificate
from ..server.requests import header, read_body
from ..server.responses import json_response

SCHEME = "Bearer "  # RFC 6750


async def renew_certificate(request: web.Request) -> web.Response:
    """Issues a new certificate for your key. The old certificate stays valid until it expires."""
    body = await read_body(request, SigningRequest)
    renewed = request.app[CERTIFICATES].renew(peer_certificate(request), body.csr, request[CALLER])
    return json_response(await renewed)


async def enrol(request: web.Request) -> web.Response:
    """Issues the certificate of an invitation, whose code is the bearer token, for a key of the client's."""
    body = await read_body(request, SigningRequest)
    credentials = header(request, "Authorization") or ""
    if not credentials[: len(SCHEME)].lower() == SCHEME.lower():
        raise AgentError(
            Problem.INVITATION_REFUSED,
            "The request has no invitation.",
            "Send the header Authorization: Bearer CODE.",
        )
    code = credentials[len(SCHEME) :].strip()
    return json_response(await request.app[ENROLMENT].enrol(code, body.csr, request[CALLER]), status=201)
