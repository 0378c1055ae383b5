"""`ml-job`: submit training jobs to a host's agent, watch them, fetch what they made."""

import asyncio
import contextlib
import difflib
import secrets
from collections.abc import Iterable
from typing import Annotated, get_args

import typer
from rich.text import Text

from ... import __version__
from ...model.base import ID_PREFIX_LENGTH
from ...model.certificate import RenewedCertificate
from ...model.host import Host
from ...model.job import RETRY_ON, Job, JobState, RetryReason
from ...model.script import Script, ScriptList
from ..failure import EXIT_CANCELLED, EXIT_FAILURE, Failure
from ..quantities import parse_duration, parse_size
from ..terminal import Screen
from ..text import visible
from . import artifacts, render, renewal
from . import secrets as own_secrets
from .http import Api, decode, parse
from .invocation import JobArgument, JsonOption, Options, resolve, run
from .logs import follow_log, print_log
from .profile import DEFAULT_SERVER
from .stream import follow
from .watch import show_top, watch_jobs

app = typer.Typer(
    name="ml-job", help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
app.add_typer(artifacts.app, name="artifacts", help="List what a job left behind, or fetch it with `get`.")
app.add_typer(own_secrets.app, name="secret", help="Set, list and remove credentials of your own jobs.")


def _retry_reason(text: str) -> str:
    reasons = [str(reason) for reason in get_args(RetryReason)]
    if text not in reasons:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(reasons)}")
    return text


def _state(text: str) -> JobState:
    # As a choice of its own, typer would say "Value error" before it.
    try:
        return JobState(text.upper())
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(JobState)}") from error


RefOption = Annotated[
    str | None,
    typer.Option("--ref", metavar="REF", help="A commit, tag or branch instead of the current one."),
]

ParametersOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A hyperparameter; repeatable."),
]
MemoryOption = Annotated[
    int | None, typer.Option(parser=parse_size, metavar="SIZE", help="At most, such as 512M or 2G.")
]
CpusOption = Annotated[float | None, typer.Option(metavar="NUMBER", help="At most, such as 1.5.")]
TimeOption = Annotated[
    int | None, typer.Option(parser=parse_duration, metavar="TIME", help="At most, such as 90s or 1h30m.")
]
GraceOption = Annotated[
    int | None,
    typer.Option(parser=parse_duration, metavar="TIME", help="To end in when it is stopped, such as 2m."),
]
AttemptsOption = Annotated[
    int | None,
    typer.Option(min=1, max=10, metavar="N", help="Run it so often while it ends as --retry-on."),
]
RetryOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="REASON",
        parser=_retry_reason,
        help=f"An end to try again after; repeatable. Without any: {', '.join(RETRY_ON)}.",
    ),
]
FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Show the log until the job ends; exit as it does.")
]


def main() -> None:
    """The `ml-job` command."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ml-job {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    server: Annotated[
        str | None,
        typer.Option(envvar="ML_JOB_SERVER", metavar="URL", help="The agent.", show_default=DEFAULT_SERVER),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity", "-i", envvar="ML_JOB_IDENTITY", metavar="USER", help="Whose certificate to show."
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Submit training jobs to a host's agent, watch them, fetch what they made."""
    context.obj = Options(server=server, identity=identity)


@app.command("version")
def print_version() -> None:
    """Print the version."""
    _print_version(True)


@app.command()
def submit(
    context: typer.Context,
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="As `ml-job scripts` names it.")],
    parameters: ParametersOption = None,
    ref: RefOption = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What to call the job.")] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeatable.")
    ] = None,
    memory: MemoryOption = None,
    cpus: CpusOption = None,
    time: TimeOption = None,
    grace: GraceOption = None,
    priority: Annotated[
        int, typer.Option(min=-10, max=10, metavar="N", help="Below 0 lets others' jobs go first.")
    ] = 0,
    max_attempts: AttemptsOption = None,
    retry_on: RetryOption = None,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a job. Prints its id, or with --follow its log."""
    optional: dict[str, object] = {
        "ref": ref,
        "name": name,
        "labels": _pairs(labels, "--label"),
        "limits": _limits(memory, cpus, time, grace),
        "priority": priority,
        "max_attempts": max_attempts,
        "retry_on": retry_on,
    }
    request = {
        "script_name": script,
        "hyperparameters": _pairs(parameters, "--parameter"),
        **{key: value for key, value in optional.items() if value},
    }

    async def work(api: Api, screen: Screen) -> int:
        value = await _post_job(api, screen, "/jobs", request)
        return await _show_submitted(api, screen, value, follow=follow, as_json=as_json)

    run(context, work)


@app.command()
def rerun(
    context: typer.Context,
    job: JobArgument,
    parameters: ParametersOption = None,
    memory: MemoryOption = None,
    cpus: CpusOption = None,
    time: TimeOption = None,
    grace: GraceOption = None,
    max_attempts: AttemptsOption = None,
    retry_on: RetryOption = None,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a job again: the same commit, image, parameters and limits, but for those given here."""
    optional = {
        "hyperparameters": _pairs(parameters, "--parameter"),
        "limits": _limits(memory, cpus, time, grace),
        "max_attempts": max_attempts,
        "retry_on": retry_on,
    }
    changes: dict[str, object] = {key: value for key, value in optional.items() if value}

    async def work(api: Api, screen: Screen) -> int:
        value = await _post_job(api, screen, f"/jobs/{await resolve(api, job)}/rerun", changes)
        return await _show_submitted(api, screen, value, follow=follow, as_json=as_json)

    run(context, work)


