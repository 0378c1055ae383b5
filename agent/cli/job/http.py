"""Requests to the agent: checked, decoded, and repeated where that is safe.

A failed one is one sentence, and what helps, for the person who made it.
"""

import asyncio
import contextlib
import json
import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from ... import __version__
from ...errors import FieldError, Problem
from ...model.alias import NamedModelPage
from ...model.job import JobPage
from ...model.problem import ProblemDocument
from ...model.schedule import SchedulePage, ScheduleRunPage
from ...model.sweep import SweepPage, TrialPage
from ..failure import Failure, Refused, Unreachable, broken
from .profile import CHECK_SERVER, Profile

ModelT = TypeVar("ModelT", bound=BaseModel)
PageT = TypeVar("PageT", JobPage, SweepPage, TrialPage, SchedulePage, ScheduleRunPage, NamedModelPage)

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60  # without a byte; the agent may have to start, or to hash artifacts, before it answers
POST_ATTEMPTS = 5
PAGE_LENGTH = 100
FIRST_DELAY, LAST_DELAY = 0.2, 10.0  # seconds between attempts

RENEW = "Ask its administrator to renew it, and check this machine's clock."
RENAME = "Use a name that the certificate has; `ml-agent init --san NAME` on the host adds one."
UNTRUSTED_HINTS = {  # by X509_V_ERR_* of OpenSSL's x509_vfy.h
    9: RENEW,  # not yet valid
    10: RENEW,  # expired
    62: RENAME,  # host name mismatch
    64: RENAME,  # IP address mismatch
}


def backoff() -> Iterator[float]:
    """Seconds to wait: 0.2, 0.4, … 10, 10, …, randomly up to a quarter less, so that clients spread out."""
    delay = FIRST_DELAY
    while True:
        yield delay * random.uniform(0.75, 1)  # noqa: S311 (spreads load, guards nothing)
        delay = min(delay * 2, LAST_DELAY)


def decode(model: type[ModelT], value: object) -> ModelT:
    """A parsed JSON value as a model. Ignores members that only a newer agent knows."""
    try:
        return model.model_validate(value, extra="ignore")
    except ValidationError as exc:
        raise not_understood(model, exc) from exc


def parse(text: bytes) -> Any:
    """The JSON value of an answer or of an event."""
    try:
        return json.loads(text)
    except ValueError as exc:
        raise broken(f"The agent's answer is not JSON: {exc}.", CHECK_SERVER) from exc


