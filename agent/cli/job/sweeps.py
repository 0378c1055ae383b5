"""`ml-job sweep`: one script with many hyperparameters, followed to the best of them."""

from typing import Annotated

import typer
from rich.text import Text

from ...model.base import ID_PREFIX_LENGTH
from ...model.sweep import Direction, Pruner, Strategy, Sweep, SweepPage, SweepState, Trial, TrialPage
from ..program import JsonOption
from ..terminal import Screen, visible
from . import render_sweeps as render
from .http import Api, decode
from .invocation import RefOption, command, one_of, resolve_sweep
from .sharing import EverybodyOption, StopOption, WithOption, readers_of, readers_text
from .submit import (
    CpusOption,
    InputsOption,
    LabelsOption,
    MemoryOption,
    NameOption,
    ParametersOption,
    PriorityOption,
    TimeOption,
    inputs_of,
    limits_of,
    pairs,
    post_once,
)

app = typer.Typer(no_args_is_help=True)

FLAGS = ("log", "integer", "number")  # what may follow a range, besides its step
SweepArgument = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP", help="A sweep's id, the first four or more characters of a recent one, or @last."
    ),
]
SpaceOption = Annotated[
    list[str],
    typer.Option(
        "--space",
        "-s",
        metavar="NAME[=VALUES]",
        help="A hyperparameter to vary: NAME for all that the script declares, NAME=A,B,C for values,"
        " NAME=LOW..HIGH for a range, NAME=LOW..HIGH:STEP, NAME=LOW..HIGH:log. Repeatable.",
    ),
]
TrialsOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="How many trials, in all.")]
AtOnceOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="How many trials may wait or run at once.")
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="The same seed gives the same suggestions.")
]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most N of them.")]
AllOption = Annotated[bool, typer.Option("--all", help="All of them, however many.")]


def dimension(text: str) -> tuple[str, dict[str, object]]:
    """A hyperparameter's name and values, from `--space`. Raises `typer.BadParameter`."""
    name, given, values = text.partition("=")
    if not name or (given and not values):
        raise typer.BadParameter(f"{text!r} is not of the form NAME, NAME=A,B,C or NAME=LOW..HIGH")
    low, ranged, rest = values.partition("..")
    if not given:
        return name, {}
    if not ranged:
        return name, {"values": values.split(",")}
    high, *words = rest.split(":")
    found: dict[str, object] = {"low": _number(low), "high": _number(high)}
    for word in words:
        if word in FLAGS:
            found |= {"log": True} if word == "log" else {"type": word}
        else:
            found["step"] = _number(word)
    return name, found


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a number") from error


def _space(texts: list[str]) -> dict[str, dict[str, object]]:
    space: dict[str, dict[str, object]] = {}
    for text in texts:
        name, values = dimension(text)
        if name in space:
            raise typer.BadParameter(f"{name} is given twice")
        space[name] = values
    return space


def _objective(maximize: str | None, minimize: str | None) -> dict[str, str]:
    if (maximize is None) == (minimize is None):
        raise typer.BadParameter("give either --maximize METRIC or --minimize METRIC")
    if maximize is not None:
        return {"metric": maximize, "direction": Direction.MAXIMIZE}
    return {"metric": str(minimize), "direction": Direction.MINIMIZE}


def sweep_fields(
    space: list[str],
    maximize: str | None,
    minimize: str | None,
    strategy: str,
    trials: int | None,
    at_once: int | None,
    pruner: str | None,
    seed: int | None,
) -> dict[str, object]:
    """What the request for a sweep has besides that for a job. Raises `typer.BadParameter`."""
    optional = {"trials": trials, "at_once": at_once, "pruner": pruner, "seed": seed}
    return {
        "space": _space(space),
        "strategy": strategy,
        "objective": _objective(maximize, minimize),
        **{key: value for key, value in optional.items() if value is not None},
    }


