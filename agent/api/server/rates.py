"""How often each user may ask: so many requests a second, and a burst of more."""

import asyncio
import math
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ...errors import AgentError, Problem
from .identity import PRINCIPAL
from .problems import respond

MAX_HOLDERS = 10_000  # who are remembered; the one who has not asked for longest is forgotten
# Seconds before the answer that refuses a request: who does not heed Retry-After asks no faster than this, on
# each connection, and costs the others next to nothing.
HOLD = 1.0


class Rates:
    """For each holder, when the requests that were taken from its bucket will have been filled in again."""

    def __init__(
        self, per_second: float, burst: int, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """`clock` counts nanoseconds: whole numbers, of which a full bucket has exactly `burst` requests."""
        self._interval = round(1e9 / per_second)
        self._depth = burst * self._interval
        self._clock = clock
        self._full_at: dict[str, int] = {}

    def take(self, holder: str) -> float:
        """Takes one request. The seconds until there will be one, where there is none; else 0."""
        now = self._clock()
        full_at = max(self._full_at.pop(holder, now), now)
        wait = full_at + self._interval - now - self._depth
        # Last in the table is who has asked last.
        self._full_at[holder] = full_at if wait > 0 else full_at + self._interval
        if len(self._full_at) > MAX_HOLDERS:
            del self._full_at[next(iter(self._full_at))]
        return max(0, wait) / 1e9


def of_users(rates: Rates) -> Middleware:
    """Counts the requests of whoever is known; to be put behind who-is-it. What fails counts, too."""

    @web.middleware
    async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if wait := rates.take(f"user {request[PRINCIPAL].user}"):
            return await _refuse(wait)
        return await handler(request)

    return bounded


def of_the_refused(rates: Rates) -> Middleware:
    """Counts refusals of a certificate, apart from its user's requests; to be put before who-is-it."""

    @web.middleware
    async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except AgentError as error:
            if error.problem is not Problem.CERTIFICATE_REFUSED:
                raise
            certificate = request.get_extra_info("peercert") or {}
            if wait := rates.take(f"certificate {certificate.get('serialNumber')}"):
                return await _refuse(wait)
            raise

    return bounded


async def _refuse(wait: float) -> web.Response:
    await asyncio.sleep(HOLD)
    seconds = str(max(1, math.ceil(wait)))
    return respond(
        AgentError(
            Problem.TOO_MANY_REQUESTS,
            "You ask more often than you may.",
            f"Ask again in {seconds} s, and follow events rather than poll.",
        ),
        {"Retry-After": seconds},
    )
