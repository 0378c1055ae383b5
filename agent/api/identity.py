"""Who is asking: decided for every request, from the certificate of its connection."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..certificates import Certificates
from ..errors import AgentError, Problem
from ..models import Principal

PRINCIPAL = web.RequestKey("principal", Principal)
IdentifyAgain = Callable[[], Awaitable[Principal]]
IDENTIFIED_AGAIN = web.RequestKey[IdentifyAgain]("identified_again")

INTERVAL = 2.0  # seconds after which an answer that goes on asks again whom it is for

Allowed = Callable[[web.Request], Awaitable[object]]


def middleware(certificates: Certificates) -> Middleware:
    """Puts the principal into each request, or refuses it."""

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        certificate = peer_certificate(request)
        request[PRINCIPAL] = await certificates.identify(certificate)
        identified: IdentifyAgain = functools.partial(certificates.identify_again, certificate)
        request[IDENTIFIED_AGAIN] = identified
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
        self._request[PRINCIPAL] = await self._request[IDENTIFIED_AGAIN]()
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
