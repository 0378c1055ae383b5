"""Who is asking: decided for every request, from the certificate of its connection."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..audit import Caller
from ..errors import AgentError, Problem
from ..models import Principal
from .trail import Trail

Identify = Callable[[bytes], Awaitable[Principal]]
PRINCIPAL = web.RequestKey("principal", Principal)
CALLER = web.RequestKey("caller", Caller)  # the same person, for the audit
IdentifyAgain = Callable[[], Awaitable[Principal]]
IDENTIFIED_AGAIN = web.RequestKey[IdentifyAgain]("identified_again")


def middleware(identify: Identify, trail: Trail) -> Middleware:
    """Puts the principal into each request, or refuses it."""

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        async def identified() -> Principal:
            try:
                return await identify(_peer_certificate(request))
            except AgentError as error:
                if error.problem is Problem.CERTIFICATE_REFUSED:
                    await _note_refusal(request, trail, error)
                raise

        # An answer that goes on for hours asks again: certificates are revoked meanwhile.
        request[IDENTIFIED_AGAIN] = identified
        request[PRINCIPAL] = principal = await identified()
        request[CALLER] = Caller(actor=principal.user, role=principal.role, source=request.remote or "")
        return await handler(request)

    return authenticate


def _peer_certificate(request: web.Request) -> bytes:
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
