"""Server-sent events (WHATWG HTML, section 9.2): bounded in number, in memory and in patience."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from ..errors import AgentError, Problem
from ..models import Model

HEARTBEAT = 15.0  # seconds without an event after which a comment is sent
PATIENCE = 30.0  # seconds that a client may take to read before it is cut off
QUEUE_LENGTH = 1000  # events between the reader of the journal and the network
BATCH = 1 << 16  # bytes that are written at once


class EventStream:
    """One client's stream: `send` waits while the client does not keep up, so that memory stays bounded."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_LENGTH)

    async def send(self, event: str, data: Model, event_id: str | None = None) -> None:
        """Queues an event; `data` becomes one line of JSON."""
        head = f"id: {event_id}\n" if event_id else ""
        text = f"{head}event: {event}\ndata: {data.model_dump_json(exclude_none=True)}\n\n"
        await self._queue.put(text.encode("utf-8", "replace"))

    async def write(self, events: bytes) -> None:
        """Queues whole events as they are."""
        await self._queue.put(events)

    async def close(self) -> None:
        """Queues the end of the stream: everything before it still goes out."""
        await self._queue.put(None)

    async def run(self) -> None:
        """Writes what is queued until `close`. Raises `ConnectionError` for a client that does not read."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT):
                    batch = await self._queue.get()
            except TimeoutError:
                await self._write(b": \n\n")
                continue
            while batch is not None and len(batch) < BATCH and not self._queue.empty():
                more = self._queue.get_nowait()
                if more is None:
                    await self._write(batch)
                    batch = None
                    break
                batch += more
            if batch is None:
                return
            await self._write(batch)

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self.response.write(data)
        except TimeoutError as error:
            raise ConnectionResetError("the client does not read") from error


class Streams:
    """All open streams, so that their number is bounded and a stopping agent can end them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self, request: web.Request) -> AsyncIterator[EventStream]:
        """Begins a stream and keeps writing it while the caller sends.

        Raises `AgentError` (too-many-streams).
        """
        if self._open >= self._limit:
            raise AgentError(
                Problem.TOO_MANY_STREAMS,
                f"{self._limit} event streams are open already.",
                "Close some, or try again in a while.",
            )
        self._open += 1
        try:
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
            )
            await response.prepare(request)
            async with self._written(EventStream(response)) as stream:
                yield stream
            await response.write_eof()
        finally:
            self._open -= 1

    @contextlib.asynccontextmanager
    async def _written(self, stream: EventStream) -> AsyncIterator[EventStream]:
        """Writes the stream while the caller sends, and to its end when the caller has closed it."""
        owner = asyncio.current_task()
        writer = asyncio.create_task(stream.run())
        self._tasks.add(writer)
        # A writer that fails ends whoever is still sending; one that is done has been closed by them.
        writer.add_done_callback(lambda task: _end(task, owner))
        try:
            yield stream
            await writer
        finally:
            self._tasks.discard(writer)
            writer.cancel()

    def end_all(self) -> None:
        """Breaks every stream off; clients continue where they were with the agent that comes next."""
        for task in self._tasks:
            task.cancel()


def _end(writer: asyncio.Task[None], owner: asyncio.Task[object] | None) -> None:
    if owner is not None and (writer.cancelled() or writer.exception()):
        owner.cancel()
