"""Who the client is: decided for each request, from the certificate of its connection.

A peer of the host's fleet may ask on behalf of a user. The request then is that user's in everything: rights,
rates, connections and streams are the user's, and the audit names both.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ...audit.chain import Caller
from ...audit.trail import Trail
from ...backend import ASKING
from ...errors import AgentError, Problem
from ...identity.certificates import Certificates
from ...model.certificate import PEOPLE, Principal, Role
from .connections import held_for
from .problems import invalid
from .requests import header

ON_BEHALF_OF = "On-Behalf-Of"
# User, role, and the address of the user's own connection.
_USER = re.compile(rf"([a-z][a-z0-9._-]{{0,62}}) ({'|'.join(PEOPLE)}) ([0-9A-Za-z.:%_-]{{1,64}})")

PRINCIPAL = web.RequestKey("principal", Principal)
CALLER = web.RequestKey("caller", Caller)  # the same person, for the audit
PEER = web.RequestKey("peer", Principal)  # the peer of the fleet that asks on behalf of the principal
IdentifyAgain = Callable[[web.Request], Awaitable[Principal]]
IDENTIFY_AGAIN = web.RequestKey[IdentifyAgain]("identify_again")

# The calls that need no client certificate. What they are sent must prove who asks.
WITHOUT_CERTIFICATE = frozenset({("POST", "/enrolment")})
NOBODY = "invited"  # the role of such a client in the audit; who it is, its call finds out

INTERVAL = 2.0  # seconds between two checks of the client of a long answer

CheckAllowed = Callable[[web.Request], Awaitable[object]]


def middleware(certificates: Certificates, trail: Trail) -> Middleware:
    """Puts the principal into each request, or refuses the request."""

    async def identified(
        request: web.Request, certificate: bytes, identify: Callable[[bytes], Awaitable[Principal]]
    ) -> Principal:
        try:
            return await identify(certificate)
        except AgentError as error:
            if error.problem is Problem.CERTIFICATE_REFUSED:
                await _audit_refusal(request, trail, error)
            raise

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if (request.method, request.path) in WITHOUT_CERTIFICATE:
            _call_by(request, Caller(actor="", role=NOBODY, source=request.remote or ""))
            return await handler(request)
        certificate = peer_certificate(request)
        request[PRINCIPAL] = principal = await identified(request, certificate, certificates.identify)
        # Not bound to this request: a reference of the request to itself would be a cycle.
        request[IDENTIFY_AGAIN] = lambda request: identified(
            request, certificate, certificates.identify_again
        )
        _call_by(request, Caller(actor=principal.user, role=principal.role, source=request.remote or ""))
        return await handler(request)

    return authenticate


def on_behalf_of(*, fleet: bool) -> Middleware:
    """Puts the user that a peer asks for in the peer's place. Put it behind the identity.

    The guard refuses what has the header and is not a peer's, or reaches a host that is in no fleet.
    """

    @web.middleware
    async def exchange(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer, text = request.get(PRINCIPAL), header(request, ON_BEHALF_OF)
        if text is None or peer is None or not (fleet and peer.role.peer):
            return await handler(request)
        match = _USER.fullmatch(text)
        if match is None:
            raise invalid(ON_BEHALF_OF, "must be a user, a role and an address, separated by spaces")
        user = Principal(user=match[1], role=Role(match[2]))
        identify_again = request[IDENTIFY_AGAIN]

        async def again(request: web.Request) -> Principal:
            if await identify_again(request) != peer:
                raise AgentError(Problem.CERTIFICATE_REFUSED, "The peer of the fleet has another role now.")
            return user

        request[PEER], request[PRINCIPAL], request[IDENTIFY_AGAIN] = peer, user, again
        _call_by(request, Caller(actor=user.user, role=user.role, source=match[3], via=peer.user))
        with held_for(request, user.user):
            return await handler(request)

    return exchange


def _call_by(request: web.Request, caller: Caller) -> None:
    request[CALLER] = caller
    ASKING.set(caller)


class ClientCheck:
    """Checks the client of a long answer again and again: meanwhile certificates expire and are revoked."""

    def __init__(self, request: web.Request, check_allowed: CheckAllowed | None = None) -> None:
        """`check_allowed` raises if the client may not have the answer any more."""
        self._request = request
        self._check_allowed = check_allowed
        self._checked_at = asyncio.get_running_loop().time()

    async def check(self) -> None:
        """Checks the client if the interval is over, and puts its principal as it is now into the request.

        Raises `AgentError`: certificate-refused, or what `check_allowed` raises.
        """
        time = asyncio.get_running_loop().time()
        if time - self._checked_at < INTERVAL:
            return
        self._checked_at = time
        self._request[PRINCIPAL] = await self._request[IDENTIFY_AGAIN](self._request)
        if self._check_allowed:
            await self._check_allowed(self._request)

    async def watch(self) -> None:
        """Checks the client until it is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.check()


def peer_certificate(request: web.Request) -> bytes:
    """The certificate (DER) that the handshake of the connection has verified."""
    ssl_object: Any = request.get_extra_info("ssl_object")
    der: bytes | None = ssl_object.getpeercert(binary_form=True) if ssl_object else None
    if der is None:
        raise AgentError(Problem.CERTIFICATE_REFUSED, "The connection has no client certificate.")
    return der


async def _audit_refusal(request: web.Request, trail: Trail, error: AgentError) -> None:
    """Records whom the refused certificate names: our authority signed it, and the client has its key."""
    ssl_object: Any = request.get_extra_info("ssl_object")
    certificate: dict[str, Any] = ssl_object.getpeercert() if ssl_object else {}
    uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    caller = Caller(actor=" ".join(uris).rpartition(":")[2][:64], role="refused", source=request.remote or "")
    serial = str(certificate.get("serialNumber", "")).lower().lstrip("0")
    await trail.refused(caller, "identify", serial, why=error.message)
