"""An event stream that is continued over lost connections: each event arrives once and in order."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ...model.problem import ProblemDocument
from ..failure import Failure, Unreachable
from .http import LAST_DELAY, Api, backoff, decode, parse, problem

SILENCE_SECONDS = 45  # three of the comments that the agent sends every 15 s
RECONNECTED = "Connected again."


@dataclass(frozen=True)
class Event:
    """A server-sent event; `data` is its JSON text."""

    name: str
    data: bytes


@dataclass
class EventParser:
    """Bytes of a `text/event-stream` in, events out (WHATWG HTML, section 9.2.6).

    Of the line endings in the format, LF and CR LF are accepted; the agent uses LF. `last_id` is the id of
    the last *whole* event: an event that is cut off before its blank line does not count.
    """

    last_id: str = ""
    _rest: bytes = b""
    _id: str = ""
    _name: str = ""
    _data: list[bytes] = field(default_factory=list)

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that `chunk` completes. `last_id` is each one's id when it is yielded."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line:
                self._field(line)
            elif event := self._dispatch():
                yield event

    def reset(self) -> None:
        """Forgets a partial event, for a new connection."""
        self._rest, self._id, self._name, self._data = b"", self.last_id, "", []

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"event":
                self._name = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")

    def _dispatch(self) -> Event | None:
        self.last_id = self._id
        name, data = self._name or "message", b"\n".join(self._data)
        self._name, self._data = "", []
        return Event(name, data) if data else None


async def follow(
    api: Api, path: str, *, params: Mapping[str, str], notice: Callable[[str], None]
) -> AsyncGenerator[Event, None]:
    """The events at `path` up to and including `end`.

    `params` say where to begin. A stream that breaks, or that the agent ends with an `error` event, is
    continued after the last whole event, however long that takes; `notice` is called when it breaks and when
    it goes on. Raises a Failure that will not pass.
    """
    parser = EventParser()
    delays = backoff()
    lost = False
    while True:
        opened, known_id = time.monotonic(), parser.last_id
        try:
            async with contextlib.aclosing(connection(api, path, params, parser)) as events:
                async for event in events:
                    if lost:
                        notice(RECONNECTED)
                    lost = False
                    yield event
                    if event.name == "end":
                        return
            failure: Failure = Unreachable("The stream ended early.")
        except Failure as exc:
            if not exc.passing:
                raise
            failure = exc
        if not lost:
            notice(f"{failure.message} Continuing …")
        lost = True
        # The agent is well if the connection brought an event or lasted for a while.
        if parser.last_id != known_id or time.monotonic() - opened > LAST_DELAY:
            delays = backoff()
        await asyncio.sleep(max(failure.retry_after, next(delays)))


async def connection(
    api: Api, path: str, params: Mapping[str, str], parser: EventParser
) -> AsyncGenerator[Event, None]:
    """The events of one connection. Raises an `error` event as the Refused that it describes."""
    parser.reset()
    async with api.open(
        path,
        params=None if parser.last_id else params,
        accept="text/event-stream",
        headers={"Last-Event-ID": parser.last_id} if parser.last_id else {},
        silence=SILENCE_SECONDS,
    ) as response:
        async for chunk in response.content.iter_any():
            for event in parser.feed(chunk):
                if event.name == "error":
                    raise problem(decode(ProblemDocument, parse(event.data)))
                yield event
