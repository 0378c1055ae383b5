"""The only way out for a job behind it: a proxy that connects to what the site allows, and to nothing else.

Such a job's network has nothing in it. Its launcher forwards a port of the job's own loopback to this
proxy's socket, and HTTPS_PROXY tells programs of that port. A client says `CONNECT host:port` (RFC 9110,
section 9.3.6), and what goes through is its TLS, end to end. Names are resolved here, and only addresses of
the public Internet are connected to, unless the site names others.
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import re
import select
import socket
import struct
import termios
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

from ..config import EgressSettings
from ..host.sockets import break_off
from .policy import Address, Policy, RefusedError, _is_the_hosts

log = logging.getLogger("ml-agent")

MAX_HEAD = 8192  # bytes of a request
HEAD_TIMEOUT = 10.0  # seconds
CONNECT_TIMEOUT = 10.0  # seconds, for each address
MAX_ADDRESSES = 4  # of a name that are tried
MAX_PER_JOB = 64  # connections at a time
MAX_CONNECTIONS = 256  # of all jobs; what they can make it hold fits MemoryMax= of its unit, which says how
SOCKET_BUFFER = 128 << 10  # bytes that the kernel holds each way; it allows itself twice that
MAX_NOTED = 1000  # lines in the journal for one job
LINGER = 60.0  # seconds for the other direction once one has ended, or for both once the job has
LOOK = 1.0  # seconds between looks whether it has
CHUNK = 1 << 16  # bytes
FAR_LIMIT = 1 << 14  # bytes; asyncio holds twice that, and 256 KiB that it reads at once
IDLE_SECONDS = 60.0  # without a connection, until it leaves

NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*")
REQUEST = re.compile(rb"CONNECT ([!-~]{1,300}):([0-9]{1,5}) HTTP/1\.[01]\r?\n")
JOBS_CGROUP = re.compile(r"/ml-job@([a-z2-7]{12})\.service(/|$)", re.MULTILINE)

NO_JOB = "-"


class Proxy:
    """Serves the connections of one socket."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._open: Counter[str] = Counter()
        self._noted: Counter[str] = Counter()

    @property
    def idle(self) -> bool:
        """Whether nobody is connected."""
        return not self._open.total()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its request to its end."""
        _bound(writer.get_extra_info("socket"))
        writer.transport.set_write_buffer_limits(high=0)
        job = _job_of(writer.get_extra_info("socket"))
        self._open[job] += 1
        try:
            await self._answer(job, reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client is gone, or says nothing
        finally:
            self._open -= Counter([job])
            writer.transport.abort()  # what the job was to get, the kernel has
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, job: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wanted = "?"
        try:
            if job == NO_JOB:
                raise RefusedError(HTTPStatus.FORBIDDEN, "whoever connected is in no job, or has ended")
            if self._open[job] > MAX_PER_JOB:
                raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, f"a job has {MAX_PER_JOB} connections")
            # None has more than it leaves free, so that a few cannot take them all.
            if self._open[job] - 1 > MAX_CONNECTIONS - self._open.total():
                raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "all jobs together have too many")
            host, port = await _request(reader)
            wanted = f"{host}:{port}"
            remote = await self._connect(host, port)
        except RefusedError as error:
            self._note(job, f"refused {wanted}: {error.why}")
            writer.write(_refusal(error))
            await writer.drain()
            return
        async with remote as (remote_reader, remote_writer):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            sent, received = await _both_ways((reader, writer), (remote_reader, remote_writer))
        self._note(job, f"{wanted}, {sent} bytes sent, {received} received")
        # Until the job reads it, it is the proxy's memory, and the connection counts.
        while not writer.is_closing() and _unread(writer):  # noqa: ASYNC110
            await asyncio.sleep(LOOK)

    def _note(self, job: str, what: str) -> None:
        self._noted[job] += 1
        if self._noted[job] <= MAX_NOTED:
            log.info("job %s: %s", job, what)
        if self._noted[job] == MAX_NOTED:
            log.info("job %s: nothing further is noted", job)

    async def _connect(
        self, host: str, port: int
    ) -> contextlib.AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if not self._policy.allows(host, port):
            raise RefusedError(HTTPStatus.FORBIDDEN, "it is not on the list")
        addresses = [each for each in await _resolve(host, port) if self._policy.leads_to(each)]
        if not addresses:
            raise RefusedError(HTTPStatus.FORBIDDEN, "it has no address on the Internet")
        addresses = [each for each in addresses if not _is_the_hosts(each) or self._policy.names(each)]
        if not addresses:
            raise RefusedError(HTTPStatus.FORBIDDEN, "it is the host itself")
        for address in addresses[:MAX_ADDRESSES]:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    return _closing(*await _open(address, port))
        raise RefusedError(HTTPStatus.BAD_GATEWAY, "it does not answer")


async def _request(reader: asyncio.StreamReader) -> tuple[str, int]:
    try:
        async with asyncio.timeout(HEAD_TIMEOUT):
            line = await reader.readuntil(b"\n")
            head = line
            while head[-4:] != b"\r\n\r\n" and head[-2:] != b"\n\n":
                head += await reader.readuntil(b"\n")
                if len(head) > MAX_HEAD:
                    raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "its request is too long")
    except asyncio.LimitOverrunError as error:
        raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "its request is too long") from error
    match = REQUEST.fullmatch(line)
    if match is None:
        raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "only CONNECT is served, which HTTPS uses")
    host = match[1].decode("ascii").lower().removesuffix(".")
    if not NAME.fullmatch(host):
        raise RefusedError(HTTPStatus.FORBIDDEN, "its host is no name")
    return host, int(match[2])


async def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise RefusedError(HTTPStatus.BAD_GATEWAY, "its name is not known") from error
    return [ipaddress.ip_address(address[0]) for *_, address in found]


async def _open(address: Address, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    # With the protocol's number, without which asyncio does not set TCP_NODELAY.
    remote = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        remote.setblocking(False)
        _bound(remote)  # before it is connected: the window's scale is agreed on then
        await asyncio.get_running_loop().sock_connect(remote, (str(address), port))
        reader, writer = await asyncio.open_connection(sock=remote, limit=FAR_LIMIT)
    except BaseException:
        remote.close()
        raise
    writer.transport.set_write_buffer_limits(high=0)
    return reader, writer


def _bound(connection: socket.socket) -> None:
    """Sets what the kernel holds: left to itself it goes to megabytes, which are the proxy's memory."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)


