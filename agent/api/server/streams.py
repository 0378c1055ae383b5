"""Answers that go on for as long as somebody follows: bounded in number, in memory and in patience."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from aiohttp import web

from ...errors import AgentError, Problem
from ...host.sockets import break_off
from ...model.base import Model
from .identity import Allowed, Holder
from .problems import RETRY_AFTER, document

HEARTBEAT = 15.0  # seconds without an event after which a sign of life is sent
PATIENCE = 15.0  # seconds that a client may take to read before it is cut off
LAST_WORD = 5.0  # seconds more for the event that says so

CONTINUE = "Connect again with the last event id: nothing is lost."


class Form(Protocol):
    """How events look on the wire. `media_type` is the Content-Type."""

    media_type: str
    heartbeat: bytes

    def event(self, name: str, data: str, event_id: str = "", *, retry: int | None = None) -> str:
        """An event with its data, which is JSON in one line; `retry` in milliseconds."""
        ...


class ServerSentEvents:
    """WHATWG HTML, section 9.2."""

    media_type = "text/event-stream; charset=utf-8"
    heartbeat = b": \n\n"

    def event(self, name: str, data: str, event_id: str = "", *, retry: int | None = None) -> str:
        """See `Form`."""
        head = f"id: {event_id}\n" if event_id else ""
        again = f"retry: {retry}\n" if retry is not None else ""
        return f"{head}event: {name}\n{again}data: {data}\n\n"


class JsonLines:
    """The same events, each an object in a line of its own."""

    media_type = "application/x-ndjson"
    heartbeat = b'{"event":"heartbeat"}\n'

    def event(self, name: str, data: str, event_id: str = "", *, retry: int | None = None) -> str:
        """See `Form`."""
        head = f'"id":"{event_id}",' if event_id else ""
        again = f'"retry":{retry},' if retry is not None else ""
        return f'{{"event":"{name}",{head}{again}"data":{data}}}\n'


class EventStream:
    """One client's stream. Whoever writes waits while the client does not keep up: nothing is queued here."""

    def __init__(self, response: web.StreamResponse, form: Form | None, group: asyncio.TaskGroup) -> None:
        self.response = response
        self._form = form
        self._group = group
        self._turn = asyncio.Lock()
        self._wrote = asyncio.get_running_loop().time()
        self._beside: set[asyncio.Task[None]] = set()
        if form is not None:
            self.beside(self._keep_alive(form.heartbeat))

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something until the stream ends; its failure ends the stream."""
        task = self._group.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def end(self) -> None:
        """Ends what runs beside the stream."""
        for task in self._beside:
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
        async with self._turn:
            self._wrote = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.response.write(data)
            except TimeoutError as error:
                raise ConnectionResetError("the client does not read") from error

    async def _keep_alive(self, heartbeat: bytes) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._wrote + HEARTBEAT - loop.time())
            if self._wrote + HEARTBEAT <= loop.time():
                await self.write(heartbeat)


class Streams:
    """All open streams, so that their number is bounded and a stopping agent can end them.

    `turn` is one stream's at a time, for work that keeps the event loop from others.
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
        """How many there are."""
        return self._users.total()

    @contextlib.asynccontextmanager
    async def open(
        self, request: web.Request, user: str, form: Form | None, allowed: Allowed | None = None
    ) -> AsyncIterator[EventStream]:
        """Begins a stream, of plain text where there is no form; it ends with the body.

        It ends as well when its client's certificate is no longer good, and when `allowed`, which is asked
        in case of another role, raises. An `AgentError`, the body's or these, becomes its last event, where
        the form has events. Raises `AgentError` (too-many-streams).
        """
        self._check(user)
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
                    stream.beside(Holder(request, allowed).watch())
                    yield stream
                    stream.end()
            except ExceptionGroup as errors:
                broken = _reason(errors)
            except asyncio.CancelledError:
                if not self._stopping:
                    raise
                task.uncancel()
                broken = AgentError(Problem.STOPPING, "The agent is stopping.", CONTINUE)
            if broken:
                await _break_off(request, response, form, broken)
            else:
                # A client that has seen the last event may be gone before the end of the body.
                with contextlib.suppress(ConnectionError):
                    await response.write_eof()
        finally:
            self._tasks.discard(task)
            self._users -= Counter([user])

    def end_all(self) -> None:
        """Breaks every stream off; clients continue where they were with the agent that comes next."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()

    def _check(self, user: str) -> None:
        if self.open_now >= self._limit:
            raise AgentError(
                Problem.TOO_MANY_STREAMS,
                f"{self._limit} streams are open already.",
                "Try again in a while.",
            )
        if self._users[user] >= self._limit_per_user:
            raise AgentError(
                Problem.TOO_MANY_STREAMS,
                f"You have {self._limit_per_user} streams open already.",
                "Close some, or try again in a while.",
            )


def _reason(errors: ExceptionGroup[Exception]) -> AgentError:
    """What ended a stream, as its client is told. Raises what nobody foresaw."""
    if errors.subgroup(ConnectionError):
        return AgentError(Problem.SLOW_READER, f"Nothing was read for {PATIENCE:g} seconds.", CONTINUE)
    for error in errors.exceptions:
        if isinstance(error, AgentError):
            return error
    raise errors


async def _break_off(
    request: web.Request, response: web.StreamResponse, form: Form | None, error: AgentError
) -> None:
    """Says why, as far as the client still reads. Text has no way to say it: it is cut off, not ended."""
    if form is None:
        raise error
    problem = document(error)
    again = int(RETRY_AFTER.get(problem.status, "1")) * 1000
    event = form.event("error", problem.model_dump_json(exclude_none=True), retry=again)
    try:
        async with asyncio.timeout(LAST_WORD):
            # aiohttp would wait once more for what the end of patience has cancelled, and end at once.
            while request.protocol.writing_paused:  # noqa: ASYNC110
                await asyncio.sleep(LAST_WORD / 50)
            await response.write(event.encode("utf-8", "replace"))
            await response.write_eof()
    except (TimeoutError, ConnectionError):
        break_off(request.transport)
