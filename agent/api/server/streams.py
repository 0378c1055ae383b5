"""Long answers, such as events and logs: bounded in number and memory, and ended for slow readers."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from aiohttp import web

from ...errors import AgentError, Problem
from ...host.sockets import break_off
from ...model.base import Model
from .identity import CheckAllowed, ClientCheck
from .problems import RETRY_AFTER, document

HEARTBEAT = 15.0  # seconds without an event, after which a heartbeat is sent
READ_TIMEOUT = 15.0  # seconds for a client to read, before the stream ends
LAST_EVENT_TIMEOUT = 5.0  # seconds more for the event that says why the stream ends

RESUME = "Connect again with the last event id: nothing is lost."


class ServerSentEvents:
    """Server-sent events: WHATWG HTML, section 9.2. `media_type` is the Content-Type."""

    media_type = "text/event-stream; charset=utf-8"
    heartbeat = b": \n\n"

    def event(self, name: str, data: str, event_id: str = "", *, retry: int | None = None) -> str:
        """An event. `data` is JSON in one line, `retry` is in milliseconds."""
        head = f"id: {event_id}\n" if event_id else ""
        again = f"retry: {retry}\n" if retry is not None else ""
        return f"{head}event: {name}\n{again}data: {data}\n\n"


class JsonLines:
    """The same events, each as a JSON object in a line of its own."""

    media_type = "application/x-ndjson"
    heartbeat = b'{"event":"heartbeat"}\n'

    def event(self, name: str, data: str, event_id: str = "", *, retry: int | None = None) -> str:
        """As of server-sent events."""
        head = f'"id":"{event_id}",' if event_id else ""
        again = f'"retry":{retry},' if retry is not None else ""
        return f'{{"event":"{name}",{head}{again}"data":{data}}}\n'


Form = ServerSentEvents | JsonLines


class EventStream:
    """The stream of one client. A writer waits while the client does not read: nothing is queued here."""

    def __init__(self, response: web.StreamResponse, form: Form | None, group: asyncio.TaskGroup) -> None:
        self.response = response
        self._form = form
        self._group = group
        self._writing = asyncio.Lock()
        self._wrote_at = asyncio.get_running_loop().time()
        self._tasks: set[asyncio.Task[None]] = set()
        if form is not None:
            self.run_beside(self._keep_alive(form.heartbeat))

    def run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine until the stream ends. Its failure ends the stream."""
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        """Cancels what runs beside the stream."""
        for task in self._tasks:
            task.cancel()

    async def send(self, name: str, data: Model, event_id: str = "") -> None:
        """Writes an event; plain text has none."""
        if self._form is not None:
            text = self._form.event(name, data.model_dump_json(exclude_none=True), event_id)
            await self.write(text.encode("utf-8", "replace"))

    async def write(self, data: bytes) -> None:
        """Writes whole events. Raises `ConnectionError` for a client that is gone or does not read."""
        if not data:
            return
        async with self._writing:
            self._wrote_at = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(READ_TIMEOUT):
                    await self.response.write(data)
            except TimeoutError as error:
                raise ConnectionResetError("the client does not read") from error

    async def _keep_alive(self, heartbeat: bytes) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._wrote_at + HEARTBEAT - loop.time())
            if self._wrote_at + HEARTBEAT <= loop.time():
                await self.write(heartbeat)


class Streams:
    """All open streams: their number is bounded, and an agent that stops can end them.

    One stream at a time holds `turn`, for work that keeps the event loop busy.
    """

    def __init__(self, limit: int, limit_per_user: int) -> None:
        self._limit = limit
        self._limit_per_user = limit_per_user
        self._users: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[object]] = set()
        self._stopping = False
        self.turn = asyncio.Lock()

    @property
    def open_now(self) -> int:
        """The number of open streams."""
        return self._users.total()

    @contextlib.asynccontextmanager
    async def open(
        self, request: web.Request, user: str, form: Form | None, check_allowed: CheckAllowed | None = None
    ) -> AsyncIterator[EventStream]:
        """Begins a stream that ends with the context; without a form, a stream of plain text.

        The stream also ends when the certificate of the client is no longer valid, or when `check_allowed`
        raises. An `AgentError` becomes the last event, if
        the form has events. Raises `AgentError` (too-many-streams).
        """
        self._check_limits(user)
        self._users[user] += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            response = web.StreamResponse(
                headers={
                    "Content-Type": form.media_type if form else "text/plain; charset=utf-8",
                    "Cache-Control": "no-store",
                }
            )
            await response.prepare(request)
            broken: AgentError | None = None
            try:
                async with asyncio.TaskGroup() as group:
                    stream = EventStream(response, form, group)
                    stream.run_beside(ClientCheck(request, check_allowed).watch())
                    yield stream
                    stream.end()
            except ExceptionGroup as errors:
                broken = _reason(errors)
            except asyncio.CancelledError:
                if not self._stopping:
                    raise
                task.uncancel()
                broken = AgentError(Problem.STOPPING, "The agent is stopping.", RESUME)
            if broken:
                await _end_with(request, response, form, broken)
            else:
                # A client that has seen the last event may close the connection before the body ends.
                with contextlib.suppress(ConnectionError):
                    await response.write_eof()
        finally:
            self._tasks.discard(task)
            self._users -= Counter([user])

    def end_all(self) -> None:
        """Ends every stream. Clients resume with the next agent."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()

    def _check_limits(self, user: str) -> None:
        if self.open_now >= self._limit:
            raise AgentError(
                Problem.TOO_MANY_STREAMS,
                f"{self._limit} streams are open, the limit of the agent.",
                "Try again later.",
            )
        if self._users[user] >= self._limit_per_user:
            raise AgentError(
                Problem.TOO_MANY_STREAMS,
                f"You have {self._limit_per_user} open streams, the limit for each user.",
                "Close some of them, or try again later.",
            )


def _reason(errors: ExceptionGroup[Exception]) -> AgentError:
    """The error that the client is told. Raises unexpected errors."""
    if errors.subgroup(ConnectionError):
        return AgentError(Problem.SLOW_READER, f"You have read nothing for {READ_TIMEOUT:g} seconds.", RESUME)
    for error in errors.exceptions:
        if isinstance(error, AgentError):
            return error
    raise errors


async def _end_with(
    request: web.Request, response: web.StreamResponse, form: Form | None, error: AgentError
) -> None:
    """Sends the error as the last event. Text has no events: the error breaks the connection off."""
    if form is None:
        raise error
    problem = document(error)
    retry = int(RETRY_AFTER.get(problem.status, "1")) * 1000
    event = form.event("error", problem.model_dump_json(exclude_none=True), retry=retry)
    try:
        async with asyncio.timeout(LAST_EVENT_TIMEOUT):
            # The wait for room in aiohttp's own buffer was cancelled, and aiohttp would not wait again.
            while request.protocol.writing_paused:  # noqa: ASYNC110
                await asyncio.sleep(LAST_EVENT_TIMEOUT / 50)
            await response.write(event.encode("utf-8", "replace"))
            await response.write_eof()
    except (TimeoutError, ConnectionError):
        break_off(request.transport)
