"""`ml-job submit` and `rerun`: a new job, followed to its end where that is asked for."""

import asyncio
import secrets
from typing import Annotated, get_args

import typer
from rich.text import Text

from ...model.base import ID_PREFIX_LENGTH
from ...model.job import RETRY_ON, Job, RetryReason
from ..program import JsonOption
from ..quantities import parse_duration, parse_size
from ..terminal import Screen
from .http import Api, decode
from .invocation import JobArgument, RefOption, command, resolve
from .logs import exit_status, follow_log
from .render import remark_outcome

app = typer.Typer()


def _retry_reason(text: str) -> str:
    reasons = [str(reason) for reason in get_args(RetryReason)]
    if text not in reasons:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(reasons)}")
    return text


def check_pairs(texts: list[str] | None) -> list[str] | None:
    names: list[str] = []
    for text in texts or ():
        name, separator, _ = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{text!r} is not of the form name=value")
        if name in names:
            raise typer.BadParameter(f"{name} is given twice")
        names.append(name)
    return texts


def pairs(texts: list[str] | None) -> dict[str, str]:
    """Texts of the form name=value, by name."""
    return dict(text.split("=", 1) for text in texts or ())


NameOption = Annotated[str | None, typer.Option(metavar="NAME", help="Give it a name.")]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", callback=check_pairs, help="Add a label; repeatable."),
]
PriorityOption = Annotated[
    int, typer.Option(min=-10, max=10, metavar="N", help="Below 0 lets other users' jobs go first.")
]
ParametersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter", "-p", metavar="NAME=VALUE", callback=check_pairs, help="A hyperparameter; repeatable."
    ),
]
MemoryOption = Annotated[
    int | None, typer.Option(parser=parse_size, metavar="SIZE", help="Limit memory, such as 512M or 2G.")
]
CpusOption = Annotated[float | None, typer.Option(metavar="NUMBER", help="Limit CPUs, such as 1.5.")]
TimeOption = Annotated[
    int | None,
    typer.Option(parser=parse_duration, metavar="TIME", help="Limit the run time, such as 90s or 1h30m."),
]
GraceOption = Annotated[
    int | None,
    typer.Option(parser=parse_duration, metavar="TIME", help="Time to end after SIGTERM, such as 2m."),
]
AttemptsOption = Annotated[
    int | None,
    typer.Option(min=1, max=10, metavar="N", help="Run it at most N times, while --retry-on matches."),
]
RetryOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="REASON",
        parser=_retry_reason,
        help=f"A reason to run it again; repeatable. Without any: {', '.join(RETRY_ON)}.",
    ),
]
InputsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=WHAT",
        callback=check_pairs,
        help="What it sees as /inputs/NAME: JOB:PATH, or model:MODEL@ALIAS; repeatable.",
    ),
]
AfterOption = Annotated[
    list[str] | None,
    typer.Option(metavar="JOB", help="Start once this job has COMPLETED; repeatable."),
]
FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Show the log until the job ends; exit with its status.")
]


@command(app)
async def submit(
    api: Api,
    screen: Screen,
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="A script that `ml-job scripts` lists.")],
    parameters: ParametersOption = None,
    ref: RefOption = None,
    name: NameOption = None,
    labels: LabelsOption = None,
    memory: MemoryOption = None,
    cpus: CpusOption = None,
    time: TimeOption = None,
    grace: GraceOption = None,
    priority: PriorityOption = 0,
    max_attempts: AttemptsOption = None,
    retry_on: RetryOption = None,
    inputs: InputsOption = None,
    after: AfterOption = None,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> int:
    """Submit a job. Prints its id, or with --follow its log."""
    optional: dict[str, object] = {
        "ref": ref,
        "name": name,
        "labels": pairs(labels),
        "limits": limits_of(memory, cpus, time, grace),
        "priority": priority,
        "max_attempts": max_attempts,
        "retry_on": retry_on,
        "inputs": await inputs_of(api, inputs),
        "after": [await resolve(api, job) for job in after or ()],
    }
    request = {
        "script_name": script,
        "hyperparameters": pairs(parameters),
        **{key: value for key, value in optional.items() if value},
    }
    value = await post_once(api, screen, "/jobs", request)
    return await _show(api, screen, value, follow=follow, as_json=as_json)


