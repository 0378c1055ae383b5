"""The log of a job as plain text, JSON lines or server-sent events: up to now, or followed to its end."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import AwareDatetime, BeforeValidator, Field, TypeAdapter, ValidationError

from ...backend import Backend, LogReader
from ...errors import AgentError, Problem
from ...logs.lines import EVENT_ID, Position, job_output
from ...model.base import Model
from ...model.job import Job, JobState
from ..access import JOB, check_still_allowed
from ..keys import BACKEND, OPAQUE, STREAMS
from ..server.accept import preferred
from ..server.identity import PEER, PRINCIPAL
from ..server.problems import invalid
from ..server.requests import header, read_query
from ..server.streams import EventStream, Form, JsonLines, ServerSentEvents
from .lines import MAX_PATTERN, LineFilter, as_events
from .tail import Window, find_tail

MAX_TAIL = 100_000  # lines
PLACE_INTERVAL = 10.0  # seconds after which the place of a waiting job is looked at without a change

# RFC 3339, section 5.6. pydantic alone would also take a number for seconds since 1970.
RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)

FORMS: dict[str, Form | None] = {
    "text/plain": None,
    "application/x-ndjson": JsonLines(),
    "text/event-stream": ServerSentEvents(),
}


def _rfc_3339(value: object) -> object:
    if isinstance(value, str) and not RFC_3339.fullmatch(value):
        raise ValueError("must be a time such as 2026-01-01T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_rfc_3339)]
MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


class LogQuery(Model):
    """The query of `GET /jobs/{job_id}/logs`. `since` is an event id or, as `until`, a time (RFC 3339)."""

    tail: Annotated[int, Field(ge=0, le=MAX_TAIL)] | None = None
    since: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    until: Moment | None = None
    grep: Annotated[str, Field(min_length=1, max_length=MAX_PATTERN)] | None = None
    follow: bool | None = None


@dataclass(frozen=True)
class LogRequest:
    """Which part of a log, and how to write it.

    `form` is None for plain text. The log begins behind `position`, and only what passes `filter` is sent.
    `seal` makes the ids of events.
    """

    form: Form | None
    position: Position
    filter: LineFilter
    tail: int | None
    follow: bool
    seal: Callable[[str], str]

    @property
    def all_as_text(self) -> bool:
        """Whether this is the whole output of the job so far, as it was printed."""
        whole = self.filter.takes_all and self.tail is None and not self.position.cursor
        return whole and self.form is None and not self.follow


async def get_logs(request: web.Request) -> web.StreamResponse:
    """Sends the log in the form that the Accept header asks for, by default as plain text."""
    job, asked = request[JOB], _parse(request)
    backend, user = request.app[BACKEND], request[PRINCIPAL].user
    log = await backend.logs.reader(job, asked.position)
    async with request.app[STREAMS].open(request, user, asked.form, check_still_allowed) as stream:
        if asked.follow and asked.form:
            stream.run_beside(_send_states(stream, backend, job))
        window = None
        if asked.tail is not None:
            window = await _window(log, job, asked, asked.tail)
            log = await backend.logs.reader(job, window.position)
        # A tail of no lines has nothing behind them, either, unless it is followed.
        if window is None or window.count != 0:
            await _send_lines(stream, log, job, asked, window)
        if asked.follow and not job.status.terminal:
            await stream.send("end", await backend.changes.ended(job))
            return stream.response
        # Without `follow`, the job may have ended meanwhile and printed more than was read.
        newest = await backend.jobs.get(job.job_id)
        await stream.send("end" if job.status.terminal else "pause", newest)
    return stream.response


def _parse(request: web.Request) -> LogRequest:
    query = read_query(request, LogQuery)
    form = _form(request)
    if query.follow and query.until is not None:
        raise invalid("until", "must be left out of a log that is followed")
    opaque, context = request.app[OPAQUE], ("line", request[JOB].job_id)
    lines = opaque.within(*context)

    def opened(event_id: str) -> str:
        # Earlier versions sealed ids with the key of all contexts, and before that not at all.
        return lines.open(event_id) or opaque.open(event_id, *context) or event_id

    position, since = Position(), None
    if query.since is not None:
        if EVENT_ID.fullmatch(opened(query.since)):
            position = Position.parse(opened(query.since))
        else:
            try:
                since = int(MOMENT.validate_python(query.since).timestamp() * 1000)
            except ValidationError as error:
                expected = "must be an event id of this log, or a time such as 2026-01-01T12:00:00Z"
                raise invalid("since", expected) from error
    if last_id := header(request, "Last-Event-ID"):
        position = Position.parse(opened(last_id))
    until = int(query.until.timestamp() * 1000) if query.until else None
    by_itself = isinstance(form, ServerSentEvents) and until is None
    return LogRequest(
        form=form,
        position=position,
        filter=LineFilter(since=since, until=until, grep=query.grep, turn=request.app[STREAMS].turn),
        # A client that resumes asks for everything new.
        tail=None if last_id else query.tail,
        follow=by_itself if query.follow is None else query.follow,
        # A front seals ids itself, with the key of its fleet.
        seal=str if PEER in request else lines.seal,
    )


def _form(request: web.Request) -> Form | None:
    """The form that the client prefers."""
    form = preferred(request, tuple(FORMS))
    if form is not None:
        return FORMS[form]
    raise AgentError(
        Problem.NOT_ACCEPTABLE,
        "The log can be text/plain, application/x-ndjson or text/event-stream.",
        "Send Accept: text/plain for the log up to now, or Accept: text/event-stream to follow it.",
    )


async def _send_states(stream: EventStream, backend: Backend, job: Job) -> None:
    """Sends each revision of the job until it has ended, and its place while it waits."""
    while not job.status.terminal:
        await stream.send("state", await backend.jobs.with_place(job))
        if job.status is JobState.PENDING:
            await _send_places(stream, backend, job)
        job = await backend.changes.newer(job)


async def _send_places(stream: EventStream, backend: Backend, job: Job) -> None:
    """Sends the place of a waiting job at once and whenever it changes, until the job itself changes."""
    changes, seen, sent = backend.changes, 0, None
    async with changes.watched():
        while True:
            place = (await backend.jobs.with_place(job)).queue
            if place and place != sent:
                sent = place
                await stream.send("waiting", place)
            seen, change = await changes.of(job.job_id, seen)
            if change and (change.job is None or change.job.revision > job.revision):
                return
            # Changes of other jobs move this one.
            await changes.changed(seen, PLACE_INTERVAL)


async def _window(log: LogReader, job: Job, asked: LogRequest, lines: int) -> Window:
    """The last lines so far; with a filter, the last that pass it."""
    # How much of the log the tail needs is known only if no lines are filtered out.
    history = log.history(newest=lines + 1 if asked.filter.takes_all else None)
    goes_on = asked.follow and not job.status.terminal
    return await find_tail(history, asked.filter, asked.position, lines, goes_on=goes_on)


async def _send_lines(
    stream: EventStream, log: LogReader, job: Job, asked: LogRequest, window: Window | None
) -> None:
    """Sends what the reader has not read yet, or the window's part of that."""
    if job.status is JobState.RUNNING and asked.all_as_text:
        async with contextlib.aclosing(log.output()) as chunks:
            async for chunk in chunks:
                await stream.write(chunk)
        return
    lines = log.history() if job.status.terminal or not asked.follow else log.follow()
    async with contextlib.aclosing(lines):
        async for items in lines:
            shown = await asked.filter(items)
            shown = shown if window is None else window.select(shown)
            await stream.write(as_events(shown, asked.form, asked.seal) if asked.form else job_output(shown))
            if window is not None and window.over:
                return
