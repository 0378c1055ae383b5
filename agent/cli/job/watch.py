"""Jobs on the screen as they change: the list of them (`watch`), and what the running ones use (`top`)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ...model.base import ID_PREFIX_LENGTH
from ...model.event import JobProgress, JobQueuePlace, JobRemoved
from ...model.host import QueuePlace, Usage
from ...model.job import Job, JobState
from ...model.metric import JobMetrics, Progress
from ..failure import Failure
from ..quantities import format_duration, format_size
from ..terminal import Column, Screen
from .gauges import bar
from .http import Api, decode, parse
from .render import JOB_COLUMNS, job_row, job_table, seconds_taken
from .stream import Event, follow

REDRAW_SECONDS = 0.25
FIRST_LOOK_SECONDS = 1.0  # over which a CPU share is counted where nothing was seen before
RUNNING = (JobState.CREATED, JobState.RUNNING)
PROGRESS_COLUMN = Column("PROGRESS")
TOP_COLUMNS = (
    Column("ID", style="bold"),
    Column("SCRIPT"),
    Column("NAME"),
    Column("OWNER"),
    Column("TIME", justify="right"),
    Column("CPU", justify="right"),
    Column("MEMORY", justify="right"),
    Column("PROGRESS"),
)


@dataclass
class JobList:
    """The jobs as the events tell them. A snapshot takes effect when it is complete."""

    jobs: dict[str, Job] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    complete: bool = False
    _snapshot: dict[str, Job] | None = None

    def take(self, event: Event) -> list[Job]:
        """An event; returns the jobs that have changed by it, in the order of their rows."""
        value = parse(event.data)
        match event.name:
            case "reset":
                self._snapshot = {}
            case "job":
                job = decode(Job, value)
                if self._snapshot is not None:
                    self._snapshot[job.job_id] = job
                else:
                    self._put(job)
                    return [job]
            case "removed":
                self._drop(decode(JobRemoved, value).job_id)
            case "current":
                self.complete = True
                if self._snapshot is not None:
                    known, self.jobs, self._snapshot = self.jobs, self._snapshot, None
                    rows = (*reversed(self.ended()), *self.running(), *self.waiting())
                    return [job for job in rows if not _same(job, known.get(job.job_id))]
            case "queue":
                place = decode(JobQueuePlace, value)
                if waiting := self.jobs.get(place.job_id):
                    queue = QueuePlace(position=place.position, waits_for=place.waits_for)
                    self.jobs[place.job_id] = waiting.model_copy(update={"queue": queue})
            case "progress":
                said = decode(JobProgress, value)
                self.progress[said.job_id] = said
            case _:
                pass  # a newer agent tells more
        return []

    def lost(self) -> None:
        """The connection was: what it brought of a snapshot is sent again, or is not asked for any more."""
        self._snapshot = None

    def _put(self, job: Job) -> None:
        self.jobs.pop(job.job_id, None)
        self.jobs[job.job_id] = job
        if job.status not in RUNNING:
            self.progress.pop(job.job_id, None)

    def _drop(self, job_id: str) -> None:
        self.jobs.pop(job_id, None)
        self.progress.pop(job_id, None)

    def running(self) -> list[Job]:
        """Those that run or are being started, the oldest first."""
        jobs = (job for job in self.jobs.values() if job.status in RUNNING)
        return sorted(jobs, key=lambda job: (job.started_at or job.created_at, job.job_id))

    def waiting(self) -> list[Job]:
        """Those that wait, in their order."""
        jobs = (job for job in self.jobs.values() if job.status is JobState.PENDING)
        return sorted(
            jobs, key=lambda job: (job.queue.position if job.queue else 1 << 30, job.created_at, job.job_id)
        )

    def ended(self, count: int | None = None) -> list[Job]:
        """The last so many of those that have ended, or all, the newest first."""
        jobs = (job for job in self.jobs.values() if job.status.terminal)
        return sorted(jobs, key=lambda job: (job.finished_at or job.created_at, job.job_id), reverse=True)[
            :count
        ]


def _same(job: Job, known: Job | None) -> bool:
    return known is not None and known.revision == job.revision


async def watch_jobs(api: Api, screen: Screen, *, ended: int, as_json: bool) -> None:
    """Goes on until it is interrupted, over lost connections."""
    jobs = JobList()
    path = f"/events?ended={ended}"
    if screen.redraws and not as_json:
        async with _shown(screen, lambda: _list_view(screen, jobs, ended)) as notice:
            async for event in _events(api, path, jobs, notice):
                jobs.take(event)
        return
    head = True
    async for event in _events(
        api, path, jobs, lambda text: screen.remark(f"ml-job: {text}", style="yellow")
    ):
        if as_json:
            screen.json_line({"event": event.name, "data": parse(event.data)})
        elif (changed := jobs.take(event)) or (head and event.name == "current"):
            job_table(screen, changed, head=head)
            head = False


def _list_view(screen: Screen, jobs: JobList, ended: int) -> RenderableType:
    if not jobs.complete:
        return Text("…", style="dim")
    if not jobs.jobs:
        return Text("no jobs yet", style="dim")
    room = max(3, screen.out.height - 4)
    shown = list(chain(jobs.running(), jobs.waiting(), jobs.ended(ended)))
    rows = [[*job_row(job, person=True), _bar(jobs.progress.get(job.job_id))] for job in shown[:room]]
    table = screen.rich_table((*JOB_COLUMNS, PROGRESS_COLUMN), rows)
    if len(shown) <= room:
        return table
    return Group(table, Text(f"and {len(shown) - room} more", style="dim"))


def _bar(progress: Progress | None) -> str:
    return "" if progress is None else bar(progress)


async def _events(api: Api, path: str, jobs: JobList, notice: Callable[[str], None]) -> AsyncIterator[Event]:
    """The events; the list and the reader hear of each connection that was lost."""

    def lost(text: str) -> None:
        jobs.lost()
        notice(text)

    async with contextlib.aclosing(follow(api, path, params={}, notice=lost)) as events:
        async for event in events:
            yield event


@contextlib.asynccontextmanager
async def _shown(screen: Screen, view: Callable[[], RenderableType]) -> AsyncIterator[Callable[[str], None]]:
    """Draws the view again and again, with the last notice below it."""
    notices: list[str] = []

    def draw() -> RenderableType:
        said = notices[-1] if notices else ""
        return Group(view(), Text(f"ml-job: {said}", style="yellow")) if said else view()

    def notice(text: str) -> None:
        notices[:] = [] if text == "Connected again." else [text]

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


@dataclass
class Meter:
    """What units use, and what share of a CPU between two looks: 1.0 is one CPU."""

    used: dict[str, Usage] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    async def look(self, api: Api, jobs: Iterable[Job]) -> None:
        """Asks for each job; one that has just ended, or an agent that is away, is passed over."""
        found = await asyncio.gather(*(_usage(api, job) for job in jobs))
        before, self.used = self.used, {usage.job_id: usage for usage in found if usage is not None}
        self.shares = {
            job_id: share
            for job_id, usage in self.used.items()
            if job_id in before and (share := _share(before[job_id], usage)) is not None
        }


async def _usage(api: Api, job: Job) -> Usage | None:
    with contextlib.suppress(Failure):
        return decode(Usage, await api.get(f"/jobs/{job.job_id}/usage"))
    return None


def _share(before: Usage, after: Usage) -> float | None:
    seconds = (after.at - before.at).total_seconds()
    if before.cpu_seconds is None or after.cpu_seconds is None or seconds <= 0:
        return None
    return max(0.0, after.cpu_seconds - before.cpu_seconds) / seconds


async def show_top(api: Api, screen: Screen, *, interval: float, as_json: bool) -> None:
    """A table that is drawn again and again for a person; otherwise what there is, once."""
    meter = Meter()
    if as_json or not screen.redraws:
        await _top_once(api, screen, meter, as_json=as_json)
        return
    jobs = JobList()

    def view() -> RenderableType:
        running = jobs.running()
        if not running:
            return Text("nothing runs" if jobs.complete else "…", style="dim")
        return screen.rich_table(
            TOP_COLUMNS, [_top_row(job, meter, jobs.progress.get(job.job_id), person=True) for job in running]
        )

    async def look() -> None:
        while True:
            await meter.look(api, jobs.running())
            await asyncio.sleep(interval)

    async with _shown(screen, view) as notice:
        looking = asyncio.create_task(look())
        try:
            async for event in _events(api, "/events?ended=0", jobs, notice):
                jobs.take(event)
        finally:
            looking.cancel()


async def _top_once(api: Api, screen: Screen, meter: Meter, *, as_json: bool) -> None:
    values = [value async for value in api.jobs({"status": JobState.RUNNING}, limit=None)]
    jobs = [decode(Job, value) for value in values]
    await meter.look(api, jobs)
    if jobs:
        await asyncio.sleep(FIRST_LOOK_SECONDS)
        await meter.look(api, jobs)
    said = await asyncio.gather(*(_progress(api, job) for job in jobs))
    if as_json:
        screen.json(
            [
                _top_value(value, job, meter, progress)
                for value, job, progress in zip(values, jobs, said, strict=True)
            ]
        )
    else:
        screen.table(
            TOP_COLUMNS,
            [
                _top_row(job, meter, progress, person=screen.person)
                for job, progress in zip(jobs, said, strict=True)
            ],
        )


async def _progress(api: Api, job: Job) -> Progress | None:
    with contextlib.suppress(Failure):
        return decode(JobMetrics, await api.get(f"/jobs/{job.job_id}/metrics")).progress
    return None


def _top_row(job: Job, meter: Meter, progress: Progress | None, *, person: bool) -> list[Text | str]:
    share, used = meter.shares.get(job.job_id), meter.used.get(job.job_id)
    memory = used.memory_bytes if used else None
    taken = seconds_taken(job)
    if person:
        return [
            job.job_id[:ID_PREFIX_LENGTH],
            job.script_name,
            job.name or "",
            job.owner,
            "" if taken is None else format_duration(taken),
            "" if share is None else f"{share:.0%}".replace("%", " %"),
            "" if memory is None else format_size(memory),
            _bar(progress),
        ]
    return [
        job.job_id,
        job.script_name,
        job.name or "",
        job.owner,
        "" if taken is None else f"{taken:.3f}",
        "" if share is None else f"{share:.3f}",
        "" if memory is None else str(memory),
        "" if progress is None else f"{progress.done / progress.total:.4f}",
    ]


def _top_value(value: Any, job: Job, meter: Meter, progress: Progress | None) -> dict[str, Any]:
    """A job as the agent gave it, with what else is known."""
    known: dict[str, Any] = {"job": value}
    if job.job_id in meter.used:
        known["usage"] = meter.used[job.job_id].model_dump(mode="json", exclude_none=True)
    if job.job_id in meter.shares:
        known["cpus_used"] = round(meter.shares[job.job_id], 3)
    if progress is not None:
        known["progress"] = progress.model_dump(mode="json")
    return known
