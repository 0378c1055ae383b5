"""The call that explains a job."""

import contextlib
from collections import deque

from aiohttp import web

from ...backend import Backend
from ...errors import AgentError
from ...explanation.explain import explain
from ...explanation.facts import Facts, LogLine
from ...logs.lines import Line, Position
from ...model.host import Usage
from ...model.job import Job, JobState
from ...model.log import LogSource, LogStream
from ..access import JOB
from ..keys import BACKEND
from ..server.requests import json_response

NEWEST = 100  # lines of the job's own that are looked at, and as many of the system's
MAX_LINE = 1000  # bytes of each


async def get_explanation(request: web.Request) -> web.Response:
    """Says why the job waits, or why it ended as it did, and what would help."""
    backend, job = request.app[BACKEND], request[JOB]
    usage = await _usage(backend, job)
    lines = await _newest_lines(backend, job)
    return json_response(explain(Facts(job, lines, usage)))


async def _usage(backend: Backend, job: Job) -> Usage | None:
    """What the job uses; None if it does not run, or has just ended."""
    if job.status is not JobState.RUNNING:
        return None
    try:
        return await backend.host.usage(job)
    except AgentError:
        return None


async def _newest_lines(backend: Backend, job: Job) -> list[LogLine]:
    """The newest lines of the last attempt, in order; none where they are not needed, or are gone."""
    if not job.status.terminal or job.status is JobState.COMPLETED or job.removed is not None:
        return []
    newest: deque[LogLine] = deque(maxlen=2 * NEWEST)
    earlier = [each.finished_at for each in job.attempts if each.number < job.attempt]
    since = max(earlier).timestamp() * 1000 if earlier else 0
    try:
        log = await backend.logs.reader(job, Position())
        async with contextlib.aclosing(log.history(newest=NEWEST)) as batches:
            async for items in batches:
                lines = (item for item in items[-2 * NEWEST :] if isinstance(item, Line))
                newest.extend(_read(line) for line in lines if line.time >= since)
    except AgentError:
        return []  # the log cannot be read now: the record explains what it can
    return list(newest)


def _read(line: Line) -> LogLine:
    text = line.text[:MAX_LINE].decode("utf-8", "replace")
    own = line.source is LogSource.JOB
    return LogLine(line.number, text, own, own and line.stream is LogStream.STDERR)
