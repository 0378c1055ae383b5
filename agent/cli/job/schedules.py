"""`ml-job schedule`: a job or a sweep that is submitted at times of a calendar."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from ...model.base import ID_PREFIX_LENGTH
from ...model.schedule import (
    Overlap,
    RunState,
    Schedule,
    SchedulePage,
    SchedulePreview,
    ScheduleRun,
    ScheduleRunPage,
)
from ...model.sweep import Pruner, Strategy
from ..program import JsonOption
from ..quantities import parse_duration
from ..terminal import Screen, visible
from . import render_schedules as render
from .http import Api, decode
from .invocation import RefOption, command, one_of, resolve_schedule
from .submit import (
    AttemptsOption,
    CpusOption,
    LabelsOption,
    MemoryOption,
    ParametersOption,
    PriorityOption,
    RetryOption,
    TimeOption,
    limits_of,
    pairs,
    post_once,
)
from .sweeps import AtOnceOption, SeedOption, TrialsOption, sweep_fields

app = typer.Typer(no_args_is_help=True)

ScheduleArgument = Annotated[
    str,
    typer.Argument(
        metavar="SCHEDULE", help="A schedule's id, the first four or more characters of it, or @last."
    ),
]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most N of them.")]

OverlapOption = Annotated[
    str,
    typer.Option(
        parser=one_of(Overlap),
        metavar="POLICY",
        help="While an earlier run goes on: skip the time, queue it, or replace the earlier run.",
    ),
]
DelayOption = Annotated[
    int | None,
    typer.Option(parser=parse_duration, metavar="TIME", help="Delay each time at random, up to this."),
]
SpaceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--space", "-s", metavar="NAME[=VALUES]", help="Submit a sweep; as in `ml-job sweep submit`."
    ),
]
PrunerOption = Annotated[
    str | None, typer.Option(parser=one_of(Pruner), metavar="PRUNER", help="A sweep's pruner.")
]
StrategyOption = Annotated[
    str, typer.Option(parser=one_of(Strategy), metavar="STRATEGY", help="A sweep's strategy.")
]
CalendarArgument = Annotated[
    str, typer.Argument(metavar="CALENDAR", help="When, as in systemd.time(7): 'Mon..Fri 02:00', daily.")
]
ZoneOption = Annotated[
    str, typer.Option(metavar="ZONE", help="The calendar's time zone, such as Europe/Rome.")
]


@command(app)
async def create(
    api: Api,
    screen: Screen,
    calendar: CalendarArgument,
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="A script that `ml-job scripts` lists.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Its name, else the script's.")] = None,
    time_zone: ZoneOption = "UTC",
    overlap: OverlapOption = Overlap.SKIP,
    delay: DelayOption = None,
    parameters: ParametersOption = None,
    ref: RefOption = None,
    labels: LabelsOption = None,
    memory: MemoryOption = None,
    cpus: CpusOption = None,
    time: TimeOption = None,
    priority: PriorityOption = 0,
    max_attempts: AttemptsOption = None,
    retry_on: RetryOption = None,
    space: SpaceOption = None,
    maximize: Annotated[str | None, typer.Option(metavar="METRIC", help="What a sweep maximizes.")] = None,
    minimize: Annotated[str | None, typer.Option(metavar="METRIC", help="What a sweep minimizes.")] = None,
    strategy: StrategyOption = Strategy.TPE,
    trials: TrialsOption = None,
    at_once: AtOnceOption = None,
    pruner: PrunerOption = None,
    seed: SeedOption = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only show the next times.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a schedule, after a look at its next times. Prints its id."""
    submission = _submission(
        script,
        parameters,
        ref=ref,
        labels=pairs(labels),
        limits=limits_of(memory, cpus, time, None),
        priority=priority,
        max_attempts=max_attempts,
        retry_on=retry_on,
    )
    if space:
        submission |= sweep_fields(space, maximize, minimize, strategy, trials, at_once, pruner, seed)
    request: dict[str, object] = {
        "name": name or script,
        "calendar": calendar,
        "time_zone": time_zone,
        "overlap": overlap,
        "randomized_delay_seconds": delay or 0,
        "sweep" if space else "job": submission,
    }
    asks = not yes and sys.stdin.isatty() and screen.watched
    if preview or asks:
        _show_times(screen, await api.post("/schedules/preview", request), as_json=preview and as_json)
    if preview:
        return
    if asks:
        typer.confirm("Make this schedule?", abort=True, err=True)
    _created(screen, await post_once(api, screen, "/schedules", request, kind="schedule"), as_json=as_json)