@command(app)
async def rerun(
    api: Api,
    screen: Screen,
    job: JobArgument,
    parameters: ParametersOption = None,
    name: NameOption = None,
    labels: LabelsOption = None,
    memory: MemoryOption = None,
    cpus: CpusOption = None,
    time: TimeOption = None,
    grace: GraceOption = None,
    max_attempts: AttemptsOption = None,
    retry_on: RetryOption = None,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> int:
    """Run a job again as it was, at its commit and with its image, except for what is given here."""
    optional = {
        "name": name,
        "labels": pairs(labels),
        "hyperparameters": pairs(parameters),
        "limits": limits_of(memory, cpus, time, grace),
        "max_attempts": max_attempts,
        "retry_on": retry_on,
    }
    changes: dict[str, object] = {key: value for key, value in optional.items() if value}
    value = await post_once(api, screen, f"/jobs/{await resolve(api, job)}/rerun", changes)
    return await _show(api, screen, value, follow=follow, as_json=as_json)


def limits_of(
    memory: int | None, cpus: float | None, time: int | None, grace: int | None
) -> dict[str, object]:
    """The limits that were given, as a request has them."""
    given = {"memory_bytes": memory, "cpus": cpus, "run_time_seconds": time, "grace_seconds": grace}
    return {key: value for key, value in given.items() if value is not None}


async def inputs_of(api: Api, texts: list[str] | None) -> dict[str, object]:
    """The inputs that were given, as a request has them, with the whole ids of their jobs."""
    found: dict[str, object] = {}
    for name, text in pairs(texts).items():
        job, _, path = text.partition(":")
        model, _, alias = path.partition("@")
        if not path or (job == "model" and not (model and alias)):
            raise typer.BadParameter(f"{name}={text} is not NAME=JOB:PATH or NAME=model:MODEL@ALIAS")
        of_model = {"model": model, "alias": alias}
        found[name] = of_model if job == "model" else {"job_id": await resolve(api, job), "path": path}
    return found


async def post_once(
    api: Api, screen: Screen, path: str, request: dict[str, object], *, kind: str = "job"
) -> object:
    """The agent's answer to a request that makes a job, or another `kind`, however often it is sent."""
    listing = "ml-job list" if kind == "job" else f"ml-job {kind} list"
    try:
        return await api.post(path, request, key=secrets.token_urlsafe(18))
    except asyncio.CancelledError:
        screen.remark(
            f"ml-job: interrupted before the agent answered; `{listing}` shows whether it has the {kind}"
        )
        raise


async def _show(api: Api, screen: Screen, value: object, *, follow: bool, as_json: bool) -> int:
    job = decode(Job, value)
    if follow:
        return await _follow(api, screen, job, value, as_json=as_json)
    if as_json:
        screen.json(value)
    elif screen.person:
        screen.text(Text.assemble("Submitted as job ", (job.job_id, "bold")))
        screen.remark(f"ml-job logs -f {job.job_id[:ID_PREFIX_LENGTH]} follows it", style="dim")
    else:
        screen.write(f"{job.job_id}\n".encode())
    return 0


async def _follow(api: Api, screen: Screen, job: Job, value: object, *, as_json: bool) -> int:
    if as_json:
        screen.json({"event": "state", "data": value}, of_many=True)
    else:
        remark_outcome(screen, job)
    try:
        return exit_status(await follow_log(api, screen, job.job_id, params={}, as_json=as_json, known=job))
    except asyncio.CancelledError:
        screen.remark(
            f"ml-job: detached, the job goes on; `ml-job logs -f {job.job_id}` follows it again,"
            f" `ml-job cancel {job.job_id}` ends it"
        )
        raise
