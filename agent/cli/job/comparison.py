"""`ml-job compare` and `metrics`: what jobs have reported, side by side or of one."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from ...host.files import write_file
from ...model.comparison import Comparison
from ...model.metric import JobMetrics, MetricSeries
from ..failure import Failure, Refused
from ..program import JsonOption
from ..terminal import Screen
from . import plot
from . import render_comparison as render
from .http import Api, decode
from .invocation import JobArgument, command, resolve, resolve_sweep

app = typer.Typer()

TO_STDOUT = "-"


@command(app)
async def compare(
    api: Api,
    screen: Screen,
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB]...", help="Jobs, as other commands name them; at most 400."),
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(metavar="SWEEP", help="All trials of this sweep, and its objective.")
    ] = None,
    maximize: Annotated[
        str | None, typer.Option(metavar="METRIC", help="Mark the job with the greatest last value.")
    ] = None,
    minimize: Annotated[
        str | None, typer.Option(metavar="METRIC", help="Mark the job with the least last value.")
    ] = None,
    csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write a CSV file; - is stdout.")
    ] = None,
    parquet: Annotated[
        str | None, typer.Option("--parquet", metavar="FILE", help="Write a Parquet file; - is stdout.")
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option("--plot", metavar="FILE", help="Draw FILE.png or FILE.svg; needs matplotlib."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare jobs: their parameters, metrics, time and use of the host. Replaces FILE."""
    if (sweep is None) == (not jobs):
        raise typer.BadParameter("name at least one job, or give --sweep SWEEP; not both")
    if maximize is not None and minimize is not None:
        raise typer.BadParameter("give either --maximize METRIC or --minimize METRIC")
    if sum((csv is not None, parquet is not None, picture is not None, as_json)) > 1:
        raise typer.BadParameter("give one of --csv FILE, --parquet FILE, --plot FILE and --json")
    if picture is not None:
        if Path(picture).suffix.lower().removeprefix(".") not in plot.FORMATS:
            raise typer.BadParameter(f"{picture!r} ends neither in .png nor in .svg")
        plot.check_installed()
    query = [("job", await resolve(api, job)) for job in jobs or ()]
    if sweep is not None:
        query.append(("sweep", await resolve_sweep(api, sweep)))
    query += [
        (name, metric)
        for name, metric in (("maximize", maximize), ("minimize", minimize))
        if metric is not None
    ]
    path = f"/comparison?{urlencode(query)}"
    for file, media_type in ((csv, "text/csv"), (parquet, "application/vnd.apache.parquet")):
        if file is not None:
            async with api.open(path, accept=media_type) as response:
                _save(screen, file, await response.read())
            return
    value = await api.get(path)
    if picture is not None:
        _save(screen, picture, await _picture(api, decode(Comparison, value), Path(picture).suffix.lower()))
        return
    screen.result(value, lambda: render.comparison(screen, decode(Comparison, value)), as_json=as_json)


async def _picture(api: Api, compared: Comparison, suffix: str) -> bytes:
    objective = compared.objective
    if objective is None:
        raise Failure("A picture needs a metric that decides.", "Give --maximize or --minimize.")
    jobs = plot.decided(compared, objective)
    if not jobs:
        raise Failure(f"None of these jobs has reported {objective.metric}.")
    curves: dict[str, MetricSeries] = {}
    for job in jobs[: plot.MAX_CURVES]:
        with contextlib.suppress(Refused):  # its log is gone: its last value is shown all the same
            reported = decode(JobMetrics, await api.get(f"/jobs/{job.job_id}/metrics"))
            for each in reported.series:
                if each.name == objective.metric:
                    curves[job.job_id] = each
    return await asyncio.to_thread(plot.drawn, jobs, objective, curves, suffix.removeprefix("."))


def _save(screen: Screen, file: str, data: bytes) -> None:
    if file == TO_STDOUT:
        screen.write(data)
    else:
        write_file(Path(file), data, mode=0o644, replace=True, durable=False, parents=False)


@command(app)
async def metrics(api: Api, screen: Screen, job: JobArgument, as_json: JsonOption = False) -> None:
    """Show the metrics that a job has reported so far."""
    value = await api.get(f"/jobs/{await resolve(api, job)}/metrics")
    screen.result(value, lambda: render.metrics(screen, decode(JobMetrics, value)), as_json=as_json)
