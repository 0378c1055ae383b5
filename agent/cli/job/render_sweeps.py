"""Sweeps and trials as tables, sheets and sentences."""

from collections.abc import Iterable, Iterator

from rich.table import Column
from rich.text import Text

from ...model.base import ID_PREFIX_LENGTH, format_number, format_time, now
from ...model.metric import Progress
from ...model.sweep import Dimension, Sweep, SweepState, Trial
from ..quantities import format_duration, format_moment
from ..terminal import Screen, bold, right
from . import render

STATE_STYLES = {
    SweepState.RUNNING: "bold cyan",
    SweepState.PAUSED: "yellow",
    SweepState.ENDING: "magenta",
    SweepState.COMPLETED: "green",
    SweepState.FAILED: "bold red",
    SweepState.CANCELLED: "magenta",
}
SWEEP_COLUMNS = (bold("ID"), "STATUS", "SCRIPT", "NAME", "OWNER", "CREATED", right("TRIALS"), right("BEST"))


def sweep_table(screen: Screen, sweeps: Iterable[Sweep]) -> None:
    """One row per sweep: short ids and ages for a person, whole ids and exact times for a program."""
    screen.table(SWEEP_COLUMNS, [_row(sweep, person=screen.person) for sweep in sweeps])


def _row(sweep: Sweep, *, person: bool) -> list[Text | str]:
    return [
        sweep.sweep_id[:ID_PREFIX_LENGTH] if person else sweep.sweep_id,
        Text(sweep.status, style=STATE_STYLES[sweep.status]),
        sweep.script_name,
        sweep.name or "",
        sweep.owner,
        format_moment(sweep.created_at, person=person),
        f"{sweep.made - sweep.unfinished}/{sweep.trials}",
        _value(sweep.best.value if sweep.best else None, person=person),
    ]


def sweep_sheet(screen: Screen, sweep: Sweep) -> None:
    """Everything about one sweep, one line per fact."""
    screen.sheet(_facts(sweep, person=screen.person))


def _facts(sweep: Sweep, *, person: bool) -> Iterator[tuple[str, Text | str]]:
    yield "sweep", sweep.sweep_id
    yield "status", Text(sweep.status, style=STATE_STYLES[sweep.status])
    yield "reason", sweep.reason or ""
    yield "message", sweep.message or ""
    ended = sweep.made - sweep.unfinished
    yield "progress", render.bar(Progress(done=ended, total=sweep.trials, time=now())) if person else ""
    yield "trials", f"{ended} of {sweep.trials}, {sweep.unfinished} wait or run, {sweep.at_once} at once"
    for kind in ("completed", "pruned", "failed", "cancelled"):
        yield kind, str(getattr(sweep, kind) or "")
    yield "objective", f"{sweep.objective.direction} {sweep.objective.metric}"
    if sweep.best is not None:
        yield "best value", _value(sweep.best.value, person=person)
        yield "best trial", f"{sweep.best.trial}, job {sweep.best.job_id}"
        for name, value in sweep.best.hyperparameters.items():
            yield "best with", f"{name}={value}"
    yield "strategy", f"{sweep.strategy}, seed {sweep.seed}"
    yield "pruner", sweep.pruner or ""
    for name, dimension in sweep.space.items():
        yield "varies", f"{name}={dimension_text(dimension)}"
    for name, value in sorted(sweep.hyperparameters.items()):
        yield "parameter", f"{name}={value}"
    for name, value in sorted(sweep.labels.items()):
        yield "label", f"{name}={value}"
    yield from render.input_facts(sweep.inputs)
    yield "name", sweep.name or ""
    yield "owner", sweep.owner
    yield "script", sweep.script_name
    yield "rerun of", sweep.rerun_of or ""
    slot = sweep.slot
    yield "schedule", f"{sweep.schedule}, for {format_time(slot)}" if sweep.schedule and slot else ""
    yield "commit", sweep.commit
    yield "image", f"{sweep.image} {sweep.image_digest}".strip()
    yield "limits", render.limits_text(sweep.limits)
    yield "priority", str(sweep.priority or "")
    for title, moment in (("created", sweep.created_at), ("finished", sweep.finished_at)):
        yield title, "" if moment is None else format_moment(moment, person=person)
    yield "pinned", "yes" if sweep.pinned else ""


def dimension_text(dimension: Dimension) -> str:
    """As `--space` takes it: `1..64`, `0.0001..1:log`, `gini,entropy`."""
    if dimension.values is not None:
        return ",".join(dimension.values)
    low, high = (format_number(bound or 0) for bound in (dimension.low, dimension.high))
    step = "" if dimension.step is None else f":{format_number(dimension.step)}"
    return f"{low}..{high}{step}{':log' if dimension.log else ''}"


def trial_table(screen: Screen, sweep: Sweep, trials: Iterable[Trial]) -> None:
    """One row per trial, with a column for each hyperparameter of the space; the best is marked."""
    best = sweep.best.trial if sweep.best else None
    names = list(sweep.space)
    columns: list[Column | str] = [
        right("TRIAL"),
        bold("JOB"),
        "STATUS",
        "REASON",
        right("VALUE"),
        *names,
        right("TIME"),
    ]
    rows = [
        [
            str(trial.trial),
            trial.job_id[:ID_PREFIX_LENGTH] if screen.person else trial.job_id,
            Text(trial.status, style=render.STATE_STYLES[trial.status]),
            trial.reason or "",
            Text(
                _value(trial.value, person=screen.person), style="bold green" if trial.trial == best else ""
            ),
            *(trial.hyperparameters.get(name, "") for name in names),
            _taken(trial, person=screen.person),
        ]
        for trial in trials
    ]
    screen.table(columns, rows)


def _taken(trial: Trial, *, person: bool) -> str:
    if trial.started_at is None:
        return ""
    seconds = ((trial.finished_at or now()) - trial.started_at).total_seconds()
    return format_duration(seconds) if person else f"{seconds:.3f}"


def _value(value: float | None, *, person: bool) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if person else repr(value)


def outcome(sweep: Sweep) -> str:
    """A sweep's state as a sentence, such as `sweep … is RUNNING: 3 of 60 trials, the best 0.91; pinned`."""
    ended = sweep.made - sweep.unfinished
    sentence = f"sweep {sweep.sweep_id} is {sweep.status}"
    sentence += f" ({sweep.reason})" if sweep.reason else ""
    sentence += f": {ended} of {sweep.trials} trials"
    sentence += f", the best {sweep.best.value:.6g}" if sweep.best else ""
    sentence += "; pinned" if sweep.pinned else ""
    sentence += f" since {format_time(sweep.finished_at)}" if sweep.finished_at and not sweep.pinned else ""
    return f"{sentence}. {sweep.message}" if sweep.message else sentence
