"""The only way out for a job behind it: a proxy that connects to what the site allows, and to nothing else.

The network of such a job is empty. Its launcher forwards a port of the job's own loopback to the proxy's
socket, and programs find the port in HTTPS_PROXY. TLS goes through end to end. The proxy resolves names
itself, and connects only to addresses of the public Internet and to those that the site names.
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import re
import select
import socket
import struct
import termios
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from ..config import EgressSettings
from ..host.sockets import break_off
from ..log import log
from .policy import Address, Policy, embedded

MAX_PER_JOB = 64  # connections at a time
MAX_CONNECTIONS = 256  # of all jobs; MemoryMax= of the unit allows for what they can buffer
MAX_NOTED = 1000  # lines in the journal for one job
IDLE_SECONDS = 60.0  # without a connection, after which the proxy exits

MAX_HEAD = 8192  # bytes of a request
HEAD_TIMEOUT = 10.0  # seconds

NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*")
REQUEST = re.compile(rb"CONNECT ([!-~]{1,300}):([0-9]{1,5}) HTTP/1\.[01]\r?\n")

CONNECT_TIMEOUT = 10.0  # seconds, for each address
MAX_ADDRESSES = 4  # of a name that are tried
READ_LIMIT = 1 << 14  # bytes; asyncio holds twice that, and the 256 KiB that it reads at once

End = tuple[asyncio.StreamReader, asyncio.StreamWriter]

SOCKET_BUFFER = 128 << 10  # bytes that the kernel may hold in each direction; it allows itself twice that
LINGER = 60.0  # seconds for the other direction after the end of one, or for both after the end of the job
LOOK = 1.0  # seconds between two looks whether the job has ended
CHUNK = 1 << 16  # bytes

JOBS_CGROUP = re.compile(r"/ml-job@([a-z2-7]{12})\.service(/|$)", re.MULTILINE)
NO_JOB = "-"


def job_of(connection: socket.socket) -> str:
    """The id of the peer's job, or `NO_JOB`. The cgroup tells, which a job cannot leave."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    try:
        cgroup = Path(f"/proc/{struct.unpack('3i', credentials)[0]}/cgroup").read_text("utf-8")
    except OSError:
        return NO_JOB  # the process that connected has ended, and left the connection to another one
    match = JOBS_CGROUP.search(cgroup)
    return match[1] if match else NO_JOB


@dataclass(frozen=True)
class RefusedError(Exception):
    """The request is refused, and the client is told why."""

    status: HTTPStatus
    why: str

    @property
    def response(self) -> bytes:
        """The whole HTTP response."""
        body = f"ml-egress: {self.why}\n"
        return (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        ).encode("ascii")


async def read_request(reader: asyncio.StreamReader) -> tuple[str, int]:
    """The host, in lower case, and the port of a `CONNECT host:port` (RFC 9110, section 9.3.6).

    The reader's limit must be `MAX_HEAD`.

    Raises `RefusedError`, `TimeoutError`, and `IncompleteReadError` if the client ends the connection.
    """
    try:
        async with asyncio.timeout(HEAD_TIMEOUT):
            line = await reader.readuntil(b"\n")
            head = line
            while head[-4:] != b"\r\n\r\n" and head[-2:] != b"\n\n":
                head += await reader.readuntil(b"\n")
                if len(head) > MAX_HEAD:
                    raise _too_long()
    except asyncio.LimitOverrunError as error:
        raise _too_long() from error
    match = REQUEST.fullmatch(line)
    if match is None:
        raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "only CONNECT is served, which HTTPS uses")
    host = match[1].decode("ascii").lower().removesuffix(".")
    if not NAME.fullmatch(host):
        raise RefusedError(HTTPStatus.FORBIDDEN, "the host is not a valid name")
    return host, int(match[2])


def _too_long() -> RefusedError:
    return RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long")


