"""What users have used of the host, as both programs show it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column

from ..host.files import write_file
from ..model.usage import UsageKey, UsageReport, UsageRow
from .quantities import format_size
from .terminal import Screen, bold, right

FromOption = Annotated[
    str | None, typer.Option("--from", metavar="DAY", help="The first day, in UTC, such as 2026-05-01.")
]
ToOption = Annotated[str | None, typer.Option("--to", metavar="DAY", help="The first day that is left out.")]
ByOption = Annotated[UsageKey, typer.Option("--by", help="What a row is about.")]
CsvOption = Annotated[
    str | None, typer.Option("--csv", metavar="FILE", help="Write a CSV file; - is stdout.")
]
TO_STDOUT = "-"
REST = "(others)"  # the scripts, or labels, that are not counted by themselves
UNKNOWN = "-"
HEADS = {UsageKey.USER: "USER", UsageKey.SCRIPT: "SCRIPT", UsageKey.LABEL: "LABEL"}
FIGURES = (
    "jobs",
    "attempts",
    "measured_attempts",
    "seconds",
    "cpu_seconds",
    "memory_gib_hours",
    "memory_peak_gib_hours",
    "memory_peak_bytes",
    "artifact_bytes",
)


def demand_one_form(csv: str | None, *, as_json: bool) -> None:
    """Raises `typer.BadParameter` where both forms are asked for."""
    if csv is not None and as_json:
        raise typer.BadParameter("give either --csv FILE or --json")


def write_csv(screen: Screen, csv: str, table: bytes) -> None:
    """Writes a table to the FILE of `--csv`, in place of what is there, or to stdout."""
    if csv == TO_STDOUT:
        screen.write(table)
    else:
        write_file(Path(csv), table, mode=0o644, replace=True, durable=False, parents=False)


def show(screen: Screen, report: UsageReport) -> None:
    """One row for each month and user, script or label.

    A program gets the month, the name, and all figures as the API has them, empty where they are not known.
    """
    if not screen.person:
        screen.table([], [_whole_row(row) for row in report.rows])
        return
    columns: list[Column | str] = [
        bold("MONTH"),
        HEADS[report.by],
        right("JOBS"),
        right("HOURS"),
        right("CPU h"),
        right("GiB h"),
    ]
    columns += [right("PEAK"), right("ARTIFACTS")]
    screen.table(columns, [_row(row) for row in report.rows])
    if not report.rows:
        screen.remark(f"No attempt ended from {report.since} up to and without {report.until}.")
    if report.by is UsageKey.LABEL and report.rows:
        screen.remark("A job counts in the row of each of its labels.", style="dim")
    attempts, measured = (sum(each) for each in _attempts(report)) if report.rows else (0, 0)
    if measured < attempts:
        screen.remark(
            f"CPU h and PEAK are of {measured} of {attempts} attempts: systemd records no use of short ones.",
            style="dim",
        )


def _attempts(report: UsageReport) -> tuple[list[int], list[int]]:
    return [row.attempts for row in report.rows], [row.measured_attempts for row in report.rows]


def _name(row: UsageRow) -> str:
    return row.user or row.script_name or row.label or REST


def _whole_row(row: UsageRow) -> list[str]:
    return [row.month, _name(row), *(_text(getattr(row, name)) for name in FIGURES)]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _row(row: UsageRow) -> list[str]:
    cpu_hours = None if row.cpu_seconds is None else row.cpu_seconds / 3600
    return [
        row.month,
        _name(row),
        str(row.jobs),
        f"{row.seconds / 3600:.2f}",
        *(UNKNOWN if each is None else f"{each:.2f}" for each in (cpu_hours, row.memory_gib_hours)),
        *(
            UNKNOWN if each is None else format_size(each)
            for each in (row.memory_peak_bytes, row.artifact_bytes)
        ),
    ]
