"""`ml-job watch`: the list of jobs as it changes."""

from functools import partial
from itertools import chain
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from ..terminal import Column, Screen
from .gauges import bar_or_blank
from .http import Api, parse
from .invocation import run
from .job_list import JobList
from .live import events_of_jobs, live_view
from .render import JOB_COLUMNS, job_row, job_table, warn

COLUMNS = (*JOB_COLUMNS, Column("PROGRESS"))

app = typer.Typer()


@app.command()
def watch(
    context: typer.Context,
    ended: Annotated[
        int, typer.Option(min=0, max=1000, metavar="N", help="Include the N jobs that ended last.")
    ] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Show the jobs as they change, until Ctrl-C. In a pipe, prints a row for each change."""

    async def work(api: Api, screen: Screen) -> None:
        await watch_jobs(api, screen, ended=ended, as_json=as_json)

    run(context, work)


async def watch_jobs(api: Api, screen: Screen, *, ended: int, as_json: bool) -> None:
    """Shows the jobs until it is interrupted, also over lost connections."""
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
