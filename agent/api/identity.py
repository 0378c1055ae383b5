"""Who is asking: decided for every request, from the certificate of its connection."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..errors import AgentError, Problem
from ..models import Principal

Identify = Callable[[bytes], Awaitable[Principal]]
PRINCIPAL = web.RequestKey("principal", Principal)
IdentifyAgain = Callable[[], Awaitable[Principal]]
IDENTIFIED_AGAIN = web.RequestKey[IdentifyAgain]("identified_again")


def middleware(identify: Identify) -> Middleware:
    """Puts the principal into each request, or refuses it."""

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        # An answer that goes on for hours asks again: certificates are revoked meanwhile.
        identified: IdentifyAgain = functools.partial(identify, _peer_certificate(request))
        request[IDENTIFIED_AGAIN] = identified
        request[PRINCIPAL] = await identified()
        return await handler(request)

    return authenticate


def _peer_certificate(request: web.Request) -> bytes:
    ssl_object: Any = request.get_extra_info("ssl_object")
    der: bytes | None = ssl_object.getpeercert(binary_form=True) if ssl_object else None
    if der is None:
        raise AgentError(Problem.CERTIFICATE_REFUSED, "The connection has no client certificate.")
    return der
