"""Changes of jobs as server-sent events: of all jobs that one may see, and of one job to its end."""

import asyncio
import contextlib
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Annotated

from aiohttp import web
from pydantic import Field

from ...backend import Reported
from ...errors import AgentError
from ...model.base import Model
from ...model.event import Change, Current, History, JobMetric, JobProgress, JobQueuePlace, JobRemoved, Reset
from ...model.host import QueuePlace
from ...model.job import Job, JobState, check_not_removed
from ...model.metric import MetricPoint, Progress
from ..access import JOB, whose
from ..keys import BACKEND, STREAMS
from ..server.identity import PRINCIPAL
from ..server.problems import invalid
from ..server.requests import header, read_query
from ..server.streams import EventStream, ServerSentEvents
from .jobs import answer

log = logging.getLogger("ml-agent")

EVENT_ID = re.compile(r"([0-9]{1,18})-([0-9a-f]{8})")
MAX_REPLAY = 2000  # changes; who missed more begins anew
MAX_ENDED = 1000  # jobs that have ended, in a snapshot
MAX_PLACES = 100  # waiting jobs whose place is told as it changes
INTERVAL = 1.0  # seconds between two looks at the queue, and at what jobs say of their progress
ANOTHER_RECORD = "The last event id is of another record of jobs, or of one who saw others of them."


class EventQuery(Model):
    """The query of `GET /events`."""

    ended: Annotated[int, Field(ge=0, le=MAX_ENDED)] = 100


class Watcher:
    """What the two kinds of streams share: where the client is, who it is, and what it knows of the queue."""

    def __init__(self, request: web.Request, stream: EventStream, history: History) -> None:
        backend = request.app[BACKEND]
        self.jobs, self.changes, self.metrics = backend.jobs, backend.changes, backend.metrics
        self.seen = history.newest
        self._request = request
        self._stream = stream
        self._history = history
        self._principal = request[PRINCIPAL]
        self._places: dict[str, QueuePlace] = {}
        self._followed: dict[str, tuple[contextlib.AsyncExitStack, Reported]] = {}
        self._told: dict[str, tuple[Progress | None, dict[str, MetricPoint]]] = {}
        self._looked = asyncio.get_running_loop().time()

    @property
    def owner(self) -> str | None:
        """Whose jobs the client sees; None for all."""
        return whose(self._request, self._principal)

    @property
    def view(self) -> str:
        """Of which record of jobs the client sees which: the part of its ids that numbers count within."""
        text = f"{self._history.epoch} {self.owner or ''}"
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

    def knows(self, seq: int, view: str) -> bool:
        """Whether there was an event with this id, for one who saw the same jobs."""
        return view == self.view and seq <= self._history.newest

    async def send(self, name: str, data: Model, *, seq: int | None = None) -> None:
        """An event; with a number, one to continue behind."""
        event_id = f"{seq}-{self.view}" if seq is not None else ""
        await self._stream.send(name, data, event_id)

    async def send_job(self, job: Job, *, seq: int | None = None) -> None:
        """A job as it is, with its place if it waits."""
        placed = self.jobs.placed(job)
        if placed.queue is not None:
            self._places[job.job_id] = placed.queue
        await self.send("job", placed, seq=seq)

    async def send_change(self, change: Change) -> None:
        """A job as it is now, or that it is no more."""
        if change.job is None:
            await self.send("removed", JobRemoved(job_id=change.job_id), seq=change.seq)
        else:
            await self.send_job(change.job, seq=change.seq)

    async def send_places(self, places: dict[str, QueuePlace]) -> None:
        """What has changed of the places that the client knows."""
        for job_id, place in places.items():
            if self._places.get(job_id) != place:
                await self.send("queue", JobQueuePlace(job_id=job_id, **place.model_dump()))
        self._places = places

    async def wait(self) -> bool:
        """Until something may have changed. True where the client is no longer who it was."""
        # A change that comes in this time is told together with its effect on the queue.
        await self.changes.changed(self.seen, INTERVAL)
        before, self._principal = self._principal, self._request[PRINCIPAL]
        return before != self._principal

    async def follow(self, running: Iterable[Job]) -> None:
        """Has the logs of these jobs read, and no others."""
        wanted = {job.job_id: job for job in running}
        for job_id in self._followed.keys() - wanted.keys():
            reading, _ = self._followed.pop(job_id)
            self._told.pop(job_id, None)
            await reading.aclose()
        for job_id in wanted.keys() - self._followed.keys():
            reading = contextlib.AsyncExitStack()
            reported = await reading.enter_async_context(self.metrics.followed(wanted[job_id]))
            self._followed[job_id] = reading, reported

    async def send_progress(self, *, with_metrics: bool) -> None:
        """What the followed jobs have said since they were last asked."""
        for job_id, (_, reported) in self._followed.items():
            newest = reported.newest if with_metrics else {}
            await self.send_said(job_id, reported.progress, newest)

    async def send_said(
        self, job_id: str, progress: Progress | None, newest: Mapping[str, MetricPoint]
    ) -> None:
        """A job's progress and the newest points of its metrics, unless the client knows them."""
        told_progress, told_points = self._told.get(job_id, (None, {}))
        self._told[job_id] = progress, dict(newest)
        if progress is not None and progress is not told_progress:
            await self.send("progress", JobProgress(job_id=job_id, **dict(progress)))
        for name, point in newest.items():
            if point is not told_points.get(name):
                await self.send("metric", JobMetric(job_id=job_id, name=name, **dict(point)))

    async def send_last_words(self, job: Job) -> None:
        """What a job that has ended said at last, unless its log cannot be read now: its end is no secret."""
        try:
            said = await self.metrics.metrics(job)
        except (AgentError, OSError) as error:
            log.warning("job %s: its last metrics cannot be told: %s", job.job_id, error)
            return
        newest = {series.name: series.points[-1] for series in said.series}
        progress, points = self._told.get(job.job_id, (None, {}))
        # Read from a file, what is equal is not the same.
        known = {name: points[name] for name in newest.keys() & points.keys() if points[name] == newest[name]}
        await self.send_said(
            job.job_id, progress if progress == said.progress else said.progress, newest | known
        )

    def due(self) -> bool:
        """Whether it is time again to look at the queue and at what jobs say."""
        now = asyncio.get_running_loop().time()
        due = now - self._looked >= INTERVAL
        if due:
            self._looked = now
        return due


