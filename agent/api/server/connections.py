"""HTTP connections: how many there may be, and how long each may take to say something and to read."""

import asyncio
import contextlib
import logging
import socket
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from ...errors import AgentError, Problem
from ...host.sockets import break_off
from .bounds import HttpBounds
from .internals import RequestHandler
from .problems import SERVER, respond

log = logging.getLogger("ml-agent")

MAX_LINE = 8190  # bytes of a request line, and of a header with its name
MAX_HEADERS = 64
WRITE_BUFFER = 64 * 1024  # bytes of an answer that wait for a client, before its handler does
# Bytes of an answer that the kernel keeps besides, before they are on their way: without a bound, megabytes
# for a client that does not read. What is on its way, and so how fast an answer may be, is TCP's affair.
NOT_SENT = 64 * 1024
PROGRESS = 16 * 1024  # bytes that a client must have read of them to be taken for one that reads
GRACE = 2.0  # seconds that a client may take for a body or an answer before a new connection may oust it
LINGER_SECONDS = 5.0  # for what a client still sends of a body that was refused
# For a connection that is closed to send what is left in it. asyncio's own time for that is longer, and would
# leave to the kernel what nobody reads.
CLOSING_SECONDS = 10.0
LOOK_INTERVAL = 1.0  # seconds between two looks at all connections
FIRST_REQUEST_LOOK = 0.01  # seconds between two looks at whether all connections have sent a request


class Connection(RequestHandler):
    """One connection behind its handshake: aiohttp's own, which by itself only ends those that are idle."""

    def __init__(self, connections: "Connections", handshaken: Callable[[], None]) -> None:
        super().__init__(
            connections.server,
            auto_decompress=False,
            keepalive_timeout=connections.bounds.idle_seconds,
            lingering_time=LINGER_SECONDS,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
        )
        self.holder = ""
        self.refusal: AgentError | None = None
        self._clock = asyncio.get_running_loop().time
        self.last_request = self._clock()
        self._connections = connections
        self._handshaken = handshaken
        self._held: asyncio.Transport | None = None
        self._header_since: float | None = None
        self._body_since: float | None = None
        self._paused_since: float | None = None
        self._closing_since: float | None = None
        self._unread: tuple[float, int] | None = None

    @property
    def fresh(self) -> bool:
        """Whether no request has arrived whole so far."""
        return not self.request_count

    @property
    def waits(self) -> bool:
        """Whether it is open and has no request under way."""
        if self._held is None or self._held.is_closing():
            return False
        return self.awaits_request

    @property
    def stands_since(self) -> float | None:
        """Since when it has waited for its client: for a request, a body, or to be read. None: it has not."""
        if self.waits:
            return self.last_request
        since = self._body_since or self._paused_since
        if since is None or self._held is None or self._held.is_closing():
            return None
        return since if self._clock() - since >= GRACE else None

    @contextlib.contextmanager
    def awaiting_body(self) -> Iterator[None]:
        """While a request's body is waited for."""
        self._body_since = self._clock()
        try:
            yield
        finally:
            self._body_since = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        super().connection_made(transport)
        self._held = cast(asyncio.Transport, transport)
        self._held.set_write_buffer_limits(high=WRITE_BUFFER)
        self._held.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT)
        self.holder = _holder(self._held)
        self._handshaken()
        self._connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing of it is left."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Notes when a header begins, and that one has arrived whole."""
        before = self.request_count
        super().data_received(data)
        if self.request_count > before:
            self._header_since, self.last_request = None, self._clock()
        elif self.waits and self._header_since is None:
            self._header_since = self._clock()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._paused_since = self._clock()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._paused_since = self._unread = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, and to what failed outside of every handler."""
        if status >= 500:
            log.error("a request failed outside of its handler", exc_info=exc)
            error = AgentError(Problem.INTERNAL, "The agent failed to answer; its journal says why.")
        else:
            error = _malformed()
        if request.writer.output_size > 0:
            raise ConnectionResetError("an answer has begun already")
        return _last(respond(error))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Sends an answer. What aiohttp refuses before it asks the application (Expect) is a problem, too."""
        if isinstance(resp, web.HTTPException):
            error = AgentError(Problem.MALFORMED_REQUEST, f"The request is refused: {resp.reason}.")
            resp = _last(respond(error))
        return await super().finish_response(request, resp, start_time)

    async def start(self) -> None:
        """Answers requests until the connection ends."""
        try:
            await super().start()
        except asyncio.CancelledError as error:
            # The frames that it has passed keep the request's task, which keeps it and all that was at hand.
            traceback.clear_frames(error.__traceback__)
            raise

    def look(self, now: float) -> None:
        """Ends what has taken too long."""
        if self._held is None:
            return
        if self._held.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since >= CLOSING_SECONDS:
                break_off(self._held)
        elif self.writing_paused:
            self._look_at_reader(now, self._held)
        elif self.waits and now - (self._header_since or now) >= self._connections.bounds.header_seconds:
            self._give_up_on_header(self._held)

    def drop(self) -> None:
        """Ends it at once."""
        self._connections.remove(self)
        break_off(self._held)

    def _look_at_reader(self, now: float, transport: asyncio.Transport) -> None:
        left = transport.get_write_buffer_size()
        since, before = self._unread or (now, left)
        if left <= before - PROGRESS:
            since, before = now, left
        self._unread = since, before
        if now - since >= self._connections.bounds.unread_seconds:
            break_off(transport)

    def _give_up_on_header(self, transport: asyncio.Transport) -> None:
        seconds = self._connections.bounds.header_seconds
        error = AgentError(
            Problem.REQUEST_TIMEOUT,
            f"The request's header was not complete within {seconds:g} seconds.",
            "Send the request anew, in one piece.",
        )
        answer = _last(respond(error))
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        body = cast(bytes, answer.body)
        start = f"HTTP/1.1 {answer.status} {answer.reason}\r\nContent-Length: {len(body)}\r\n"
        transport.write(f"{start}{head}\r\n".encode() + body)
        self.force_close()


