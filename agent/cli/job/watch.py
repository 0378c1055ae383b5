"""`ml-job watch`: the list of jobs as it changes; and the live view that it shares with `top`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import chain
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ..terminal import Column, Screen
from .gauges import bar_or_blank
from .http import Api, parse
from .invocation import command
from .job_list import JobList
from .render import JOB_COLUMNS, job_row, job_table, warn
from .stream import RECONNECTED, Event, follow

REDRAW_SECONDS = 0.25
COLUMNS = (*JOB_COLUMNS, Column("PROGRESS"))

app = typer.Typer()


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
            screen.json_line({"event": event.name, "data": parse(event.data)})
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
    rows = [[*job_row(job, person=True), bar_or_blank(jobs.progress.get(job.job_id))] for job in shown[:room]]
    table = screen.rich_table(COLUMNS, rows)
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
