"""Compared jobs, and the metrics of one, as tables."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.table import Column
from rich.text import Text

from ...model.base import ID_PREFIX_LENGTH
from ...model.comparison import ComparedJob, Comparison, MetricSummary
from ...model.metric import JobMetrics
from ..quantities import format_duration, format_size
from ..terminal import Columns, Screen, bold, right, visible
from . import render

GAP = 2  # characters between two columns
BEST = "*"  # marks the best also without colours
Cell = Text | str


def comparison(screen: Screen, compared: Comparison) -> None:
    """One row per job; for a person, what is the same in all is said once, and what has no room is left out.

    A program gets all columns: job, status, seconds, CPU seconds, memory peak, then the parameters and for
    each metric the last value, the least, the greatest and the count.
    """
    jobs = compared.jobs
    parameters = list(dict.fromkeys(name for job in jobs for name in job.hyperparameters))
    metrics = list(dict.fromkeys(name for job in jobs for name in job.metrics or {}))
    if compared.objective and compared.objective.metric in metrics:
        metrics.sort(key=lambda name: name != compared.objective.metric)  # type: ignore[union-attr]
    if not screen.person:
        screen.table([], [_whole_row(job, parameters, metrics) for job in jobs])
        return
    same = [name for name in parameters if len({job.hyperparameters.get(name) for job in jobs}) == 1]
    columns: list[Column | str] = [bold("JOB"), "STATUS", *(right(name) for name in metrics)]
    columns += [right(name) for name in parameters if name not in same or len(jobs) == 1]
    columns += [right("TIME"), right("CPU"), right("MEMORY")]
    if compared.objective is None:
        columns += [right(f"{part} {name}") for name in metrics for part in ("min", "max")]
    rows = [_row(job, compared, metrics, parameters, same) for job in jobs]
    shown = fitting(columns, rows, screen.out.width)
    screen.table(columns[:shown], [row[:shown] for row in rows])
    if same and len(jobs) > 1:
        values = (f"{name}={jobs[0].hyperparameters[name]}" for name in same)
        screen.remark(f"the same in all: {', '.join(values)}", style="dim")
    if compared.best is not None:
        screen.remark(f"{BEST} the best of those that are COMPLETED", style="dim")
    if left_out := len(columns) - shown:
        screen.remark(f"{left_out} columns have no room here; --csv FILE has all", style="dim")


def _row(
    job: ComparedJob, compared: Comparison, metrics: list[str], parameters: list[str], same: list[str]
) -> list[Cell]:
    known = job.metrics or {}
    is_best = job.job_id == compared.best
    row: list[Cell] = [
        job.job_id[:ID_PREFIX_LENGTH],
        Text(job.status, style=render.STATE_STYLES[job.status]),
    ]
    for name in metrics:
        decides = compared.objective is not None and compared.objective.metric == name
        value = _number(known[name].last) if name in known else ""
        row.append(Text(f"{value} {BEST}", style="bold green") if decides and is_best else value)
    row += [
        job.hyperparameters.get(name, "")
        for name in parameters
        if name not in same or len(compared.jobs) == 1
    ]
    row += [
        "" if job.seconds is None else format_duration(job.seconds),
        "" if job.cpu_seconds is None else format_duration(job.cpu_seconds),
        "" if job.memory_peak_bytes is None else format_size(job.memory_peak_bytes),
    ]
    if compared.objective is None:
        row += [_number(value) for name in metrics for value in _bounds(known.get(name))]
    return row


def _whole_row(job: ComparedJob, parameters: list[str], metrics: list[str]) -> list[Cell]:
    values: list[float | None] = [job.seconds, job.cpu_seconds, job.memory_peak_bytes]
    row: list[Cell] = [job.job_id, job.status, *map(_exact, values)]
    row += [job.hyperparameters.get(name, "") for name in parameters]
    for name in metrics:
        summary = (job.metrics or {}).get(name)
        last, count = (summary.last, summary.count) if summary else (None, None)
        row += map(_exact, (last, *_bounds(summary), count))
    return row


def _bounds(summary: MetricSummary | None) -> tuple[float | None, float | None]:
    return (summary.min, summary.max) if summary else (None, None)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def fitting(columns: Columns, rows: Sequence[Sequence[Cell]], width: int) -> int:
    """How many of the columns a terminal of that width shows in one line each; the first two always."""
    taken = 0
    for index, column in enumerate(columns):
        title = column if isinstance(column, str) else str(column.header)
        cells: Iterable[Cell] = (title, *(row[index] for row in rows))
        taken += max(cell_len(visible(str(cell))) for cell in cells)
        if taken > width and index >= 2:
            return index
        taken += GAP
    return len(columns)


def metrics(screen: Screen, reported: JobMetrics) -> None:
    """One row per metric; for a person also its curve."""
    columns: Columns = [bold("METRIC"), right("COUNT"), right("LAST"), right("MIN"), right("MAX"), "CURVE"]
    shown = _number if screen.person else _exact
    rows: list[list[Cell]] = []
    for series in reported.series:
        values = [point.value for point in series.points]
        last = values[-1] if values else None
        row: list[Cell] = [
            series.name,
            str(series.count),
            shown(last),
            shown(series.min),
            shown(series.max),
        ]
        rows.append([*row, render.sparkline(values)] if screen.person and values else row)
    if rows or not screen.person:
        screen.table(columns if screen.person else columns[:-1], rows)
    else:
        screen.remark("ml-job: the job has reported no metrics")
    if progress := reported.progress:
        screen.remark(f"{render.bar(progress)}  {progress.done:g} of {progress.total:g}")
    if reported.refused:
        screen.remark(f"ml-job: {reported.refused} values of further metrics are left out", style="yellow")
    if complaint := render.complaint(reported.ignored):
        screen.remark(f"ml-job: {complaint}", style="yellow")