@contextlib.asynccontextmanager
async def _watching(request: web.Request) -> AsyncIterator[tuple[Watcher, EventStream]]:
    """A stream, and what is told on it."""
    changes, streams, user = request.app[BACKEND].changes, request.app[STREAMS], request[PRINCIPAL].user
    async with streams.open(request, user, ServerSentEvents()) as stream, changes.watched():
        watcher = Watcher(request, stream, await changes.history())
        try:
            yield watcher, stream
        finally:
            await watcher.follow([])


async def get_events(request: web.Request) -> web.StreamResponse:
    """Every change of the jobs that one may see, as server-sent events, from the last event id on."""
    query, last = read_query(request, EventQuery), _last_event_id(request)
    async with _watching(request) as (watcher, stream):
        await _replay(watcher, last, query)
        while True:
            if await watcher.wait():
                await _begin_anew(watcher, "You may see other jobs than before.", query)
            await _send_changes(watcher)
            if watcher.due():
                await watcher.send_places(watcher.jobs.line(watcher.owner, MAX_PLACES))
                await watcher.follow(watcher.jobs.begun(watcher.owner))
                await watcher.send_progress(with_metrics=False)
    return stream.response


async def _replay(watcher: Watcher, last: tuple[int, str] | None, query: EventQuery) -> None:
    """Brings the client up to now: with what it missed, or where that is not known, with what there is."""
    history = await watcher.changes.history()
    if last is None:
        await _begin_anew(watcher, "No Last-Event-ID was sent.", query)
        return
    seq, view = last
    if not watcher.knows(seq, view):
        await _begin_anew(watcher, ANOTHER_RECORD, query)
        return
    if seq < history.forgotten:
        await _begin_anew(watcher, "Jobs were removed since, and it is not known any more which.", query)
        return
    if await watcher.changes.missed(seq, owner=watcher.owner, limit=MAX_REPLAY) >= MAX_REPLAY:
        await _begin_anew(watcher, f"More than {MAX_REPLAY} jobs changed since.", query)
        return
    watcher.seen = seq
    await _send_changes(watcher)
    await watcher.send("current", Current(), seq=watcher.seen)


async def _begin_anew(watcher: Watcher, why: str, query: EventQuery) -> None:
    """All there is. Its jobs have no ids: a snapshot counts as received with its last event."""
    history, portions = await watcher.changes.current(owner=watcher.owner, ended=query.ended)
    await watcher.send("reset", Reset(why=why))
    jobs = 0
    async for changes in portions:
        for change in changes:
            # One that was removed since is told as such with the changes that follow.
            if change.job is not None:
                await watcher.send_job(change.job)
                jobs += 1
    watcher.seen = history.newest
    await watcher.send("current", Current(jobs=jobs), seq=history.newest)


async def _send_changes(watcher: Watcher) -> None:
    changes = None
    while changes is None or changes:
        watcher.seen, changes = await watcher.changes.after(watcher.seen, owner=watcher.owner)
        for change in changes:
            await watcher.send_change(change)


async def get_job_events(request: web.Request) -> web.StreamResponse:
    """One job, as it is and with each change, as server-sent events until it has ended."""
    job, last = request[JOB], _last_event_id(request)
    async with _watching(request) as (watcher, stream):
        if last is not None and not watcher.knows(*last):
            await watcher.send("reset", Reset(why=ANOTHER_RECORD))
            last = None
        watcher.seen = last[0] if last else 0
        await _follow_job(watcher, job)
    return stream.response


async def _follow_job(watcher: Watcher, job: Job) -> None:
    while True:
        watcher.seen, change = await watcher.changes.of(job.job_id, watcher.seen)
        if change is not None:
            await watcher.send_change(change)
            if change.job is None:
                return
            job = change.job
        if job.status.terminal:
            await watcher.send_last_words(job)
            await watcher.send("end", job)
            return
        await watcher.follow([job] if job.status is not JobState.PENDING else [])
        if watcher.due():
            place = watcher.jobs.placed(job).queue
            await watcher.send_places({job.job_id: place} if place else {})
            await watcher.send_progress(with_metrics=True)
        if await watcher.wait() and watcher.owner not in (None, job.owner):
            await watcher.send("removed", JobRemoved(job_id=job.job_id))
            return


def _last_event_id(request: web.Request) -> tuple[int, str] | None:
    """Number and view of the last event that was received. Raises `AgentError` for what is none of ours."""
    text = header(request, "Last-Event-ID")
    if not text:
        return None
    match = EVENT_ID.fullmatch(text)
    if match is None:
        raise invalid("Last-Event-ID", "must be the id of an event of this stream, or be left out")
    return int(match[1]), match[2]


async def get_metrics(request: web.Request) -> web.Response:
    """What the job has said of its progress and metrics, so far or ever."""
    backend, job = request.app[BACKEND], request[JOB]
    reported = await backend.metrics.metrics(job)
    # After the metrics were read: what retention removes meanwhile must not be taken for a shorter answer.
    check_not_removed(await backend.jobs.get(job.job_id))
    return answer(reported)