class Connections:
    """All connections: makes them, and sees that they are not too many and that none takes too long.

    At a limit, the one that has waited for its client for longest gives way. Where the agent is at work for
    all, the new one is answered one request, with what refuses it.
    """

    def __init__(self, server: web.Server, bounds: HttpBounds) -> None:
        self.server = server
        self.bounds = bounds
        self._of: dict[str, dict[Connection, None]] = {}  # by holder, each in order of arrival
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __call__(self, handshaken: Callable[[], None]) -> Connection:
        """A connection's protocol; `handshaken` is called at the end of its handshake."""
        return Connection(self, handshaken)

    def add(self, connection: Connection) -> None:
        """Counts a connection, and makes room for it or refuses it."""
        mine = self._of.setdefault(connection.holder, {})
        if len(mine) >= self.bounds.connections_per_user and not _make_room(mine):
            connection.refusal = AgentError(
                Problem.TOO_MANY_CONNECTIONS,
                f"You have {self.bounds.connections_per_user} connections open already.",
                "Close some, or use one for several requests.",
            )
        elif self._count >= self.bounds.connections and not _make_room(self._all()):
            connection.refusal = AgentError(
                Problem.BUSY,
                f"The agent has {self.bounds.connections} connections open already.",
                "Try again in a while.",
            )
        mine[connection] = None
        self._count += 1

    def remove(self, connection: Connection) -> None:
        """Counts it no more."""
        mine = self._of.get(connection.holder, {})
        if connection in mine:
            del mine[connection]
            self._count -= 1
        if not mine:
            self._of.pop(connection.holder, None)

    async def watch(self) -> None:
        """Ends connections that take too long, for as long as it runs."""
        shortest = min(self.bounds.header_seconds, self.bounds.unread_seconds)
        while True:
            await asyncio.sleep(min(LOOK_INTERVAL, shortest / 4))
            self._look(asyncio.get_running_loop().time())

    async def begun(self, seconds: float) -> None:
        """Waits until each connection has sent a first request, so long at the most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(each.fresh for each in self._all()):  # noqa: ASYNC110
                    await asyncio.sleep(FIRST_REQUEST_LOOK)

    def _look(self, now: float) -> None:
        for connection in self._all():
            connection.look(now)

    def _all(self) -> list[Connection]:
        return [connection for mine in self._of.values() for connection in mine]


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers the one request of a connection that is one too many."""
    connection = request.protocol
    if isinstance(connection, Connection) and connection.refusal is not None:
        raise connection.refusal
    return await handler(request)


def awaiting_body(request: web.BaseRequest) -> contextlib.AbstractContextManager[None]:
    """While the body of a request is waited for."""
    connection = request.protocol
    return connection.awaiting_body() if isinstance(connection, Connection) else contextlib.nullcontext()


def _make_room(connections: Iterable[Connection]) -> bool:
    """Closes the one that has waited for its client for longest, if there is one."""
    standing = [(since, each) for each in connections if (since := each.stands_since) is not None]
    if not standing:
        return False
    min(standing, key=lambda found: found[0])[1].drop()
    return True


def _holder(transport: asyncio.Transport) -> str:
    """Whose certificate it is: its alternative names, that is, the user's URI, of whichever certificate."""
    certificate = transport.get_extra_info("peercert") or {}
    return str(certificate.get("subjectAltName", ""))


def _malformed() -> AgentError:
    # What aiohttp says of it repeats what the client sent.
    return AgentError(
        Problem.MALFORMED_REQUEST,
        "The request cannot be read: it is not valid HTTP/1.1,"
        f" has more than {MAX_HEADERS} headers, or a line of more than {MAX_LINE} bytes.",
    )


def _last(response: web.Response) -> web.Response:
    response.headers.update({"Server": SERVER, "Connection": "close"})
    response.force_close()
    return response
