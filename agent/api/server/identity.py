"""Who is asking: decided for every request, from the certificate of its connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ...audit.chain import Caller
from ...audit.trail import Trail
from ...errors import AgentError, Problem
from ...identity.certificates import Certificates
from ...model.certificate import Principal

PRINCIPAL = web.RequestKey("principal", Principal)
CALLER = web.RequestKey("caller", Caller)  # the same person, for the audit
IdentifyAgain = Callable[[web.Request], Awaitable[Principal]]
IDENTIFIED_AGAIN = web.RequestKey[IdentifyAgain]("identified_again")

INTERVAL = 2.0  # seconds after which an answer that goes on asks again whom it is for

Allowed = Callable[[web.Request], Awaitable[object]]


def middleware(certificates: Certificates, trail: Trail) -> Middleware:
    """Puts the principal into each request, or refuses it."""

    async def asked(
        request: web.Request, certificate: bytes, identify: Callable[[bytes], Awaitable[Principal]]
    ) -> Principal:
        try:
            return await identify(certificate)
        except AgentError as error:
            if error.problem is Problem.CERTIFICATE_REFUSED:
                await _note_refusal(request, trail, error)
            raise

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        certificate = peer_certificate(request)
        request[PRINCIPAL] = principal = await asked(request, certificate, certificates.identify)
        # Not of this very request: that would be a cycle.
        request[IDENTIFIED_AGAIN] = lambda request: asked(request, certificate, certificates.identify_again)
        request[CALLER] = Caller(actor=principal.user, role=principal.role, source=request.remote or "")
        return await handler(request)

    return authenticate


class Holder:
    """Whom an answer that goes on for long is for: certificates expire and are revoked meanwhile."""

    def __init__(self, request: web.Request, allowed: Allowed | None = None) -> None:
        self._request = request
        self._allowed = allowed
        self._asked = asyncio.get_running_loop().time()

    async def check(self) -> None:
        """Asks again where it is time to. The request has the principal as it is then.

        Raises `AgentError`: certificate-refused, or what `allowed` raises for one in another role.
        """
        time = asyncio.get_running_loop().time()
        if time - self._asked < INTERVAL:
            return
        self._asked = time
        before = self._request[PRINCIPAL]
        self._request[PRINCIPAL] = await self._request[IDENTIFIED_AGAIN](self._request)
        if self._allowed and self._request[PRINCIPAL] != before:
            await self._allowed(self._request)

    async def watch(self) -> None:
        """Checks for as long as it is not cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.check()


def peer_certificate(request: web.Request) -> bytes:
    """The certificate (DER) that the connection's handshake has verified."""
    ssl_object: Any = request.get_extra_info("ssl_object")
    der: bytes | None = ssl_object.getpeercert(binary_form=True) if ssl_object else None
    if der is None:
        raise AgentError(Problem.CERTIFICATE_REFUSED, "The connection has no client certificate.")
    return der


async def _note_refusal(request: web.Request, trail: Trail, error: AgentError) -> None:
    """Whom the refused certificate names: our authority has signed that, and whoever has its key asks."""
    ssl_object: Any = request.get_extra_info("ssl_object")
    read: dict[str, Any] = ssl_object.getpeercert() if ssl_object else {}
    uris = [value for kind, value in read.get("subjectAltName", ()) if kind == "URI"]
    caller = Caller(actor=" ".join(uris).rpartition(":")[2][:64], role="refused", source=request.remote or "")
    serial = str(read.get("serialNumber", "")).lower().lstrip("0")
    await trail.refused(caller, "identify", serial, why=error.message)