async def connect(policy: Policy, host: str, port: int) -> contextlib.AbstractAsyncContextManager[End]:
    """A connection to the first address of a host that the policy permits and that answers.

    Raises `RefusedError`.
    """
    if not policy.allows(host, port):
        raise RefusedError(HTTPStatus.FORBIDDEN, "it is not on the list")
    addresses = [each for each in await _resolve(host, port) if policy.permits(each)]
    if not addresses:
        raise RefusedError(HTTPStatus.FORBIDDEN, "it has no address on the Internet")
    addresses = [each for each in addresses if not is_own(each) or policy.names_exactly(each)]
    if not addresses:
        raise RefusedError(HTTPStatus.FORBIDDEN, "it is the host itself")
    for address in addresses[:MAX_ADDRESSES]:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return _closing(await open_connection(address, port))
    raise RefusedError(HTTPStatus.BAD_GATEWAY, "it does not answer")


def is_own(address: Address) -> bool:
    """Whether an address, or the IPv4 address embedded in it, is the host's own: only those can be bound."""
    for each in {address, embedded(address)}:
        family = socket.AF_INET if each.version == 4 else socket.AF_INET6
        with contextlib.suppress(OSError), socket.socket(family) as own:
            own.bind((str(each), 0))
            return True
    return False


async def open_connection(address: Address, port: int) -> End:
    """A connection whose buffers are bounded. Raises `OSError`."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    # Without the protocol's number, asyncio would not set TCP_NODELAY.
    remote = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        remote.setblocking(False)
        bound_buffers(remote)  # before the connection is made, which negotiates the window scale
        await asyncio.get_running_loop().sock_connect(remote, (str(address), port))
        reader, writer = await asyncio.open_connection(sock=remote, limit=READ_LIMIT)
    except BaseException:
        remote.close()
        raise
    writer.transport.set_write_buffer_limits(high=0)
    return reader, writer


async def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise RefusedError(HTTPStatus.BAD_GATEWAY, "its name is not known") from error
    return [ipaddress.ip_address(address[0]) for *_, address in found]


@contextlib.asynccontextmanager
async def _closing(end: End) -> AsyncIterator[End]:
    try:
        yield end
    finally:
        end[1].transport.abort()  # waits for no peer that does not read
        with contextlib.suppress(OSError):
            await end[1].wait_closed()


def bound_buffers(connection: socket.socket) -> None:
    """Bounds the kernel's buffers: they can grow to megabytes, which count as the proxy's memory."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)


async def relay(near: End, far: End) -> tuple[int, int]:
    """Carries bytes until both ends have closed; returns how many went out, and how many came back.

    It ends at most `LINGER` seconds after one direction, or the near end, has ended. The far connection is
    then reset, so that the kernel keeps nothing of it.
    """
    out = asyncio.create_task(_carry(near[0], far[1]))
    back = asyncio.create_task(_carry(far[0], near[1]))
    ended: set[asyncio.Task[int]] = set()
    try:
        # While the far end does not read, nothing is read from the near end, and its end goes unnoticed.
        while not ended and not _has_gone(near[1]):
            ended, _ = await asyncio.wait((out, back), timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
        _, unended = await asyncio.wait((out, back), timeout=LINGER)
        if unended and not far[1].is_closing():
            break_off(far[1].transport)
    finally:
        for task in (out, back):
            task.cancel()
    return await out, await back


async def wait_until_read(writer: asyncio.StreamWriter) -> None:
    """Waits until the other end of a Unix socket has read everything, or has closed it.

    Until then the kernel counts the bytes as this process's memory.
    """
    while not writer.is_closing() and _unread(writer):  # noqa: ASYNC110
        await asyncio.sleep(LOOK)


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
    """Whether the other end is closed for reading and writing, which poll(2) always reports."""
    if writer.is_closing():
        return True
    hangup = select.poll()
    hangup.register(writer.get_extra_info("socket"), 0)
    return bool(hangup.poll(0))


def _unread(writer: asyncio.StreamWriter) -> int:
    """Bytes in a Unix socket that its other end has not read yet."""
    size = fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", size)[0])


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
