"""`ml-job watch`: the list of jobs as it changes; the list and the live view that it shares with `top`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ...model.event import JobProgress, JobQueuePlace, JobRemoved
from ...model.host import QueuePlace
from ...model.job import Job, JobState
from ...model.metric import Progress
from ..terminal import Screen
from .http import Api, decode, parse
from .invocation import command
from .render import JOB_COLUMNS, bar, job_row, job_table, warn, with_hosts
from .stream import RECONNECTED, Event, follow

RUNNING = (JobState.CREATED, JobState.RUNNING)

REDRAW_SECONDS = 0.25
COLUMNS = (*JOB_COLUMNS, "PROGRESS")

app = typer.Typer()


@dataclass
class JobList:
    """The jobs as of the last event. A snapshot takes effect when it is complete."""

    jobs: dict[str, Job] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    complete: bool = False
    _snapshot: dict[str, Job] | None = None

    def apply(self, event: Event) -> list[Job]:
        """Applies an event; returns the jobs that it changed, in the order of their rows."""
        value = parse(event.data)
        match event.name:
            case "reset":
                self._snapshot = {}
            case "job":
                job = decode(Job, value)
                if self._snapshot is None:
                    self._put(job)
                    return [job]
                self._snapshot[job.job_id] = job
            case "removed":
                self._drop(decode(JobRemoved, value).job_id)
            case "current":
                return self._complete_snapshot()
            case "queue":
                self._move(decode(JobQueuePlace, value))
            case "progress":
                progress = decode(JobProgress, value)
                self.progress[progress.job_id] = progress
            case _:
                pass  # an event of a newer agent
        return []

    def discard_snapshot(self) -> None:
        """Forgets a partial snapshot after a lost connection: the agent sends a whole one if it is needed."""
        self._snapshot = None

    def _complete_snapshot(self) -> list[Job]:
        self.complete = True
        if self._snapshot is None:
            return []
        known, self.jobs, self._snapshot = self.jobs, self._snapshot, None
        rows = (*reversed(self.ended()), *self.running(), *self.waiting())
        revisions = {job.job_id: job.revision for job in known.values()}
        return [job for job in rows if revisions.get(job.job_id) != job.revision]

    def _put(self, job: Job) -> None:
        self.jobs.pop(job.job_id, None)
        self.jobs[job.job_id] = job
        if job.status not in RUNNING:
            self.progress.pop(job.job_id, None)

    def _drop(self, job_id: str) -> None:
        self.jobs.pop(job_id, None)
        self.progress.pop(job_id, None)

    def _move(self, place: JobQueuePlace) -> None:
        if waiting := self.jobs.get(place.job_id):
            queue = QueuePlace(position=place.position, waits_for=place.waits_for)
            self.jobs[place.job_id] = waiting.model_copy(update={"queue": queue})

    def running(self) -> list[Job]:
        """The jobs that run or are being started, oldest first."""
        jobs = (job for job in self.jobs.values() if job.status in RUNNING)
        return sorted(jobs, key=lambda job: (job.started_at or job.created_at, job.job_id))

    def waiting(self) -> list[Job]:
        """The waiting jobs, in the order of the queue."""
        jobs = (job for job in self.jobs.values() if job.status is JobState.PENDING)
        return sorted(
            jobs, key=lambda job: (job.queue.position if job.queue else 1 << 30, job.created_at, job.job_id)
        )

    def ended(self, count: int | None = None) -> list[Job]:
        """The `count` jobs that ended last, or all that ended; newest first."""
        jobs = (job for job in self.jobs.values() if job.status.terminal)
        by_end = sorted(jobs, key=lambda job: (job.finished_at or job.created_at, job.job_id), reverse=True)
        return by_end[:count]


@command(app)
async def watch(
    api: Api,
    screen: Screen,
    ended: Annotated[
        int, typer.Option(min=0, max=1000, metavar="N", help="Include the N jobs that ended last.")
    ] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Show the jobs as they change, until Ctrl-C. In a pipe, prints a row for each change."""
    jobs = JobList()
    path = f"/events?ended={ended}"
    if screen.redraws and not as_json:
        async with live_view(screen, lambda: _view(screen, jobs, ended)) as notice:
            async for event in events_of_jobs(api, path, jobs, notice):
                jobs.apply(event)
        return
    head = True
    async for event in events_of_jobs(api, path, jobs, partial(warn, screen)):
        if as_json:
            screen.json({"event": event.name, "data": parse(event.data)}, of_many=True)
        elif (changed := jobs.apply(event)) or (head and event.name == "current"):
            job_table(screen, changed, head=head)
            head = False


def _view(screen: Screen, jobs: JobList, ended: int) -> RenderableType:
    if not jobs.complete:
        return Text("…", style="dim")
    if not jobs.jobs:
        return Text("no jobs yet", style="dim")
    room = max(3, screen.out.height - 4)
    shown = list(chain(jobs.running(), jobs.waiting(), jobs.ended(ended)))
    rows = [[*job_row(job, person=True), bar(jobs.progress.get(job.job_id))] for job in shown[:room]]
    table = screen.rich_table(*with_hosts(COLUMNS, rows, shown[:room]))
    if len(shown) <= room:
        return table
    return Group(table, Text(f"and {len(shown) - room} more", style="dim"))


async def events_of_jobs(
    api: Api, path: str, jobs: JobList, notice: Callable[[str], None]
) -> AsyncIterator[Event]:
    """The events at `path`. A lost connection discards the partial snapshot in `jobs`."""

    def lost(text: str) -> None:
        jobs.discard_snapshot()
        notice(text)

    async with contextlib.aclosing(follow(api, path, params={}, notice=lost)) as events:
        async for event in events:
            yield event


@contextlib.asynccontextmanager
async def live_view(
    screen: Screen, view: Callable[[], RenderableType]
) -> AsyncIterator[Callable[[str], None]]:
    """Redraws the view, with the last notice below it. Yields the function that takes notices."""
    last = ""

    def draw() -> RenderableType:
        return Group(view(), Text(f"ml-job: {last}", style="yellow")) if last else view()

    def notice(text: str) -> None:
        nonlocal last
        last = "" if text == RECONNECTED else text

    async def redraw() -> None:
        while True:
            live.update(draw(), refresh=True)
            await asyncio.sleep(REDRAW_SECONDS)

    with Live(console=screen.out, auto_refresh=False) as live:
        drawing = asyncio.create_task(redraw())
        try:
            yield notice
        finally:
            drawing.cancel()
            live.update(draw(), refresh=True)
