"""Changes of jobs as server-sent events: of all jobs that a client may see, or of one job until it ends."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Annotated

from aiohttp import web
from pydantic import Field

from ...backend import Reported
from ...backend.experiments import Feed
from ...errors import AgentError, Problem
from ...log import log
from ...model.base import Model
from ...model.event import Change, Current, History, JobMetric, JobProgress, JobQueuePlace, JobRemoved, Reset
from ...model.host import QueuePlace
from ...model.job import Job, JobState, check_not_removed
from ...model.metric import MetricPoint, Progress
from ..access import JOB, may_read, shows, visible_owner
from ..keys import BACKEND, OPAQUE, STREAMS
from ..server.identity import PRINCIPAL
from ..server.opaque import TEXT
from ..server.problems import invalid
from ..server.requests import header, json_response, read_query
from ..server.streams import EventStream, ServerSentEvents

EVENT_ID = re.compile(TEXT)  # also of an id in the form of earlier versions, which leads to a reset
MAX_REPLAY = 2000  # changes; a client that missed more gets a snapshot
MAX_ENDED = 1000  # ended jobs in a snapshot
MAX_PLACES = 100  # waiting jobs whose changing places are sent
MAX_OTHERS = 50  # sweeps, and schedules, that are sent at the beginning, and that are read at once
INTERVAL = 1.0  # seconds between two looks at the queue and at the reports of jobs
OTHER_VIEW = "The last event id is from another record of jobs, or from a client that sees other jobs."


class EventQuery(Model):
    """The query of `GET /events`."""

    ended: Annotated[int, Field(ge=0, le=MAX_ENDED)] = 100


class Watcher:
    """One client's stream of events, with what the client has been sent so far."""

    def __init__(self, request: web.Request, stream: EventStream, history: History) -> None:
        backend = request.app[BACKEND]
        self.jobs, self.changes, self.metrics = backend.jobs, backend.changes, backend.metrics
        self.seen = history.newest
        self._request = request
        self._opaque = request.app[OPAQUE]
        self._stream = stream
        self._history = history
        self._principal = request[PRINCIPAL]
        self._places: dict[str, QueuePlace] = {}
        self._followed: dict[str, tuple[contextlib.AsyncExitStack, Reported]] = {}
        self._sent: dict[str, tuple[Progress | None, dict[str, MetricPoint]]] = {}
        feeds: dict[str, Feed[Model] | None] = {"sweep": backend.sweeps, "schedule": backend.schedules}
        self._feeds = {name: feed for name, feed in feeds.items() if feed is not None}
        self._seen: dict[str, int] = {}  # the newest change of each feed that the client was sent
        self._looked_at = asyncio.get_running_loop().time()

    @property
    def owner(self) -> str | None:
        """The user whose jobs the client sees; None for all users' jobs."""
        return visible_owner(self._request, self._principal)

    @property
    def looks_on(self) -> bool:
        """Whether the client is told of places and progress, too: a peer of the fleet is not."""
        return not self._principal.role.peer

    @property
    def view(self) -> tuple[str, ...]:
        """The record of jobs, and whose jobs the client sees: an event id is of no use anywhere else."""
        return "event", self._history.epoch, self.owner or "", *(() if self.looks_on else ("fleet",))

    def number_of(self, event_id: str) -> int | None:
        """The number of an event that this client, with this view, has been sent; None for any other id."""
        seq = self._opaque.open_number(event_id, *self.view)
        return seq if seq is not None and seq <= self._history.newest else None

    async def send(self, name: str, data: Model, *, seq: int | None = None) -> None:
        """Sends an event. Only an event with a number has an id that a client can resume behind."""
        event_id = self._opaque.seal_number(seq, *self.view) if seq is not None else ""
        await self._stream.send(name, data, event_id)

    async def send_job(self, job: Job, *, seq: int | None = None) -> None:
        """Sends a job, with its place in the queue if it waits."""
        placed = await self.jobs.with_place(job)
        if placed.queue is not None:
            self._places[job.job_id] = placed.queue
        await self.send("job", placed, seq=seq)

    async def send_change(self, change: Change) -> None:
        """Sends the job as it is now, or that it was removed."""
        if change.job is None:
            await self.send("removed", JobRemoved(job_id=change.job_id), seq=change.seq)
        elif self.shows(change.job):
            await self.send_job(change.job, seq=change.seq)

    async def may_still_read(self, job: Job) -> bool:
        """Whether the client may go on reading this job: its role, or the job's readers, may have changed."""
        if self.owner in (None, job.owner):
            return True
        try:
            return may_read(self._principal, await self.jobs.get(job.job_id))
        except AgentError as error:
            if error.problem is not Problem.JOB_NOT_FOUND:
                raise
            return True  # the next change says that it was removed

    def shows(self, job: Job) -> bool:
        """Whether the client may see a job of the owner, or of all owners."""
        return shows(self._principal, job)

    async def send_places(self, places: dict[str, QueuePlace]) -> None:
        """Sends each place that differs from the one that the client knows."""
        for job_id, place in places.items():
            if self._places.get(job_id) != place:
                await self.send("queue", JobQueuePlace(job_id=job_id, **place.model_dump()))
        self._places = places

    def forget_others(self) -> None:
        """The client may see other sweeps and schedules than before: the next call sends them anew."""
        self._seen.clear()

    async def send_others(self) -> None:
        """Sends each sweep and schedule that has changed since the last call; at first the newest ones."""
        for name, feed in self._feeds.items():
            if (seen := self._seen.get(name)) is None:
                self._seen[name] = await feed.newest_change()
                changed = await feed.newest(owner=self.owner, limit=MAX_OTHERS)
            else:
                self._seen[name], changed = await feed.changed(seen, owner=self.owner, limit=MAX_OTHERS)
            for each in changed:
                await self.send(name, each)

    async def wait(self) -> bool:
        """Waits for the next change or look. Returns whether the client has another user or role now."""
        await self.changes.changed(self.seen, INTERVAL)
        before, self._principal = self._principal, self._request[PRINCIPAL]
        return before != self._principal

    async def follow(self, running: Iterable[Job]) -> None:
        """Follows the reports of these jobs, and no longer those of others."""
        wanted = {job.job_id: job for job in running}
        for job_id in self._followed.keys() - wanted.keys():
            following, _ = self._followed.pop(job_id)
            self._sent.pop(job_id, None)
            await following.aclose()
        for job_id in wanted.keys() - self._followed.keys():
            following = contextlib.AsyncExitStack()
            reported = await following.enter_async_context(self.metrics.followed(wanted[job_id]))
            self._followed[job_id] = following, reported

    async def send_new_reports(self, *, with_metrics: bool) -> None:
        """Sends what the followed jobs have reported since the last call."""
        for job_id, (_, reported) in self._followed.items():
            newest = reported.newest if with_metrics else {}
            await self.send_report(job_id, reported.progress, newest)

    async def send_report(
        self, job_id: str, progress: Progress | None, newest: Mapping[str, MetricPoint]
    ) -> None:
        """Sends the progress and the newest point of each metric, unless the client has them already."""
        sent_progress, sent_points = self._sent.get(job_id, (None, {}))
        self._sent[job_id] = progress, dict(newest)
        if progress is not None and progress is not sent_progress:
            await self.send("progress", JobProgress(job_id=job_id, **dict(progress)))
        for name, point in newest.items():
            if point is not sent_points.get(name):
                await self.send("metric", JobMetric(job_id=job_id, name=name, **dict(point)))

    async def send_last_report(self, job: Job) -> None:
        """Sends the last report of a job that has ended. A log that cannot be read does not delay the end."""
        try:
            reported = await self.metrics.metrics(job)
        except (AgentError, OSError) as error:
            log.warning("job %s: its last metrics cannot be sent: %s", job.job_id, error)
            return
        newest = {series.name: series.points[-1] for series in reported.series}
        progress, points = self._sent.get(job.job_id, (None, {}))
        # These were read from a file: replace each that equals one that was sent by that very object.
        known = {name: points[name] for name in newest.keys() & points.keys() if points[name] == newest[name]}
        same = progress == reported.progress
        await self.send_report(job.job_id, progress if same else reported.progress, newest | known)

    def look_is_due(self) -> bool:
        """Whether the interval since the last look is over; if so, a new interval begins."""
        now = asyncio.get_running_loop().time()
        due = now - self._looked_at >= INTERVAL
        if due:
            self._looked_at = now
        return due