@command(app)
async def submit(
    api: Api,
    screen: Screen,
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="A script that `ml-job scripts` lists.")],
    space: SpaceOption,
    maximize: Annotated[str | None, typer.Option(metavar="METRIC", help="The metric to maximize.")] = None,
    minimize: Annotated[str | None, typer.Option(metavar="METRIC", help="The metric to minimize.")] = None,
    strategy: Annotated[
        str, typer.Option(parser=one_of(Strategy), metavar="STRATEGY", help=f"One of {', '.join(Strategy)}.")
    ] = Strategy.TPE,
    trials: TrialsOption = None,
    at_once: AtOnceOption = None,
    pruner: Annotated[
        str | None,
        typer.Option(
            parser=one_of(Pruner), metavar="PRUNER", help=f"End bad trials early: {' or '.join(Pruner)}."
        ),
    ] = None,
    seed: SeedOption = None,
    parameters: ParametersOption = None,
    ref: RefOption = None,
    name: NameOption = None,
    labels: LabelsOption = None,
    memory: MemoryOption = None,
    cpus: CpusOption = None,
    time: TimeOption = None,
    priority: PriorityOption = 0,
    inputs: InputsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Submit a sweep. Prints its id."""
    optional: dict[str, object] = {
        "inputs": await inputs_of(api, inputs) or None,
        "ref": ref,
        "name": name,
        "labels": pairs(labels) or None,
        "limits": limits_of(memory, cpus, time, None) or None,
        "priority": priority or None,
    }
    request = {
        "script_name": script,
        "hyperparameters": pairs(parameters),
        **sweep_fields(space, maximize, minimize, strategy, trials, at_once, pruner, seed),
        **{key: value for key, value in optional.items() if value is not None},
    }
    _submitted(screen, await post_once(api, screen, "/sweeps", request, kind="sweep"), as_json=as_json)


@command(app)
async def rerun(
    api: Api,
    screen: Screen,
    sweep: SweepArgument,
    trials: TrialsOption = None,
    at_once: AtOnceOption = None,
    seed: SeedOption = None,
    name: NameOption = None,
    labels: LabelsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a sweep again, with its commit, image, space and seed, except for what is given here."""
    optional = {"trials": trials, "at_once": at_once, "seed": seed, "name": name}
    changes: dict[str, object] = {key: value for key, value in optional.items() if value is not None}
    if labels:
        changes["labels"] = pairs(labels)
    path = f"/sweeps/{await resolve_sweep(api, sweep)}/rerun"
    _submitted(screen, await post_once(api, screen, path, changes, kind="sweep"), as_json=as_json)


def _submitted(screen: Screen, value: object, *, as_json: bool) -> None:
    sweep = decode(Sweep, value)
    if as_json:
        screen.json(value)
    elif screen.person:
        screen.text(Text.assemble("Submitted as sweep ", (sweep.sweep_id, "bold")))
        short = sweep.sweep_id[:ID_PREFIX_LENGTH]
        screen.remark(f"ml-job sweep show {short} shows how far it is", style="dim")
    else:
        screen.write(f"{sweep.sweep_id}\n".encode())


