"""The only way out for a job behind it: a proxy that connects to what the site allows, and to nothing else.

The network of such a job is empty. Its launcher forwards a port of the job's own loopback to the proxy's
socket, and programs find the port in HTTPS_PROXY. TLS goes through end to end. The proxy resolves names
itself, and connects only to addresses of the public Internet and to those that the site names.
"""

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus

from ..config import EgressSettings
from .peer import NO_JOB, job_of
from .policy import Policy
from .relay import bound_buffers, relay, wait_until_read
from .remote import connect
from .request import MAX_HEAD, RefusedError, read_request

log = logging.getLogger("ml-agent")

MAX_PER_JOB = 64  # connections at a time
MAX_CONNECTIONS = 256  # of all jobs; MemoryMax= of the unit allows for what they can buffer
MAX_NOTED = 1000  # lines in the journal for one job
IDLE_SECONDS = 60.0  # without a connection, after which the proxy exits


class Proxy:
    """Serves the connections of one socket."""

    def __init__(self, policy: Policy, job_of: Callable[[socket.socket], str] = job_of) -> None:
        self._policy = policy
        self._job_of = job_of
        self._open: Counter[str] = Counter()
        self._noted: Counter[str] = Counter()

    @property
    def idle(self) -> bool:
        """Whether nobody is connected."""
        return not self._open.total()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection, from its request to its end."""
        connection = writer.get_extra_info("socket")
        bound_buffers(connection)
        writer.transport.set_write_buffer_limits(high=0)
        job = self._job_of(connection)
        self._open[job] += 1
        try:
            await self._answer(job, reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client has gone, or sends nothing
        finally:
            self._open -= Counter([job])
            writer.transport.abort()  # the kernel has everything that the job is still to get
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, job: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wanted = "?"
        try:
            self._check_room(job)
            host, port = await read_request(reader)
            wanted = f"{host}:{port}"
            remote = await connect(self._policy, host, port)
        except RefusedError as error:
            self._log(job, f"refused {wanted}: {error.why}")
            writer.write(error.response)
            await writer.drain()
            return
        async with remote as far:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            sent, received = await relay((reader, writer), far)
        self._log(job, f"{wanted}, {sent} bytes sent, {received} received")
        await wait_until_read(writer)

    def _check_room(self, job: str) -> None:
        """Raises `RefusedError` if the peer is in no job, or may not have another connection."""
        if job == NO_JOB:
            raise RefusedError(HTTPStatus.FORBIDDEN, "the client is not in a job, or has ended")
        if self._open[job] > MAX_PER_JOB:
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, f"a job may have {MAX_PER_JOB} connections")
        # A job may not have more connections than it leaves free, so that a few jobs cannot take all.
        if self._open[job] - 1 > MAX_CONNECTIONS - self._open.total():
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "all jobs together have too many connections")

    def _log(self, job: str, what: str) -> None:
        self._noted[job] += 1
        if self._noted[job] <= MAX_NOTED:
            log.info("job %s: %s", job, what)
        if self._noted[job] == MAX_NOTED:
            log.info("job %s: further connections are not logged", job)


async def serve(rules: EgressSettings, sockets: list[socket.socket], idle_seconds: float) -> None:
    """Serves the sockets until nobody has been connected for `idle_seconds`; systemd starts it again."""
    proxy = Proxy(Policy(rules))
    async with contextlib.AsyncExitStack() as stack:
        for each in sockets:
            # start_unix_server would delete the socket at the end, which belongs to systemd.
            await stack.enter_async_context(
                await asyncio.start_server(proxy.serve, sock=each, limit=MAX_HEAD)
            )
        looks = 0
        while looks < 10:
            await asyncio.sleep(idle_seconds / 10)
            looks = looks + 1 if proxy.idle else 0
