"""The hosts of the fleet, and what a front asks of their agents on behalf of users."""

import asyncio
import contextlib
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
from yarl import URL

from ...audit.chain import Caller
from ...backend import ASKING
from ...errors import AgentError, Problem
from ...model.base import format_time, now
from ...model.fleet import host_server_name
from ..entries import HostRow
from ..host_agent import STREAM_SILENCE, TIMEOUT, problem_of
from ..record import Record
from .documents import moment

log = logging.getLogger("ml-fleet")

HEARD = 5.0  # seconds for which a host that has answered counts as there
KNOWN = 1.0  # seconds for which the list of hosts is not read again
SILENCE = 10.0  # seconds without a word of its member, after which a host is silent
CONNECT = 3.0  # seconds for a connection
MAX_ANSWER = 16 * 2**20  # bytes of an answer in JSON: a list of scripts, or what a job has reported
READ = 2**16  # bytes of an answer that wait for the client, at most twice as many
ON_BEHALF_OF = "On-Behalf-Of"
# What fails where an agent is away, or answers what is no answer.
FAILURES = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
TRY_LATER = "Its jobs and what they left are kept: try again when the host is back."


class Hosts:
    """Asks the agents of hosts. Every method raises `AgentError`: the agent's own, or host if it is away."""

    def __init__(self, session: aiohttp.ClientSession, record: Record) -> None:
        self._session = session
        self._record = record
        self._rows: dict[str, HostRow] = {}
        self._read_at = 0.0  # by the clock of Redis
        self._known_until = 0.0
        self._reading = asyncio.Lock()
        self._away_since: dict[str, str] = {}  # by host, as this front sees it
        self._heard: dict[str, float] = {}  # when each host answered last

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, context: ssl.SSLContext, record: Record) -> AsyncIterator["Hosts"]:
        """Connects when it is asked, with the front's certificate in `context`."""
        # The front's own bounds on connections hold for these, too: each serves one request of a client.
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, read_bufsize=READ, auto_decompress=False
        ) as session:
            yield cls(session, record)

    async def rows(self) -> dict[str, HostRow]:
        """Every host by name, as of at most a second ago."""
        async with self._reading:
            if time.monotonic() >= self._known_until:
                self._read_at = await self._record.now()
                self._rows = {row.name: row for row in await self._record.hosts()}
                self._known_until = time.monotonic() + KNOWN
            return self._rows

    def is_silent(self, row: HostRow) -> bool:
        """Whether the record has heard nothing of the host lately."""
        return self._read_at - row.seen > SILENCE

    async def silent_since(self, host: str) -> str | None:
        """Since when nothing was heard of a host, as a time; None for a host that is there."""
        row = (await self.rows()).get(host)
        if row is None:
            return None
        if not row.belongs or self.is_silent(row):
            return format_time(moment(row.seen))
        return self._away_since.get(host)

    async def check(self, host: str, path: str) -> None:
        """Raises `AgentError` where a host is away, before an answer begins that could not say so."""
        if time.monotonic() > self._heard.get(host, 0.0) + HEARD:
            await self.ask(host, "GET", path)

    async def ask(
        self, host: str, method: str, path: str, *, body: Any = None, by: Caller | None = None
    ) -> Any:
        """The JSON that an agent answers."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=CONNECT)
        async with self.open(host, method, path, body=body, by=by, timeout=timeout) as response:
            with self.answered(host):
                return await _json(response)

    @contextlib.asynccontextmanager
    async def open(
        self,
        host: str,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: Any = None,
        by: Caller | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An agent's answer, unread. `by` is for whom this is asked, by default who asks at this moment."""
        row = (await self.rows()).get(host)
        if row is None or not row.belongs:
            raise await self.unreachable(host)
        caller = by or ASKING.get()
        headers = (headers or {}) | {
            ON_BEHALF_OF: f"{caller.actor} {caller.role} {caller.source or 'unknown'}"
        }
        with self.answered(host):
            response = await self._session.request(
                method,
                URL(row.report.url + path, encoded=True),
                json=body,
                headers=headers,
                server_hostname=host_server_name(host),
                allow_redirects=False,  # no host sends a front elsewhere
                timeout=timeout or aiohttp.ClientTimeout(sock_connect=CONNECT, sock_read=STREAM_SILENCE),
            )
        self._away_since.pop(host, None)
        self._heard[host] = time.monotonic()
        async with response:
            if response.status >= 400:
                with self.answered(host):
                    raise problem_of(await _json(response))
            yield response

    async def unreachable(self, host: str) -> AgentError:
        """What a client is told of a host that does not answer."""
        return _unreachable(host, await self.silent_since(host) or format_time(now()))

    @contextlib.contextmanager
    def answered(self, host: str) -> Iterator[None]:
        """What fails inside says that the host is away."""
        try:
            yield
        except FAILURES as error:
            log.info("host %s does not answer: %s", host, error or type(error).__name__)
            self._heard.pop(host, None)
            raise _unreachable(host, self._away_since.setdefault(host, format_time(now()))) from error


async def _json(response: aiohttp.ClientResponse) -> Any:
    """The body as JSON. Raises `ValueError` for one that is none, or is larger than an agent's."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise ValueError(f"its answer has more than {MAX_ANSWER} bytes")
    return json.loads(body)


def _unreachable(host: str, since: str) -> AgentError:
    return AgentError(Problem.HOST, f"Host {host} is unreachable since {since}.", TRY_LATER)
