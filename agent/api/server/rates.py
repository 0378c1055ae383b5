"""Shares of the event loop: for each user so many requests a second, and few at a time."""

import asyncio
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ...errors import AgentError, Problem
from .identity import PRINCIPAL
from .problems import respond
from .requests import READ

MAX_BUCKETS = 10_000  # that are remembered; the one that was used longest ago is forgotten first
# A refusal is delayed: a client that ignores Retry-After sends no more than one request in this time on each
# connection, and costs the others next to nothing. Refusals of one moment are sent at different ones, so that
# a client with many connections does not send on all of them at once, again and again.
REFUSAL_DELAY = 1.0  # seconds, up to twice as many
# What a request takes of the rate: one for each part of it of this size, and more where Podman or systemd
# work on it. A new schedule has systemd-analyze read a calendar, and systemd read its units again.
PART = 1024  # bytes
COSTS = {
    ("PUT", "/secrets/{name}"): 100,
    ("DELETE", "/secrets/{name}"): 100,
    ("POST", "/schedules"): 50,
    ("POST", "/schedules/preview"): 25,
    ("POST", "/schedules/{schedule_id}/pause"): 25,
    ("POST", "/schedules/{schedule_id}/resume"): 25,
    ("DELETE", "/schedules/{schedule_id}"): 25,
}
# And what its answer takes, once that is made: one for each part of this size. Downloads and streams do not
# count: the client's connection bounds them.
ANSWER_PART = 32 * 1024  # bytes
# What is large delays everybody by more than its share: a body is parsed in one piece, and a list takes many
# rounds of the event loop. So each part beyond these sizes takes so many more, once it is there.
LARGE_BODY = 16 * 1024  # bytes
LARGE_ANSWER = 256 * 1024  # bytes
SURCHARGE = 8
ENROLMENTS_PER_SECOND = 1.0  # of everybody without a certificate, and so many at once
ENROLMENT_BURST = 10
# Requests of a user that the event loop works on by turns with those of others; the user's others wait.
AT_A_TIME = 2
LONGEST_TURN = 0.25  # seconds; a request that takes longer waits for something else than the event loop


class Rates:
    """Token buckets. For each one, this keeps the time at which it will be full again."""

    def __init__(
        self, per_second: float, burst: int, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """`clock` counts nanoseconds: in whole numbers, a full bucket has exactly `burst` requests."""
        self._interval = round(1e9 / per_second)
        self._burst = burst
        self._clock = clock
        self._full_at: dict[str, int] = {}

    def take(self, bucket: str, requests: int = 1) -> float:
        """Takes requests from a bucket, at most all of it; returns 0, or the seconds until it has so many."""
        now = self._clock()
        full_at = max(self._full_at.pop(bucket, now), now)
        taken = min(requests, self._burst) * self._interval
        wait = full_at + taken - now - self._burst * self._interval
        self._keep(bucket, full_at if wait > 0 else full_at + taken)
        return max(0, wait) / 1e9

    def charge(self, bucket: str, requests: int) -> None:
        """Takes what has been had already: a bucket that has less is empty for longer."""
        now = self._clock()
        self._keep(bucket, max(self._full_at.pop(bucket, now), now) + requests * self._interval)

    def _keep(self, bucket: str, full_at: int) -> None:
        # The bucket that was used last is last in the table.
        self._full_at[bucket] = full_at
        if len(self._full_at) > MAX_BUCKETS:
            del self._full_at[next(iter(self._full_at))]


# A request's place among those that the event loop works on. Closing it, once, gives it to the user's next.
TURN = web.RequestKey("turn", ExitStack)
# Bytes that a handler has written of an answer that counts.
WRITTEN = web.RequestKey("written", int)


def limit_users(rates: Rates, max_body_bytes: int) -> Middleware:
    """Limits the requests of each user. Put it behind the identity. Failed requests count too.

    A body of unknown length counts as the largest. All clients without a certificate share one bucket.
    """
    enrolments = Rates(ENROLMENTS_PER_SECOND, ENROLMENT_BURST)

    @web.middleware
    async def limited(request: web.Request, handler: Handler) -> web.StreamResponse:
        principal = request.get(PRINCIPAL)
        requests = _requests(request, max_body_bytes)
        bucket = f"user {principal.user}" if principal else ""
        wait = rates.take(bucket, requests) if principal else enrolments.take("")
        if wait:
            return await _refuse(request, wait)
        response: web.StreamResponse | None = None
        try:
            response = await handler(request)
        finally:
            if bucket and (afterwards := _afterwards(request, response)):
                rates.charge(bucket, afterwards)
        return response

    return limited


def _afterwards(request: web.Request, response: web.StreamResponse | None) -> int:
    """For how many requests it counts besides, now that its body and its answer are known."""
    body: int = request.get(READ, 0)
    answered = _answered(request, response)
    large = max(0, body - LARGE_BODY) // PART + max(0, answered - LARGE_ANSWER) // ANSWER_PART
    return answered // ANSWER_PART + SURCHARGE * large


def _answered(request: web.Request, response: web.StreamResponse | None) -> int:
    """The bytes of an answer that count."""
    body = response.body if isinstance(response, web.Response) else None
    written: int = request.get(WRITTEN, 0)
    return written + (len(body) if isinstance(body, bytes) else 0)


def _requests(request: web.Request, max_body_bytes: int) -> int:
    """For how many requests one counts. A large one costs more, and so it takes more of the rate."""
    head = len(request.raw_path) + sum(len(name) + len(value) for name, value in request.raw_headers)
    body = max_body_bytes if request.content_length is None and request.can_read_body else 0
    size = head + min(request.content_length or body, max_body_bytes)
    resource = request.match_info.route.resource
    call = request.method, resource.canonical if resource else ""
    return COSTS.get(call, 1) + size // PART


def limit_refused_certificates(rates: Rates) -> Middleware:
    """Limits the requests under each refused certificate. Put it before the identity."""

    @web.middleware
    async def limited(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except AgentError as error:
            if error.problem is not Problem.CERTIFICATE_REFUSED:
                raise
            certificate = request.get_extra_info("peercert") or {}
            if wait := rates.take(f"certificate {certificate.get('serialNumber')}"):
                return await _refuse(request, wait)
            raise

    return limited


def take_turns() -> Middleware:
    """Handles few requests of a user at a time: many of them at once would delay everybody's.

    Put it behind the identity and before all that takes time.
    """
    of_user = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(AT_A_TIME))

    @web.middleware
    async def in_turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        principal = request.get(PRINCIPAL)
        slots = of_user[principal.user if principal else ""]
        await slots.acquire()
        request[TURN] = turn = ExitStack()
        turn.callback(slots.release)
        early = asyncio.get_running_loop().call_later(LONGEST_TURN, turn.close)
        try:
            return await handler(request)
        finally:
            early.cancel()
            turn.close()

    return in_turn


async def end_turn(request: web.Request, _: web.StreamResponse | None = None) -> None:
    """Ends the turn of a request when its answer begins; a signal handler for `on_response_prepare`."""
    if turn := request.get(TURN):
        turn.close()


async def _refuse(request: web.Request, wait: float) -> web.Response:
    await end_turn(request)
    await asyncio.sleep(random.uniform(REFUSAL_DELAY, 2 * REFUSAL_DELAY))  # noqa: S311 (not a secret)
    seconds = str(max(1, math.ceil(wait)))
    return respond(
        AgentError(
            Problem.TOO_MANY_REQUESTS,
            "Rate limit exceeded.",
            f"Try again in {seconds} s. Follow events instead of polling.",
        ),
        {"Retry-After": seconds},
    )