class Api:
    """One agent, as one user: an async context manager that owns the connections."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._tls = profile.tls_context()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls),
            # Sizes and digests of artifacts are those of the bytes without compression.
            headers={"User-Agent": f"ml-job/{__version__}", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def open(
        self,
        path: str,
        *,
        method: str = "GET",
        params: Mapping[str, str] | None = None,
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
        body: object = None,
        data: bytes | None = None,
        silence: float = ANSWER_SECONDS,
        middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful response whose body is still unread. `path` is percent-encoded and starts with `/`.

        Sends `body` as JSON, or `data` as it is. Raises Refused for an error status, and Unreachable if the
        connection cannot be made, breaks (also while the block reads the body), or brings no byte for
        `silence` seconds.
        """
        assert self._session is not None, "Api is used as an async context manager"
        try:
            async with self._session.request(
                method,
                URL(f"{self.profile.server}{path}", encoded=True),
                params=params,
                headers={"Accept": f"{accept}, application/problem+json", **(headers or {})},
                json=body,
                data=data,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence),
                allow_redirects=False,
                middlewares=middlewares,
            ) as response:
                if response.status >= 300:
                    raise refused(response, await response.read())
                yield response
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as exc:
            raise unreachable(self.profile, exc) from exc

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """The JSON value at `path`."""
        async with self.open(path, params=params) as response:
            return parse(await response.read())

    async def post(
        self,
        path: str,
        body: object = None,
        *,
        data: bytes | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        done: tuple[Problem, ...] = (),
    ) -> Any:
        """The JSON answer to a POST, PUT or DELETE that is safe to repeat, by its nature or by its `key`.

        A broken connection leaves open whether the agent took the request, so it is sent again; a first
        attempt that cannot connect fails at once. `done` is how the agent refuses a repeated request after
        it took an earlier one, whose answer was lost: the result is then None.
        """
        headers = {**(headers or {}), **({} if key is None else {"Idempotency-Key": key})}
        if body is None and data is None:
            body = {}  # the agent demands a media type that no form sends
        sent = 0

        async def count(
            request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            # aiohttp itself may repeat a PUT or DELETE once.
            nonlocal sent
            sent += 1
            return await send(request)

        delays = backoff()
        for attempt in range(1, POST_ATTEMPTS + 1):
            try:
                async with self.open(
                    path, method=method, body=body, data=data, headers=headers, middlewares=[count]
                ) as response:
                    return parse(await response.read())
            except Refused as exc:
                if sent == 1 or exc.code not in done:
                    raise
                return None
            except Unreachable as exc:
                not_connected = isinstance(exc.__cause__, aiohttp.ClientConnectorError)
                if not exc.passing or attempt == POST_ATTEMPTS or (sent == 1 and not_connected):
                    raise
            await asyncio.sleep(next(delays))
        raise AssertionError("the last attempt returns or raises")

    def jobs(self, filters: Mapping[str, str], *, limit: int | None) -> AsyncIterator[Any]:
        """Jobs as the agent gives them, newest first, over all pages; at most `limit` (None: all)."""
        return self.listed("/jobs", "jobs", JobPage, filters, limit=limit)

    async def listed(
        self,
        path: str,
        member: str,
        model: type[PageT],
        filters: Mapping[str, str],
        *,
        limit: int | None,
        length: int = PAGE_LENGTH,
        seen: Callable[[PageT], None] = lambda _: None,
    ) -> AsyncIterator[Any]:
        """The values in `member` of each page of a list, which is a `model`; at most `limit` (None: all).

        `length` is how many values a page has at most. `seen` is called with each page.
        """
        cursor: dict[str, str] = {}
        left = limit
        while left is None or left > 0:
            asked = length if left is None else min(left, length)
            value = await self.get(path, {**filters, **cursor, "limit": str(asked)})
            page = decode(model, value)
            seen(page)
            for each in value[member][:asked]:
                yield each
            if page.next_cursor is None:
                return
            cursor = {"cursor": page.next_cursor}
            left = None if left is None else left - len(value[member])


def unreachable(profile: Profile, exc: Exception) -> Unreachable:
    """Why no answer came, by the exception of the HTTP library."""
    server = profile.server
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            return _untrusted(profile, exc.certificate_error)
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(
                f"The host name of {server} is unknown: {exc.os_error.strerror}.", CHECK_SERVER
            )
        case aiohttp.ClientConnectorSSLError():
            return Unreachable(f"{server} does not speak TLS 1.3.", CHECK_SERVER, passing=False)
        case aiohttp.ClientConnectorError():
            return Unreachable(
                f"Cannot connect to {server}: {exc.os_error.strerror or exc.os_error}.",
                "On its host, `systemctl --user status ml-agent.socket` shows whether it listens.",
            )
        case TimeoutError():
            return Unreachable(
                f"{server} did not answer in time.",
                "Where the agent cannot start, `ml-agent doctor` on its host says why.",
            )
    # In TLS 1.3 a server refuses the client's certificate after the client has finished its handshake, and
    # asyncio drops the alert that says so: the refusal looks like any lost connection.
    flaw = profile.certificate_flaw()
    if flaw:
        return Unreachable(
            f"{server} closed the connection, and {profile.certificate} {flaw}.",
            f"Ask its administrator for a new one (`ml-agent issue {profile.identity}`).",
            passing=False,
        )
    reason = f": {exc.strerror}" if isinstance(exc, OSError) and exc.strerror else ""
    return Unreachable(f"The connection to {server} was lost{reason}.")


def _untrusted(profile: Profile, error: Exception) -> Unreachable:
    reason = str(error)
    hint = f"Ask its administrator for the current ca.crt, and save it as {profile.authority}."
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")  # which ends some of OpenSSL's messages
        hint = UNTRUSTED_HINTS.get(error.verify_code, hint)
    return Unreachable(f"The certificate of {profile.server} is not trusted: {reason}.", hint, passing=False)


def refused(response: aiohttp.ClientResponse, body: bytes) -> Refused:
    """An error answer: its problem document, or its status if it has none."""
    try:
        failure = problem(ProblemDocument.model_validate_json(body, extra="ignore"))
    except ValidationError:
        failure = Refused(
            f"{response.url.origin()} answered {response.status} {response.reason} without a reason.",
            "Check that --server is the address of an ml-agent.",
            status=response.status,
        )
    seconds = response.headers.get("Retry-After", "")
    if seconds.isascii() and seconds.isdecimal():
        failure.retry_after = float(seconds)
    return failure


def problem(document: ProblemDocument) -> Refused:
    """An RFC 9457 document, from an answer or from an event stream."""
    return Refused(
        document.detail,
        document.hint or "",
        fields=tuple(FieldError(error.field, error.message) for error in document.errors),
        status=document.status,
        code=document.type.rpartition(":")[2],
    )


def not_understood(model: type[BaseModel], exc: ValidationError) -> Failure:
    """An answer that is not a `model`, even though unknown members are ignored."""
    first = exc.errors(include_url=False, include_input=False)[0]
    place = ".".join([model.__name__, *(str(part) for part in first["loc"])])
    return broken(
        f"The agent's answer was not understood ({place}: {first['msg']}).",
        f"The agent may be newer than this ml-job, which is {__version__}: upgrade ml-job.",
    )
