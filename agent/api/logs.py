"""A job's log: as plain text, and as server-sent events that follow it to its end."""

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Annotated

from aiohttp import web
from pydantic import Field

from .. import archive
from ..errors import AgentError, Problem
from ..jobs import Jobs
from ..journal import SETTLE_LIMIT, Journal, LineNumbering, Position
from ..models import Job, JobState, LogGap, LogLine, LogSource, Model, now
from .handlers import JOBS, visible_job
from .problems import document
from .requests import read_query
from .streams import EventStream, Streams

JOURNAL = web.AppKey("journal", Journal)
STREAMS = web.AppKey("streams", Streams)

MAX_TAIL = 100_000  # lines
CHUNK = 1 << 16  # bytes gathered before they are written


class LogQuery(Model):
    """The query of `GET /jobs/{job_id}/logs`."""

    tail: Annotated[int, Field(ge=0, le=MAX_TAIL)] | None = None


async def get_logs(request: web.Request) -> web.StreamResponse:
    """The log in the form that the Accept header asks for; plain text where it asks for nothing else."""
    job, query = await visible_job(request), read_query(request, LogQuery)
    accept = request.headers.get("Accept", "*/*")
    if "text/event-stream" in accept:
        return await _events(request, job, query)
    if any(kind in accept for kind in ("*/*", "text/*", "text/plain")):
        return await _plain_text(request, job, query)
    raise AgentError(
        Problem.NOT_ACCEPTABLE,
        "The log is text/plain or text/event-stream.",
        "Send Accept: text/plain for what there is now, Accept: text/event-stream to follow.",
    )


async def _plain_text(request: web.Request, job: Job, query: LogQuery) -> web.StreamResponse:
    """The job's own lines so far, each with a line feed at its end."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    lines = _history(request, job, LineNumbering(Position()), query.tail)
    chunk = bytearray()
    async with contextlib.aclosing(lines), contextlib.aclosing(_texts(lines, query.tail)) as texts:
        async for text in texts:
            chunk += f"{text}\n".encode("utf-8", "replace")
            if len(chunk) >= CHUNK:
                await response.write(chunk)
                chunk = bytearray()
    await response.write(chunk)
    await response.write_eof()
    return response


async def _texts(lines: AsyncGenerator[LogLine | LogGap], tail: int | None) -> AsyncGenerator[str]:
    """The job's own lines: as they come, or the last `tail` of them."""
    kept: deque[str] = deque(maxlen=tail)
    async for item in lines:
        if isinstance(item, LogLine) and item.source is LogSource.JOB:
            if tail is None:
                yield item.text
            else:
                kept.append(item.text)
    for text in kept:
        yield text


async def _history(
    request: web.Request, job: Job, numbering: LineNumbering, newest: int | None = None
) -> AsyncGenerator[LogLine | LogGap]:
    """What there is of a job's log; of one that has ended, all of it, from the file where it is kept.

    At least the `newest` lines of it, if they are all that is wanted.
    """
    journal, kept = request.app[JOURNAL], request.app[JOBS].log_file(job)
    if job.status.terminal and kept.exists():
        async with contextlib.aclosing(archive.read(kept, numbering.position, newest=newest)) as lines:
            async for item in lines:
                number = item.number if isinstance(item, LogLine) else item.after
                numbering.position = Position(number, item.cursor)
                yield item
        return
    recent = job.finished_at is not None and now() - job.finished_at < timedelta(seconds=2 * SETTLE_LIMIT)
    # A job that never ran has no closing entry to wait for.
    read = journal.rest if recent and job.invocation_id else journal.history
    async with contextlib.aclosing(read(job.unit, numbering)) as lines:
        async for item in lines:
            yield item


async def _events(request: web.Request, job: Job, query: LogQuery) -> web.StreamResponse:
    """Lines, gaps and states as they come; `end` with the final job after the very last line."""
    last_id = request.headers.get("Last-Event-ID")
    position = Position.parse(last_id) if last_id else Position()
    async with request.app[STREAMS].open(request) as stream, asyncio.TaskGroup() as group:
        states = group.create_task(_send_states(stream, request.app[JOBS], job))
        try:
            await _send_lines(stream, request, job, LineNumbering(position), None if last_id else query.tail)
        except AgentError as error:
            await stream.send("error", document(error))
        # Not where this was cancelled: a writer that gave up empties no queue.
        states.cancel()
        await stream.close()
    return stream.response


async def _send_states(stream: EventStream, jobs: Jobs, job: Job) -> None:
    """Each state that the job comes to while it lives; its last one is the `end`."""
    while not job.status.terminal:
        await stream.send("state", job)
        job = await jobs.changed(job)


async def _send_lines(
    stream: EventStream, request: web.Request, job: Job, numbering: LineNumbering, tail: int | None
) -> None:
    """Everything after the numbering's position; with `tail`, of what there is only the last items."""
    jobs, journal = request.app[JOBS], request.app[JOURNAL]
    while job.status is JobState.PENDING:
        job = await jobs.changed(job)
    if tail is not None:
        kept: deque[LogLine | LogGap] = deque(maxlen=tail)
        async for item in _history(request, job, numbering, tail):
            kept.append(item)
        for item in kept:
            await _send_item(stream, item)
    if job.status.terminal:
        lines = _history(request, job, numbering)
    else:
        lines = journal.follow(job.unit, numbering, functools.partial(jobs.ended, job))
    async with contextlib.aclosing(lines):
        async for item in lines:
            await _send_item(stream, item)
    await stream.send("end", await jobs.get(job.job_id))


async def _send_item(stream: EventStream, item: LogLine | LogGap) -> None:
    number = item.number if isinstance(item, LogLine) else item.after
    await stream.send(
        "line" if isinstance(item, LogLine) else "gap", item, str(Position(number, item.cursor))
    )