@contextlib.asynccontextmanager
async def _watching(request: web.Request) -> AsyncIterator[tuple[Watcher, EventStream]]:
    """An open stream, and the watcher that sends on it."""
    changes, streams, user = request.app[BACKEND].changes, request.app[STREAMS], request[PRINCIPAL].user
    async with streams.open(request, user, ServerSentEvents()) as stream, changes.watched():
        watcher = Watcher(request, stream, await changes.history())
        try:
            yield watcher, stream
        finally:
            await watcher.follow([])


async def get_events(request: web.Request) -> web.StreamResponse:
    """Streams every change of the jobs that you may see, as server-sent events, from the last event id on."""
    query, last = read_query(request, EventQuery), _last_event_id(request)
    async with _watching(request) as (watcher, stream):
        await _catch_up(watcher, last, query)
        while True:
            if await watcher.wait():
                await _send_snapshot(watcher, "You may see other jobs than before.", query)
                watcher.forget_others()
            await _send_changes(watcher)
            if watcher.looks_on and watcher.look_is_due():
                await watcher.send_places(await watcher.jobs.places(watcher.owner, MAX_PLACES))
                await watcher.follow(await watcher.jobs.running(watcher.owner))
                await watcher.send_new_reports(with_metrics=False)
                await watcher.send_others()
    return stream.response


