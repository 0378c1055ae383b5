"""`ml-job list`, `show`, `cancel`, `pin` and `unpin`: jobs that the agent has."""

from typing import Annotated

import typer
from rich.text import Text

from ...model.job import Job, JobState
from ..options import JsonOption
from ..terminal import Screen
from ..text import visible
from . import render
from .http import Api, decode
from .invocation import JobArgument, resolve, run

app = typer.Typer()


def _state(text: str) -> JobState:
    # typer would say "Value error" before an error of its own.
    try:
        return JobState(text.upper())
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(JobState)}") from error


@app.command("list")
def list_jobs(
    context: typer.Context,
    status: Annotated[
        JobState | None,
        typer.Option(
            parser=_state,
            metavar="STATUS",
            autocompletion=lambda: list(JobState),
            help=f"Only jobs in this state: {', '.join(JobState)}.",
        ),
    ] = None,
    script: Annotated[str | None, typer.Option(metavar="SCRIPT", help="Only jobs of this script.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="USER", help="Only jobs of this user.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most N jobs.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All jobs, however many.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first. With --json, prints one array."""
    given = {"status": status, "script": script, "owner": owner}
    filters = {key: str(value) for key, value in given.items() if value is not None}

    async def work(api: Api, screen: Screen) -> None:
        values = [job async for job in api.jobs(filters, limit=None if everything else limit)]
        if as_json:
            screen.json(values)
        elif values or not screen.person:
            render.job_table(screen, [decode(Job, value) for value in values])
        else:
            screen.remark("ml-job: no such jobs" if filters else "ml-job: no jobs yet")

    run(context, work)


@app.command()
def show(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Show everything about one job."""

    async def work(api: Api, screen: Screen) -> None:
        value = await api.get(f"/jobs/{await resolve(api, job)}")
        if as_json:
            screen.json(value)
        else:
            render.job_sheet(screen, decode(Job, value))

    run(context, work)


@app.command()
def cancel(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Cancel a job. It gets SIGTERM, then SIGKILL if it does not end; an ended job stays as it is."""

    async def work(api: Api, screen: Screen) -> None:
        value = await api.post(f"/jobs/{await resolve(api, job)}/cancel")
        answer = decode(Job, value)
        if as_json:
            screen.json(value)
        else:
            screen.text(Text(visible(render.outcome(answer)), style=render.STATE_STYLES[answer.status]))

    run(context, work)


@app.command()
def pin(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Keep a job, its artifacts and its log until it is unpinned."""
    _pin(context, job, "PUT", as_json=as_json)


@app.command()
def unpin(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Unpin a job: retention may remove it."""
    _pin(context, job, "DELETE", as_json=as_json)


def _pin(context: typer.Context, job: str, method: str, *, as_json: bool) -> None:
    async def work(api: Api, screen: Screen) -> None:
        value = await api.post(f"/jobs/{await resolve(api, job)}/pin", method=method)
        answer = decode(Job, value)
        if as_json:
            screen.json(value)
        else:
            screen.text(Text(f"job {answer.job_id} is {'' if answer.pinned else 'not '}pinned"))

    run(context, work)
