"""`ml-agent drain` and `resume`: from when, and until when, the host runs no jobs."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from ...config import Settings
from ...config_files import load
from ...model.base import format_time, now
from ...model.host import MAX_DRAIN_REASON, Drain
from ...model.job import Job, JobState
from ...model.problem import refusals
from ...scheduling.queue import longest
from ...store.store import Store
from ..program import JsonOption
from ..quantities import parse_time
from ..terminal import Screen
from . import shared

NOT_DRAINED = "not drained, and no drain is planned"

app = typer.Typer()


@app.command()
def drain(
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Run jobs again from this time on, or in 2h, for example."),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="When the host is to run no jobs, or in how long.",
            show_default="now",
        ),
    ] = None,
    reason: Annotated[
        str,
        typer.Option(metavar="TEXT", help=f"What users are told; up to {MAX_DRAIN_REASON} characters."),
    ] = "",
    show: Annotated[bool, typer.Option("--show", help="Change nothing; show what is planned.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start no job that could still run at the beginning of a maintenance. Jobs that run go on.

    Without --from it begins now; without --until, `ml-agent resume` ends it. There is one drain: a new one
    takes the place of the one before.
    """
    settings, screen = load(), Screen()
    if show:
        if until or begin or reason:
            raise typer.BadParameter("goes with --json alone", param_hint="--show")
        planned, jobs = shared.in_store(settings, _planned)
    else:
        wanted = _wanted(begin, until, reason)
        planned, jobs = shared.in_store(settings, lambda store: _set(store, wanted))
    document = _document(settings, planned, jobs)
    screen.result(document, lambda: _print(document), as_json=as_json)


@app.command()
def resume() -> None:
    """End a drain, or call off one that is planned: jobs start again."""
    deed = shared.account().did("undrainHost")
    ended = shared.in_store(load(), lambda store: store.drains.end(deed=deed))
    typer.echo(f"resumed  it was {_sentence(ended)}" if ended else NOT_DRAINED)


def _wanted(begin: str | None, until: str | None, reason: str) -> Drain:
    """The drain that the options mean. Raises `typer.BadParameter`."""
    moment = now()
    begins_at = max(parse_time(begin, ahead=True), moment) if begin else moment
    ends_at = parse_time(until, ahead=True) if until else None
    if ends_at and ends_at <= begins_at:
        raise typer.BadParameter(
            f"{format_time(ends_at)} is not after the beginning, {format_time(begins_at)}",
            param_hint="--until",
        )
    try:
        return Drain(begins_at=begins_at, ends_at=ends_at, reason=reason)
    except ValidationError as error:
        why = "; ".join(why for _, why in refusals(error, unknown="is not known"))
        raise typer.BadParameter(why, param_hint="--reason") from error


async def _set(store: Store, wanted: Drain) -> tuple[Drain | None, list[Job]]:
    """The drain that holds now, and the jobs that had not ended when it did."""
    said = {"reason": wanted.reason, "ends_at": format_time(wanted.ends_at) if wanted.ends_at else ""}
    details = {"begins_at": format_time(wanted.begins_at)} | {key: text for key, text in said.items() if text}
    held = await store.drains.set(wanted, deed=shared.account().did("drainHost", **details))
    return held, await store.jobs.active()


async def _planned(store: Store) -> tuple[Drain | None, list[Job]]:
    return await store.drains.get(), await store.jobs.active()


def _document(settings: Settings, planned: Drain | None, jobs: Iterable[Job]) -> dict[str, Any]:
    """The drain, the jobs that run, by when each must have ended, and how many wait."""
    waiting, running = 0, []
    for job in jobs:
        if job.status is JobState.PENDING:
            waiting += 1
            continue
        # One that is about to start has no time yet.
        ends_by = (job.started_at or now()) + timedelta(seconds=longest(settings.jobs, job))
        may_overrun = planned is not None and ends_by > max(planned.begins_at, now())
        known = {"job_id": job.job_id, "owner": job.owner, "ends_by": format_time(ends_by)}
        running.append(known | {"may_run_into_it": may_overrun})
    drained = planned.model_dump(mode="json", exclude_none=True) if planned else None
    return {"drain": drained, "waiting": waiting, "running": running}


def _print(document: dict[str, Any]) -> None:
    planned = document["drain"] and Drain.model_validate(document["drain"])
    typer.echo(_sentence(planned) if planned else NOT_DRAINED)
    for job in document["running"]:
        typer.echo(f"  runs   {job['job_id']} of {job['owner']}, until {job['ends_by']} at the latest")
    if waiting := document["waiting"]:
        typer.echo(f"  waits  {'1 job' if waiting == 1 else f'{waiting} jobs'}")
    if planned is None:
        return
    if any(job["may_run_into_it"] for job in document["running"]):
        typer.echo(
            "A shutdown interrupts a job that runs. `ml-agent drain --show` names none when all have ended.",
            err=True,
        )
    if planned.ends_at is None:
        typer.echo("It has no end: `ml-agent resume` lets jobs start again.", err=True)


def _sentence(planned: Drain, moment: datetime | None = None) -> str:
    """`drained until 2026-01-01T12:00:00.000Z: kernel`, `drained from … until …`."""
    moment = moment or now()
    begins = f" from {format_time(planned.begins_at)}" if planned.begins_at > moment else ""
    ends = f" until {format_time(planned.ends_at)}" if planned.ends_at else ""
    return f"drained{begins}{ends}{f': {planned.reason}' if planned.reason else ''}"