def _submission(script: str, parameters: list[str] | None, **optional: object) -> dict[str, object]:
    """What a schedule submits; of what is optional, only what was given."""
    given = {key: value for key, value in optional.items() if value}
    return {"script_name": script, "hyperparameters": pairs(parameters), **given}


def _show_times(screen: Screen, value: object, *, as_json: bool) -> None:
    if as_json:
        screen.json(value)
    else:
        render.times(screen, decode(SchedulePreview, value))


def _created(screen: Screen, value: object, *, as_json: bool) -> None:
    schedule = decode(Schedule, value)
    if as_json:
        screen.json(value)
    elif screen.person:
        screen.text(Text.assemble("Made schedule ", (schedule.schedule_id, "bold")))
        short = schedule.schedule_id[:ID_PREFIX_LENGTH]
        screen.remark(f"ml-job schedule runs {short} shows what became of its times", style="dim")
    else:
        screen.write(f"{schedule.schedule_id}\n".encode())


@command(app, "list")
async def list_schedules(
    api: Api,
    screen: Screen,
    owner: Annotated[str | None, typer.Option(metavar="USER", help="Only schedules of this user.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List schedules, newest first, with the next time of each. With --json, prints one array."""
    filters = {} if owner is None else {"owner": owner}
    values = [
        each
        async for each in api.listed("/schedules", "schedules", SchedulePage, filters, limit=limit, length=50)
    ]
    if as_json:
        screen.json(values)
    elif values or not screen.person:
        render.schedule_table(screen, [decode(Schedule, value) for value in values])
    else:
        screen.remark("ml-job: no such schedules" if filters else "ml-job: no schedules yet")


@command(app)
async def show(api: Api, screen: Screen, schedule: ScheduleArgument, as_json: JsonOption = False) -> None:
    """Show a schedule, its next times and its newest run."""
    value = await api.get(f"/schedules/{await resolve_schedule(api, schedule)}")
    screen.result(value, lambda: render.schedule_sheet(screen, decode(Schedule, value)), as_json=as_json)


@command(app)
async def runs(
    api: Api,
    screen: Screen,
    schedule: ScheduleArgument,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List what became of the times of a schedule, newest first. With --json, prints one array."""
    path = f"/schedules/{await resolve_schedule(api, schedule)}/runs"
    values = [each async for each in api.listed(path, "runs", ScheduleRunPage, {}, limit=limit)]

    def table() -> None:
        render.run_table(screen, [decode(ScheduleRun, value) for value in values])

    screen.result(values, table, as_json=as_json)


async def _change(
    api: Api, screen: Screen, schedule: str, what: str, *, method: str = "POST", as_json: bool
) -> None:
    path = f"/schedules/{await resolve_schedule(api, schedule)}{what}"
    value = await api.post(path, method=method)
    answer = decode(Schedule, value)
    said = render.outcome(answer) if method == "POST" else f"Schedule {answer.schedule_id} is removed"
    screen.result(value, lambda: screen.text(Text(visible(said))), as_json=as_json)


@command(app)
async def pause(api: Api, screen: Screen, schedule: ScheduleArgument, as_json: JsonOption = False) -> None:
    """Submit nothing for now. What was submitted goes on."""
    await _change(api, screen, schedule, "/pause", as_json=as_json)


@command(app)
async def resume(api: Api, screen: Screen, schedule: ScheduleArgument, as_json: JsonOption = False) -> None:
    """Submit again, from the next time on; also after the schedule was suspended."""
    await _change(api, screen, schedule, "/resume", as_json=as_json)


@command(app)
async def run(api: Api, screen: Screen, schedule: ScheduleArgument, as_json: JsonOption = False) -> int:
    """Submit now, also while the schedule is paused. Prints the id of the job or the sweep."""
    path = f"/schedules/{await resolve_schedule(api, schedule)}/run"
    value = await api.post(path)
    made = decode(ScheduleRun, value)
    screen.result(value, lambda: render.run_line(screen, made), as_json=as_json)
    return int(made.status is RunState.SKIPPED)


@command(app)
async def remove(api: Api, screen: Screen, schedule: ScheduleArgument, as_json: JsonOption = False) -> None:
    """Remove a schedule and the record of its runs. Jobs and sweeps stay."""
    await _change(api, screen, schedule, "", method="DELETE", as_json=as_json)
