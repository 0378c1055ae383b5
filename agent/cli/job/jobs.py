"""`ml-job list`, `show`, `explain`, `cancel`, `pin` and `unpin`: jobs that the agent has."""

from typing import Annotated
from urllib.parse import urlencode

import typer
from rich.text import Text

from ...model.explanation import Explanation
from ...model.job import Job, JobPage, JobState
from ...model.log import LogLine, LogStream
from ...model.metric import JobMetrics
from ...model.search import Order
from ..failure import Refused, Unreachable
from ..program import JsonOption
from ..terminal import Screen, visible
from . import render
from .http import Api, decode, parse
from .invocation import JobArgument, command, one_of, resolve
from .submit import check_pairs

app = typer.Typer()

ERROR_LINES = 20  # of the end of a failed job's log, in which its last error is looked for
MAX_ERROR = 500  # characters of it

StatusOption = Annotated[
    str | None,
    typer.Option(
        parser=one_of(JobState, str.upper),
        metavar="STATUS",
        autocompletion=lambda: list(JobState),
        help=f"Only jobs in this state: {', '.join(JobState)}.",
    ),
]
SortOption = Annotated[
    str | None,
    typer.Option(
        parser=one_of(Order),
        metavar="ORDER",
        help=f"One of {', '.join(Order)}; the last two by --metric.",
    ),
]


@command(app, "list")
async def list_jobs(
    api: Api,
    screen: Screen,
    status: StatusOption = None,
    script: Annotated[str | None, typer.Option(metavar="SCRIPT", help="Only jobs of this script.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="USER", help="Only jobs of this user.")] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="KEY=VALUE",
            callback=check_pairs,
            help="Only jobs with this label; repeatable.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="Only ended jobs that have reported this; shows its last value."),
    ] = None,
    sort: SortOption = None,
    shared: Annotated[bool, typer.Option("--shared", help="Jobs that others share with you.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most N jobs.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All jobs, however many.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first. With --json, prints one array."""
    if sort in (Order.HIGHEST, Order.LOWEST) and metric is None:
        raise typer.BadParameter(f"--sort {sort} needs --metric METRIC")
    given = {"status": status, "script": script, "owner": owner, "metric": metric, "sort": sort}
    filters = {key: value for key, value in given.items() if value is not None}
    filters |= {"shared": "true"} if shared else {}
    path = f"/jobs?{urlencode([('label', label) for label in labels])}" if labels else "/jobs"
    reported: dict[str, float] = {}
    most = None if everything else limit
    values = [
        job
        async for job in api.listed(
            path, "jobs", JobPage, filters, limit=most, seen=lambda page: reported.update(page.values or {})
        )
    ]
    if as_json:
        screen.json(values)
    elif values or not screen.person:
        shown = [decode(Job, value) for value in values]
        render.job_table(screen, shown, metric=metric, reported=reported)
    else:
        screen.remark("ml-job: no such jobs" if filters or labels else "ml-job: no jobs yet")


@command(app)
async def show(api: Api, screen: Screen, job: JobArgument, as_json: JsonOption = False) -> None:
    """Show everything about one job."""
    value = await api.get(f"/jobs/{await resolve(api, job)}")
    if as_json:
        screen.json(value)
    else:
        shown = decode(Job, value)
        marks, error = await _marks(api, shown), await _last_error(api, shown)
        render.job_sheet(screen, shown, marks=marks, error=error)


@command(app)
async def explain(api: Api, screen: Screen, job: JobArgument, as_json: JsonOption = False) -> None:
    """Say why a job waits, or why it ended as it did, and what would help."""
    value = await api.get(f"/jobs/{await resolve(api, job)}/explanation")
    shown = decode(Explanation, value)
    screen.result(value, lambda: render.explanation(screen, shown), as_json=as_json)


async def _marks(api: Api, job: Job) -> str:
    """What the agent says about marks of the job that it did not understand."""
    if job.started_at is None or job.removed is not None:
        return ""
    try:
        return render.complaint(decode(JobMetrics, await api.get(f"/jobs/{job.job_id}/metrics")).ignored)
    except Refused:
        return ""  # the log cannot be read now; the job is shown without


async def _last_error(api: Api, job: Job) -> str:
    """The last line that a failed job wrote to stderr, or else to stdout."""
    if job.status is not JobState.FAILED or job.started_at is None or job.removed is not None:
        return ""
    path, last = f"/jobs/{job.job_id}/logs?tail={ERROR_LINES}", {LogStream.STDOUT: "", LogStream.STDERR: ""}
    try:
        async with api.open(path, accept="application/x-ndjson") as response:
            told = [parse(line) for line in (await response.read()).splitlines()]
    except (Refused, Unreachable):
        return ""  # the log cannot be read now; the job is shown without
    for each in told:
        if each["event"] == "line":
            line = decode(LogLine, each["data"])
            if line.stream is not None and line.text.strip():
                last[line.stream] = line.text.strip()[:MAX_ERROR]
    return last[LogStream.STDERR] or last[LogStream.STDOUT]


@command(app)
async def cancel(api: Api, screen: Screen, job: JobArgument, as_json: JsonOption = False) -> None:
    """Cancel a job. It gets SIGTERM, then SIGKILL if it does not end; an ended job stays as it is."""
    value = await api.post(f"/jobs/{await resolve(api, job)}/cancel")
    answer = decode(Job, value)
    said = Text(visible(render.outcome(answer)), style=render.STATE_STYLES[answer.status])
    screen.result(value, lambda: screen.text(said), as_json=as_json)


@command(app)
async def pin(api: Api, screen: Screen, job: JobArgument, as_json: JsonOption = False) -> None:
    """Keep a job, its artifacts and its log until it is unpinned."""
    await _pin(api, screen, job, "PUT", as_json=as_json)


@command(app)
async def unpin(api: Api, screen: Screen, job: JobArgument, as_json: JsonOption = False) -> None:
    """Unpin a job: retention may remove it."""
    await _pin(api, screen, job, "DELETE", as_json=as_json)


async def _pin(api: Api, screen: Screen, job: str, method: str, *, as_json: bool) -> None:
    value = await api.post(f"/jobs/{await resolve(api, job)}/pin", method=method)
    answer = decode(Job, value)
    said = Text(f"job {answer.job_id} is {'' if answer.pinned else 'not '}pinned")
    screen.result(value, lambda: screen.text(said), as_json=as_json)
