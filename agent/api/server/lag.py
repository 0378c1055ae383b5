"""How late the event loop is: what a request waits before anybody looks at it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from aiohttp import web

from ...host.tasks import background

INTERVAL = 1.0  # seconds between two looks
KEPT = 60  # looks


class Lag:
    """The delays of the last minute, in seconds."""

    def __init__(self) -> None:
        self._delays = deque[float]([0.0], maxlen=KEPT)

    @property
    def longest(self) -> float:
        """The longest of them."""
        return max(self._delays)

    async def watched(self, _: web.Application) -> AsyncIterator[None]:
        """Looks once a second, for as long as an application serves."""
        async with background(self._look()):
            yield

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + INTERVAL
            await asyncio.sleep(INTERVAL)
            self._delays.append(max(0.0, loop.time() - due))