@command(app, "list")
async def list_sweeps(
    api: Api,
    screen: Screen,
    status: Annotated[
        str | None,
        typer.Option(
            parser=one_of(SweepState, str.upper),
            metavar="STATUS",
            help=f"Only these: {', '.join(SweepState)}.",
        ),
    ] = None,
    owner: Annotated[str | None, typer.Option(metavar="USER", help="Only sweeps of this user.")] = None,
    shared: Annotated[bool, typer.Option("--shared", help="Sweeps that others share with you.")] = False,
    limit: LimitOption = 20,
    everything: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """List sweeps, newest first. With --json, prints one array."""
    filters = {key: value for key, value in {"status": status, "owner": owner}.items() if value is not None}
    filters |= {"shared": "true"} if shared else {}
    most = None if everything else limit
    values = [each async for each in api.listed("/sweeps", "sweeps", SweepPage, filters, limit=most)]
    if as_json:
        screen.json(values)
    elif values or not screen.person:
        render.sweep_table(screen, [decode(Sweep, value) for value in values])
    else:
        screen.remark("ml-job: no such sweeps" if filters else "ml-job: no sweeps yet")


@command(app)
async def show(api: Api, screen: Screen, sweep: SweepArgument, as_json: JsonOption = False) -> None:
    """Show how far a sweep is, and its best trial."""
    value = await api.get(f"/sweeps/{await resolve_sweep(api, sweep)}")
    screen.result(value, lambda: render.sweep_sheet(screen, decode(Sweep, value)), as_json=as_json)


@command(app)
async def trials(
    api: Api,
    screen: Screen,
    sweep: SweepArgument,
    best: Annotated[bool, typer.Option("--best", help="The best first, not in the order of trials.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List all trials of a sweep. With --json, prints one array."""
    path = f"/sweeps/{await resolve_sweep(api, sweep)}"
    known = decode(Sweep, await api.get(path))
    values = [each async for each in api.listed(f"{path}/trials", "trials", TrialPage, {}, limit=None)]
    if best:
        sign = -1 if known.objective.direction is Direction.MAXIMIZE else 1
        values.sort(key=lambda each: sign * each["value"] if "value" in each else float("inf"))

    def table() -> None:
        render.trial_table(screen, known, [decode(Trial, value) for value in values])

    screen.result(values, table, as_json=as_json)


async def _change(
    api: Api,
    screen: Screen,
    sweep: str,
    what: str,
    *,
    method: str = "POST",
    body: object = None,
    as_json: bool,
) -> None:
    value = await api.post(f"/sweeps/{await resolve_sweep(api, sweep)}/{what}", body, method=method)
    answer = decode(Sweep, value)
    said = Text(visible(render.outcome(answer)), style=render.STATE_STYLES[answer.status])
    screen.result(value, lambda: screen.text(said), as_json=as_json)


@command(app)
async def cancel(api: Api, screen: Screen, sweep: SweepArgument, as_json: JsonOption = False) -> None:
    """Cancel a sweep, and those of its trials that have not ended."""
    await _change(api, screen, sweep, "cancel", as_json=as_json)


@command(app)
async def pause(api: Api, screen: Screen, sweep: SweepArgument, as_json: JsonOption = False) -> None:
    """Make no more trials for now. Those that wait or run go on."""
    await _change(api, screen, sweep, "pause", as_json=as_json)


@command(app)
async def resume(api: Api, screen: Screen, sweep: SweepArgument, as_json: JsonOption = False) -> None:
    """Make trials again."""
    await _change(api, screen, sweep, "resume", as_json=as_json)


@command(app)
async def extend(
    api: Api,
    screen: Screen,
    sweep: SweepArgument,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="How many trials there are to be in all.")],
    as_json: JsonOption = False,
) -> None:
    """Give a sweep more trials, also after its end."""
    await _change(api, screen, sweep, "extend", body={"trials": trials}, as_json=as_json)


@command(app)
async def share(
    api: Api,
    screen: Screen,
    sweep: SweepArgument,
    users: WithOption = None,
    everybody: EverybodyOption = False,
    stop: StopOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let named users, or everybody, read a sweep and its trials; without an option, show who may."""
    body = readers_of(users, everybody=everybody, stop=stop)
    path = f"/sweeps/{await resolve_sweep(api, sweep)}"
    value = await (api.get(path) if body is None else api.post(f"{path}/readers", body, method="PUT"))
    found = decode(Sweep, value)
    said = f"sweep {found.sweep_id} can be read by {readers_text(found.readers) or 'its owner alone'}\n"
    screen.result(value, lambda: screen.write(said.encode()), as_json=as_json)


@command(app)
async def pin(api: Api, screen: Screen, sweep: SweepArgument, as_json: JsonOption = False) -> None:
    """Keep a sweep with all its trials until it is unpinned."""
    await _change(api, screen, sweep, "pin", method="PUT", as_json=as_json)


@command(app)
async def unpin(api: Api, screen: Screen, sweep: SweepArgument, as_json: JsonOption = False) -> None:
    """Unpin a sweep: retention may remove it, as a whole."""
    await _change(api, screen, sweep, "pin", method="DELETE", as_json=as_json)
