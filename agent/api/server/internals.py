"""What the server takes from aiohttp and asyncio that they do not document.

Another version may break it: pyproject.toml bounds aiohttp for this reason, and
tests/api/server/test_internals.py fails where something here no longer holds.
"""

import asyncio
from asyncio import sslproto
from typing import Any, cast

from aiohttp import StreamReader, web, web_protocol
from aiohttp.streams import EMPTY_PAYLOAD

# Each TLS connection reads into a buffer of its own, by default of 256 KiB: most of the memory of a follower.
# Requests are small.
TLS_READ_BUFFER = 32 * 1024  # bytes
MAX_PARTS = 100  # of a path
REQUESTS_AHEAD = 2  # of a connection; the others wait in the network


class RequestHandler(web.RequestHandler):
    """A connection of aiohttp that shows how far it is."""

    def __init__(self, server: web.Server, **options: Any) -> None:
        without_access_log = cast(Any, None)
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=without_access_log, **options)

        self._newest_body: StreamReader = EMPTY_PAYLOAD
        handler = self._request_handler
        assert handler is not None

        async def bounded(request: web.BaseRequest) -> web.StreamResponse:
            # aiohttp looks for a route once for each part of a path, and no middleware comes before.
            if request.rel_url.raw_path.count("/") > MAX_PARTS:
                raise web.HTTPBadRequest(reason=f"its path has more than {MAX_PARTS} parts")
            return await handler(request)

        self._request_handler = bounded

    def data_received(self, data: bytes) -> None:
        """Takes what the client has sent."""
        before = self._request_count
        super().data_received(data)
        if self._request_count > before:
            self._newest_body = self._messages[-1][1]

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called when the connection is closed."""
        super().connection_lost(exc)
        self._newest_body = EMPTY_PAYLOAD  # a body refers to its connection

    @property
    def body_arrives(self) -> bool:
        """Whether the next bytes are of a body."""
        return not self._newest_body.is_eof()

    @property
    def request_count(self) -> int:
        """How many request headers have arrived whole."""
        return self._request_count

    @property
    def requests_ahead(self) -> int:
        """How many requests have arrived whole and wait for the one before."""
        return len(self._messages)

    @property
    def awaits_request(self) -> bool:
        """Whether no request is under way."""
        return not self._request_count if self._waiter is None else not self._waiter.done()


def unsent_bytes(transport: asyncio.WriteTransport) -> int:
    """What waits in a TLS connection, or below it: a large answer is encrypted and passed down at once."""
    below = cast(Any, transport)._ssl_protocol._transport
    return transport.get_write_buffer_size() + (below.get_write_buffer_size() if below else 0)


def limit_buffers() -> None:
    """Makes what each later connection reads ahead smaller: bytes of TLS, and requests."""
    sslproto.SSLProtocol.max_size = TLS_READ_BUFFER
    web_protocol.MAX_MSG_QUEUE_SIZE = REQUESTS_AHEAD