@contextlib.asynccontextmanager
async def _closing(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # it does not wait for who does not read
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _both_ways(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> tuple[int, int]:
    """Carries bytes until both ends have said that there is no more; how many there were each way.

    It takes no longer than LINGER after the end of one direction, or of the job. What is not at its end then
    is broken off with a reset, so that nothing of it is left in the kernel.
    """
    out = asyncio.create_task(_carry(near[0], far[1]))
    back = asyncio.create_task(_carry(far[0], near[1]))
    ended: set[asyncio.Task[int]] = set()
    try:
        # Where the far end does not read, nothing is read from the near end, and its close would go unseen.
        while not ended and not _has_gone(near[1]):
            ended, _ = await asyncio.wait((out, back), timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
        _, unended = await asyncio.wait((out, back), timeout=LINGER)
        if unended and not far[1].is_closing():
            break_off(far[1].transport)
    finally:
        for task in (out, back):
            task.cancel()
    return await out, await back


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    count = 0
    with contextlib.suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(CHUNK):
            count += len(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    return count


def _has_gone(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end is closed, and not for writing alone; poll(2) tells that unasked."""
    if writer.is_closing():
        return True
    hangup = select.poll()
    hangup.register(writer.get_extra_info("socket"), 0)
    return bool(hangup.poll(0))


def _unread(writer: asyncio.StreamWriter) -> int:
    """Bytes of memory that wait in a Unix socket until its other end reads them, or is closed."""
    size = fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", size)[0])


def _job_of(connection: socket.socket) -> str:
    """Whose process is at the other end, by its cgroup, which a job cannot leave; or NO_JOB."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    try:
        cgroup = Path(f"/proc/{struct.unpack('3i', credentials)[0]}/cgroup").read_text("utf-8")
    except OSError:
        return NO_JOB  # it connected for somebody else, and has ended
    match = JOBS_CGROUP.search(cgroup)
    return match[1] if match else NO_JOB


def _refusal(error: RefusedError) -> bytes:
    body = f"ml-egress: {error.why}\n"
    return (
        f"HTTP/1.1 {error.status.value} {error.status.phrase}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode("ascii")


async def serve(rules: EgressSettings, sockets: list[socket.socket], idle_seconds: float) -> None:
    """Serves the sockets until nobody has been connected for so long; systemd starts it again."""
    proxy = Proxy(Policy(rules))
    async with contextlib.AsyncExitStack() as stack:
        for each in sockets:
            # Not start_unix_server, which deletes the socket when it ends: it is systemd's.
            await stack.enter_async_context(
                await asyncio.start_server(proxy.serve, sock=each, limit=MAX_HEAD)
            )
        looks = 0
        while looks < 10:
            await asyncio.sleep(idle_seconds / 10)
            looks = looks + 1 if proxy.idle else 0