async def _catch_up(watcher: Watcher, last: str | None, query: EventQuery) -> None:
    """Sends the changes that the client missed, or a snapshot if they are not known any more."""
    history = await watcher.changes.history()
    if last is None:
        why = "The request has no Last-Event-ID."
    elif (seq := watcher.number_of(last)) is None:
        why = OTHER_VIEW
    elif seq < history.forgotten:
        why = "Jobs were removed since, and their ids are forgotten."
    elif await watcher.changes.missed(seq, owner=watcher.owner, limit=MAX_REPLAY) >= MAX_REPLAY:
        why = f"More than {MAX_REPLAY} jobs have changed since."
    else:
        watcher.seen = seq
        await _send_changes(watcher)
        await watcher.send("current", Current(), seq=watcher.seen)
        return
    await _send_snapshot(watcher, why, query)


async def _send_snapshot(watcher: Watcher, why: str, query: EventQuery) -> None:
    """Sends all jobs. Only the last event has an id: a client that is interrupted begins again."""
    history, portions = await watcher.changes.current(owner=watcher.owner, ended=query.ended)
    await watcher.send("reset", Reset(why=why))
    jobs = 0
    async for changes in portions:
        for change in changes:
            # The removal of a job is sent with the changes that follow.
            if change.job is not None and watcher.shows(change.job):
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
    """Streams one job as it is and with each change, as server-sent events, until it has ended."""
    job, last = request[JOB], _last_event_id(request)
    async with _watching(request) as (watcher, stream):
        seen = watcher.number_of(last) if last else 0
        if seen is None:
            await watcher.send("reset", Reset(why=OTHER_VIEW))
        watcher.seen = seen or 0
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
            await watcher.send_last_report(job)
            await watcher.send("end", job)
            return
        await watcher.follow([job] if job.status is not JobState.PENDING else [])
        if watcher.look_is_due():
            place = (await watcher.jobs.with_place(job)).queue
            await watcher.send_places({job.job_id: place} if place else {})
            await watcher.send_new_reports(with_metrics=True)
        await watcher.wait()
        if not await watcher.may_still_read(job):
            await watcher.send("removed", JobRemoved(job_id=job.job_id))
            return


def _last_event_id(request: web.Request) -> str | None:
    """The id of the last event that the client received. Raises `AgentError` for a malformed id."""
    text = header(request, "Last-Event-ID")
    if text and not EVENT_ID.fullmatch(text):
        raise invalid("Last-Event-ID", "must be the id of an event of this stream, or be left out")
    return text or None


async def get_metrics(request: web.Request) -> web.Response:
    """Shows the progress and metrics that the job has reported so far."""
    backend, job = request.app[BACKEND], request[JOB]
    reported = await backend.metrics.metrics(job)
    # Checked afterwards: what retention removes meanwhile must not make the answer shorter.
    check_not_removed(await backend.jobs.get(job.job_id))
    return json_response(reported)
