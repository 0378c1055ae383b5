"""What the server takes from aiohttp and asyncio that they do not document.

Another version may break it: pyproject.toml bounds aiohttp for this reason, and
tests/api/server/test_internals.py fails where something here no longer holds.
"""

import asyncio
from asyncio import sslproto
from typing import Any, cast

from aiohttp import web

# Each TLS connection reads into a buffer of its own, by default of 256 KiB: most of the memory of a follower.
# Requests are small.
TLS_READ_BUFFER = 32 * 1024  # bytes


class RequestHandler(web.RequestHandler):
    """A connection of aiohttp that shows how far it is."""

    def __init__(self, server: web.Server, **options: Any) -> None:
        without_access_log = cast(Any, None)
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=without_access_log, **options)

    @property
    def request_count(self) -> int:
        """How many request headers have arrived whole."""
        return self._request_count

    @property
    def awaits_request(self) -> bool:
        """Whether no request is under way."""
        return not self._request_count if self._waiter is None else not self._waiter.done()


def limit_tls_read_buffers() -> None:
    """Makes the read buffer of each later TLS connection smaller."""
    sslproto.SSLProtocol.max_size = TLS_READ_BUFFER
