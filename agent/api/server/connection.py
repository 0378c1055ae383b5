"""One HTTP connection: the time that its client takes to send and to read, and what waits meanwhile."""

import asyncio
import contextlib
import socket
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from aiohttp import web

from ...errors import AgentError, Problem
from ...host.sockets import break_off
from ...log import log
from .internals import RequestHandler, unsent_bytes
from .problems import respond

if TYPE_CHECKING:
    from .connections import Connections

MAX_LINE = 8190  # bytes of a request line, and of a header with its name
MAX_HEADERS = 64
WRITE_BUFFER = 64 * 1024  # bytes of an answer that wait in the agent; then its handler waits
# All that waits of an answer in pieces: aiohttp looks for room only after another 64 KiB, and as much as in
# TLS waits in the TCP connection below.
UNREAD = 4 * WRITE_BUFFER + 4096
# Bytes that wait in the kernel besides (TCP_NOTSENT_LOWAT). Without this bound, a client that does not read
# would hold megabytes. Bytes in flight are not counted: the throughput of TCP stays the same.
NOT_SENT = 64 * 1024
PROGRESS = 16 * 1024  # bytes that a client must read in the time limit to count as reading
GRACE = 2.0  # seconds for a body or an answer before the connection may give way to a new one
LINGER_SECONDS = 5.0  # to receive the rest of a body that was refused
# For a closing connection to send what it has left. asyncio's own limit is longer, and would leave in the
# kernel what the client does not read.
CLOSING_SECONDS = 10.0


