"""Schedules and their runs as tables, sheets and sentences."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from rich.text import Text

from ...model.base import ID_PREFIX_LENGTH, format_time
from ...model.schedule import RunState, Schedule, SchedulePreview, ScheduleRun, ScheduleState
from ..quantities import format_duration, format_moment
from ..terminal import Screen, bold
from . import render

STATE_STYLES = {
    ScheduleState.ACTIVE: "green",
    ScheduleState.PAUSED: "yellow",
    ScheduleState.SUSPENDED: "bold red",
}
RUN_STYLES = {RunState.WAITING: "yellow", RunState.SUBMITTED: "green", RunState.SKIPPED: "magenta"}
SCHEDULE_COLUMNS = (bold("ID"), "STATUS", "NAME", "CALENDAR", "SCRIPT", "OWNER", "NEXT", "LAST")
RUN_COLUMNS = (bold("TIME"), "STATUS", "JOB OR SWEEP", "REASON", "MESSAGE")


def schedule_table(screen: Screen, schedules: Iterable[Schedule]) -> None:
    """One row per schedule: short ids for a person, whole ids for a program."""
    screen.table(SCHEDULE_COLUMNS, [_row(schedule, person=screen.person) for schedule in schedules])


def _row(schedule: Schedule, *, person: bool) -> list[Text | str]:
    return [
        schedule.schedule_id[:ID_PREFIX_LENGTH] if person else schedule.schedule_id,
        Text(schedule.status, style=STATE_STYLES.get(schedule.status, "")),
        schedule.name,
        schedule.expression,
        _script(schedule),
        schedule.owner,
        _time(schedule.next[0]) if schedule.next else "",
        f"{_time(schedule.last.slot)} {schedule.last.status}" if schedule.last else "",
    ]


def schedule_sheet(screen: Screen, schedule: Schedule) -> None:
    """Everything about one schedule, one line per fact."""
    screen.sheet(_facts(schedule, person=screen.person))


def _facts(schedule: Schedule, *, person: bool) -> Iterator[tuple[str, Text | str]]:
    yield "schedule", schedule.schedule_id
    yield "status", Text(schedule.status, style=STATE_STYLES.get(schedule.status, ""))
    yield "reason", schedule.reason or ""
    yield "message", schedule.message or ""
    yield "name", schedule.name
    yield "owner", schedule.owner
    yield "calendar", schedule.expression
    for time in schedule.next:
        yield "next", _time(time)
    delay = schedule.randomized_delay_seconds
    yield "delay", f"up to {format_duration(delay)}, at random" if delay else ""
    yield "overlap", schedule.overlap
    if (last := schedule.last) is not None:
        yield "last run", " ".join(filter(None, (_time(last.slot), last.status, _made(last), last.message)))
    submission = schedule.sweep or schedule.job
    if submission is not None:
        yield "submits", f"a {'sweep' if schedule.sweep else 'job'} of {submission.script_name}"
        yield "ref", submission.ref or ""
        for name, value in sorted(submission.hyperparameters.items()):
            yield "parameter", f"{name}={value}"
        for name, value in sorted(submission.labels.items()):
            yield "label", f"{name}={value}"
        yield "limits", render.limits_text(submission.limits)
        yield "priority", str(submission.priority or "")
    yield "created", format_moment(schedule.created_at, person=person)


def run_table(screen: Screen, runs: Iterable[ScheduleRun]) -> None:
    """One row per run."""
    rows = [
        [
            _time(run.slot) + (" by hand" if run.manual else ""),
            Text(run.status, style=RUN_STYLES.get(run.status, "")),
            _made(run),
            run.reason or "",
            run.message or "",
        ]
        for run in runs
    ]
    screen.table(RUN_COLUMNS, rows)


def run_line(screen: Screen, run: ScheduleRun) -> None:
    """What became of a run: for a program the id of what was made, if anything was."""
    if not screen.person and _made(run):
        screen.write(f"{_made(run)}\n".encode())
    else:
        said = " ".join(filter(None, (run.status, _made(run), run.reason, run.message)))
        screen.text(Text(said, style=RUN_STYLES.get(run.status, "")))


def times(screen: Screen, preview: SchedulePreview) -> None:
    """The next times, one a line."""
    screen.sheet([("calendar", preview.expression), *(("next", _time(time)) for time in preview.next)])


def outcome(schedule: Schedule) -> str:
    """What a schedule does now, in a sentence."""
    said = f"Schedule {schedule.schedule_id} is {schedule.status}"
    return f"{said}, next at {_time(schedule.next[0])}" if schedule.next else said


def _script(schedule: Schedule) -> str:
    submission = schedule.sweep or schedule.job
    return submission.script_name if submission else ""


def _made(run: ScheduleRun) -> str:
    return run.job_id or run.sweep_id or ""


def _time(moment: datetime) -> str:
    """A time of a calendar, which has whole seconds; one of a run by hand has milliseconds."""
    return format_time(moment).replace(".000Z", "Z")