def _limits(memory: int | None, cpus: float | None, time: int | None, grace: int | None) -> dict[str, object]:
    given = {"memory_bytes": memory, "cpus": cpus, "run_time_seconds": time, "grace_seconds": grace}
    return {key: value for key, value in given.items() if value is not None}


def _pairs(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{text!r} is not of the form name=value", param_hint=option)
        if name in pairs:
            raise typer.BadParameter(f"{name} is given twice", param_hint=option)
        pairs[name] = value
    return pairs


async def _post_job(api: Api, screen: Screen, path: str, request: dict[str, object]) -> object:
    try:
        return await api.post(path, request, key=secrets.token_urlsafe(18))
    except asyncio.CancelledError:
        screen.remark("ml-job: interrupted before the agent answered; `ml-job list` shows if it has the job")
        raise


async def _show_submitted(api: Api, screen: Screen, value: object, *, follow: bool, as_json: bool) -> int:
    if follow:
        return await _follow_submitted(api, screen, value, as_json=as_json)
    job = decode(Job, value)
    if as_json:
        screen.json(value)
    elif screen.person:
        screen.text(Text.assemble("Submitted as job ", (job.job_id, "bold")))
        screen.remark(f"ml-job logs -f {job.job_id[:ID_PREFIX_LENGTH]} follows it", style="dim")
    else:
        screen.write(f"{job.job_id}\n".encode())
    return 0


async def _follow_submitted(api: Api, screen: Screen, value: object, *, as_json: bool) -> int:
    job = decode(Job, value)
    if as_json:
        screen.json_line({"event": "state", "data": value})
    else:
        screen.remark(f"ml-job: {render.outcome(job)}", style=render.STATE_STYLES[job.status])
    try:
        return exit_status(await follow_log(api, screen, job.job_id, params={}, as_json=as_json, known=job))
    except asyncio.CancelledError:
        screen.remark(
            f"ml-job: detached, the job goes on; `ml-job logs -f {job.job_id}` follows it again,"
            f" `ml-job cancel {job.job_id}` ends it"
        )
        raise


def exit_status(job: Job) -> int:
    """What `submit --follow` and `wait` exit with: the script's own status where it has one."""
    match job.status:
        case JobState.COMPLETED:
            return 0
        case JobState.CANCELLED:
            return EXIT_CANCELLED
        case _:
            return job.exit_status if job.exit_status and 0 < job.exit_status < 256 else EXIT_FAILURE


@app.command("list")
def list_jobs(
    context: typer.Context,
    status: Annotated[
        JobState | None,
        typer.Option(
            parser=_state,
            metavar="STATUS",
            autocompletion=lambda: list(JobState),
            help=f"In this state only: {', '.join(JobState)}.",
        ),
    ] = None,
    script: Annotated[str | None, typer.Option(metavar="SCRIPT", help="Of this script only.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="USER", help="Of this user only.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="However many there are.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first. With --json, as one array."""
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
    """Show all about one job."""

    async def work(api: Api, screen: Screen) -> None:
        value = await api.get(f"/jobs/{await resolve(api, job)}")
        if as_json:
            screen.json(value)
        else:
            render.job_sheet(screen, decode(Job, value))

    run(context, work)


@app.command()
def watch(
    context: typer.Context,
    ended: Annotated[
        int, typer.Option(min=0, max=1000, metavar="N", help="Of the jobs that have ended, the last N.")
    ] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Show the jobs, and each change of them as it happens, until Ctrl-C. Behind a pipe, a row per change."""

    async def work(api: Api, screen: Screen) -> None:
        await watch_jobs(api, screen, ended=ended, as_json=as_json)

    run(context, work)


@app.command()
def top(
    context: typer.Context,
    interval: Annotated[
        float, typer.Option(min=0.5, max=60, metavar="SECONDS", help="Between two looks.")
    ] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Show what the running jobs use, again and again until Ctrl-C. Behind a pipe or with --json, once."""

    async def work(api: Api, screen: Screen) -> None:
        await show_top(api, screen, interval=interval, as_json=as_json)

    run(context, work)


@app.command()
def host(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show what the host gives to jobs, what is taken of it, and who waits."""

    async def work(api: Api, screen: Screen) -> None:
        value = await api.get("/host")
        if as_json:
            screen.json(value)
        else:
            render.host_sheet(screen, decode(Host, value))

    run(context, work)


@app.command()
def logs(
    context: typer.Context,
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    tail: Annotated[int | None, typer.Option(min=0, metavar="N", help="Begin with the last N lines.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --follow: print each event as a line of JSON.")
    ] = False,
) -> None:
    """Print a job's log to stdout.

    What the system says about the job goes to stderr: with --follow, and where the job has printed nothing.
    """
    if as_json and not follow:
        raise typer.BadParameter("needs --follow, which ends at once where the job has", param_hint="--json")
    params = {} if tail is None else {"tail": str(tail)}

    async def work(api: Api, screen: Screen) -> None:
        job_id = await resolve(api, job)
        if not follow:
            await print_log(api, screen, job_id, params=params)
            return
        # A missing job or agent is an error now; once the stream runs, a lost agent is waited for.
        await api.get(f"/jobs/{job_id}")
        await follow_log(api, screen, job_id, params=params, as_json=as_json)

    run(context, work)


@app.command()
def wait(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Wait until a job has ended, and exit as it does. Ctrl-C leaves the job alone."""

    async def work(api: Api, screen: Screen) -> int:
        value = await _ended(api, screen, await resolve(api, job))
        ended = decode(Job, value)
        if as_json:
            screen.json(value)
        else:
            screen.remark(f"ml-job: {render.outcome(ended)}", style=render.STATE_STYLES[ended.status])
        return exit_status(ended)

    run(context, work)


async def _ended(api: Api, screen: Screen, job_id: str) -> object:
    # A missing job or agent is an error now; once the stream runs, a lost agent is waited for.
    value = await api.get(f"/jobs/{job_id}")
    if decode(Job, value).status.terminal:
        return value

    def notice(text: str) -> None:
        screen.remark(f"ml-job: {text}", style="yellow")

    async with contextlib.aclosing(follow(api, f"/jobs/{job_id}/events", params={}, notice=notice)) as events:
        async for event in events:
            if event.name == "end":
                return parse(event.data)
    raise AssertionError("a stream ends with its end event")


@app.command()
def cancel(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Cancel a job: SIGTERM, and SIGKILL if it does not end. A job that has ended stays as it is."""

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
    """Let a job go in its time again."""
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


@app.command()
def renew(context: typer.Context, as_json: JsonOption = False) -> None:
    """Renew your certificate: a new key, and what is needed with it, take the place of the old files."""

    async def work(api: Api, screen: Screen) -> None:
        value = await renewal.renew(api)
        if as_json:
            screen.json(value)
        else:
            answer = decode(RenewedCertificate, value)
            until = f"{answer.expires_at:%Y-%m-%d %H:%M}"
            screen.text(Text(f"{api.profile.certificate} is good until {until} UTC, serial {answer.serial}"))

    run(context, work, renewing=True)


@app.command()
def scripts(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[SCRIPT]", help="One script, with its parameters.")
    ] = None,
    ref: RefOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the scripts that can be run, or show one."""

    async def work(api: Api, screen: Screen) -> None:
        value = await api.get("/scripts", {} if ref is None else {"ref": ref})
        listing = decode(ScriptList, value)
        if name is None:
            if as_json:
                screen.json(value)
            else:
                render.script_table(screen, listing)
            return
        script = _find_script(listing, name)
        if as_json:
            screen.json(value["scripts"][listing.scripts.index(script)])
        else:
            render.script_sheet(screen, script, commit=listing.commit)

    run(context, work)


def _find_script(listing: ScriptList, name: str) -> Script:
    for script in listing.scripts:
        if script.script_name == name:
            return script
    near = difflib.get_close_matches(
        name, [script.script_name for script in listing.scripts], n=1, cutoff=0.5
    )
    hint = f"Did you mean {near[0]}?" if near else "`ml-job scripts` lists them."
    raise Failure(f"There is no script {name!r} at commit {listing.commit[:12]}.", hint)