class Connection(RequestHandler):
    """A connection after its handshake. aiohttp alone would only close idle connections."""

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
        self.unanswered = 0  # bytes of requests
        self._ahead = 0  # of these, bytes of a request whose header has not arrived whole
        self._held_back = b""  # bytes of a request that begins in a later round of the event loop
        self.connections = connections
        self._handshaken = handshaken
        self._open_transport: asyncio.Transport | None = None
        self._header_since: float | None = None
        self._body_since: float | None = None
        self._paused_since: float | None = None
        self._closing_since: float | None = None
        self._unread: tuple[float, int] | None = None

    @property
    def unused(self) -> bool:
        """Whether no request header has arrived whole so far."""
        return not self.request_count

    @property
    def idle(self) -> bool:
        """Whether the connection is open and no request is under way."""
        if self._open_transport is None or self._open_transport.is_closing():
            return False
        return self.awaits_request and not self._held_back

    @property
    def waiting_since(self) -> float | None:
        """Since when the connection has waited for its client: to send a request or a body, or to read."""
        if self.idle:
            return self.last_request
        since = self._body_since or self._paused_since
        if since is None or self._open_transport is None or self._open_transport.is_closing():
            return None
        return since if self._clock() - since >= GRACE else None

    @property
    def unread(self) -> int:
        """Bytes of answers that wait in the agent for the client to read."""
        return unsent_bytes(self._open_transport) if self._open_transport else 0

    @contextlib.contextmanager
    def awaiting_body(self) -> Iterator[None]:
        """Marks that the connection waits for a body."""
        self._body_since = self._clock()
        try:
            yield
        finally:
            self._body_since = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called after the handshake."""
        super().connection_made(transport)
        self._open_transport = cast(asyncio.Transport, transport)
        self._open_transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._open_transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT
        )
        # Who holds the certificate: its alternative names, the same in each certificate of a user.
        certificate = transport.get_extra_info("peercert") or {}
        self.holder = str(certificate.get("subjectAltName", ""))
        self._handshaken()
        self.connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called when the connection is closed."""
        self.connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes. A request begins at once, or, where the user begins many, in a later round."""
        self.connections.received(self, len(data))
        if self._held_back:
            self._held_back += data
        elif self.idle:
            self._held_back = data
            self.connections.rounds.begin(self.holder, self._begin)
        else:
            self._parse(data)

    def _begin(self) -> None:
        """Begins a request, unless the connection is closed."""
        data, self._held_back = self._held_back, b""
        if self._open_transport is not None and not self._open_transport.is_closing():
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Notes when a request header begins and when it is complete."""
        before, of_a_body = self.request_count, self.body_arrives
        super().data_received(data)
        self._ahead += 0 if of_a_body else len(data)
        if self.request_count > before:
            self._header_since, self.last_request, self._ahead = None, self._clock(), 0
        elif self.idle and self._header_since is None:
            self._header_since = self._clock()

    def pause_writing(self) -> None:
        """Called when the client reads more slowly than it is answered."""
        super().pause_writing()
        self._paused_since = self._clock()

    def resume_writing(self) -> None:
        """Called when the client has read."""
        super().resume_writing()
        self._paused_since = self._unread = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to malformed HTTP, and to a failure outside of all handlers."""
        if status >= 500:
            log.error("a request failed outside of its handler", exc_info=exc)
            error = AgentError(Problem.INTERNAL, "The agent failed to answer. Its journal has the reason.")
        else:
            # aiohttp's own message repeats what the client sent.
            error = AgentError(
                Problem.MALFORMED_REQUEST,
                f"The request is not valid HTTP/1.1, has more than {MAX_HEADERS} headers,"
                f" or has a line of more than {MAX_LINE} bytes.",
            )
        if request.writer.output_size > 0:
            raise ConnectionResetError("an answer has begun already")
        return _last(respond(error))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Sends an answer. A refusal by aiohttp itself (Expect) becomes a problem document."""
        if isinstance(resp, web.HTTPException):
            error = AgentError(Problem.MALFORMED_REQUEST, f"The request is refused: {resp.reason}.")
            resp = _last(respond(error))
        elif request.method == "GET" and isinstance(resp, web.Response):
            size = len(resp.body) if isinstance(resp.body, bytes) else 0
            if size > WRITE_BUFFER and (refusal := self.connections.refuse_unread(self.holder, size)):
                resp = respond(refusal)
        if self.connections.stopping:
            resp.force_close()  # the client does not send another request while the connection is closed
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            if not self.requests_ahead:
                self.connections.answered(self, self._ahead)

    async def start(self) -> None:
        """Answers requests until the connection ends."""
        try:
            await super().start()
        except asyncio.CancelledError as error:
            # The traceback and the request's task refer to each other, and to everything of the request.
            traceback.clear_frames(error.__traceback__)
            raise

    def enforce_time_limits(self, now: float) -> None:
        """Closes the connection if it has taken too long."""
        if self._open_transport is None:
            return
        if self._open_transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since >= CLOSING_SECONDS:
                break_off(self._open_transport)
        elif self.writing_paused:
            self._enforce_read_progress(now, self._open_transport)
        elif self.idle and now - (self._header_since or now) >= self.connections.bounds.header_seconds:
            self._refuse_slow_header(self._open_transport)

    def reset(self) -> None:
        """Closes the connection at once."""
        self.connections.remove(self)
        break_off(self._open_transport)

    def _enforce_read_progress(self, now: float, transport: asyncio.Transport) -> None:
        left = self.unread
        since, before = self._unread or (now, left)
        if left <= before - PROGRESS:
            since, before = now, left
        self._unread = since, before
        if now - since >= self.connections.bounds.unread_seconds:
            break_off(transport)

    def _refuse_slow_header(self, transport: asyncio.Transport) -> None:
        seconds = self.connections.bounds.header_seconds
        error = AgentError(
            Problem.REQUEST_TIMEOUT,
            f"The request's header was not complete within {seconds:g} seconds.",
            "Send the request again, in one piece.",
        )
        answer = _last(respond(error))
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        body = cast(bytes, answer.body)
        start = f"HTTP/1.1 {answer.status} {answer.reason}\r\nContent-Length: {len(body)}\r\n"
        transport.write(f"{start}{head}\r\n".encode() + body)
        self.force_close()


def _last(response: web.Response) -> web.Response:
    response.headers["Connection"] = "close"
    response.force_close()
    return response
