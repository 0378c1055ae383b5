"""`ml-job logs` and `wait`: a job's own lines on stdout, everything about the job on stderr."""

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import typer

from ...model.job import Job, JobState
from ...model.log import GapCause, LogGap, LogLine, LogSource
from ..failure import EXIT_CANCELLED, EXIT_FAILURE
from ..program import JsonOption
from ..terminal import Screen
from .http import Api, decode, parse
from .invocation import JobArgument, command, resolve
from .render import Gauge, remark_outcome, warn
from .stream import EventParser, connection, follow

app = typer.Typer()

GAPS: dict[str, str] = {
    GapCause.RATE_LIMIT: "{lines} are missing after line {after}: journald's rate limit dropped them",
    GapCause.REMOVED: "{lines} are missing after line {after}: they are no longer in the journal",
    GapCause.JOURNALD_KILLED: "{lines} may be missing after line {after}: journald was killed",
    GapCause.NOT_CLOSED: "{lines} may be missing after line {after}: it ends there, as after a power cut",
    GapCause.DAMAGED: "{lines} may be missing after line {after}: the journal is damaged there",
}
ANY_GAP = "{lines} are missing after line {after}"


def _needs_follow(context: typer.Context, as_json: bool) -> bool:
    if as_json and not context.params.get("follow"):
        raise typer.BadParameter("needs --follow, which ends at once if the job has ended")
    return as_json


@command(app)
async def logs(
    api: Api,
    screen: Screen,
    job: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", is_eager=True, help="Continue until the job ends.")
    ] = False,
    tail: Annotated[int | None, typer.Option(min=0, metavar="N", help="Start with the last N lines.")] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", callback=_needs_follow, help="With --follow: print each event as a line of JSON."
        ),
    ] = False,
) -> None:
    """Print a job's log to stdout.

    With --follow, or if the job has printed nothing, messages of the system about it go to stderr.
    """
    params = {} if tail is None else {"tail": str(tail)}
    job_id = await resolve(api, job)
    if not follow:
        await print_log(api, screen, job_id, params=params)
        return
    # A missing job or agent is an error now. Once the stream runs, a lost agent is waited for.
    await api.get(f"/jobs/{job_id}")
    await follow_log(api, screen, job_id, params=params, as_json=as_json)


async def print_log(api: Api, screen: Screen, job_id: str, *, params: Mapping[str, str]) -> None:
    """Prints the log as it is now. For a program, the agent's bytes pass unchanged.

    If the job has printed nothing, what the system says about it goes to stderr.
    """
    rest, printed = b"", False
    async with api.open(f"/jobs/{job_id}/logs", params=params, accept="text/plain") as response:
        async for chunk in response.content.iter_any():
            printed = printed or bool(chunk)
            if not screen.person:
                screen.write(chunk)
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                screen.log(line)
    if rest:
        screen.log(rest)
    if not printed:
        await _print_remarks(api, screen, job_id, params=params)


async def _print_remarks(api: Api, screen: Screen, job_id: str, *, params: Mapping[str, str]) -> None:
    """Prints what the log says about the job, without its own lines, which come faster as plain text."""
    params = {**params, "follow": "false"}
    events = connection(api, f"/jobs/{job_id}/logs", params, EventParser())
    async with contextlib.aclosing(events):
        async for event in events:
            value = parse(event.data)
            if event.name == "pause":
                _show(screen, "state", value)
            elif event.name != "line" or decode(LogLine, value).source is not LogSource.JOB:
                _show(screen, event.name, value)


async def follow_log(
    api: Api,
    screen: Screen,
    job_id: str,
    *,
    params: Mapping[str, str],
    as_json: bool,
    known: Job | None = None,
) -> Job:
    """Prints the log as it grows, until the job ends; returns the ended job.

    `known` is the job as the reader has seen it. With `as_json`, prints each event as a line
    `{"event": …, "data": …}`. A person sees the job's progress and metrics below the log.
    """
    gauge, drawn = Gauge(), screen.redraws and screen.watched and not as_json
    events = follow(api, f"/jobs/{job_id}/logs", params=params, notice=partial(warn, screen))
    async with contextlib.AsyncExitStack() as at_the_end:
        at_the_end.callback(screen.status, "")
        at_the_end.callback(screen.end_line)
        at_the_end.push_async_callback(events.aclose)
        async for event in events:
            value = parse(event.data)
            if event.name == "state":
                # Every connection begins with the state. A person needs only a new status.
                job = decode(Job, value)
                seen, known = known, job
                if job == seen or (not as_json and seen and job.status is seen.status):
                    continue
            if as_json:
                screen.json({"event": event.name, "data": value}, of_many=True)
            elif event.name == "line" and _measured(gauge, value) and drawn:
                screen.status(gauge.text())
            else:
                if event.name == "end":
                    _conclude(screen, gauge, drawn=drawn)
                _show(screen, event.name, value)
            if event.name == "end":
                return decode(Job, value)
    raise AssertionError("a stream ends with its end event")


def _conclude(screen: Screen, gauge: Gauge, *, drawn: bool) -> None:
    """Prints what the job reported last, and that some of its reports were not understood."""
    screen.status("")
    if drawn and (said := gauge.text()):
        screen.remark(said)
    if complaint := gauge.complaint:
        warn(screen, complaint)


def _measured(gauge: Gauge, value: object) -> bool:
    """Whether the gauge shows the line."""
    line = decode(LogLine, value)
    return line.source is LogSource.JOB and gauge.consume(line)


def _show(screen: Screen, name: str, value: object) -> None:
    match name:
        case "line":
            line = decode(LogLine, value)
            if line.source is LogSource.JOB:
                screen.log(line.printed, continued=bool(line.continued))
            else:
                screen.remark(line.text, style="dim")
        case "gap":
            warn(screen, gap_text(decode(LogGap, value)))
        case "state" | "end":
            remark_outcome(screen, decode(Job, value))
        case _:
            pass  # an event of a newer agent


def gap_text(gap: LogGap) -> str:
    """A gap as a sentence; the cause may be one of a newer agent."""
    lines = "lines" if gap.count is None else f"{gap.count} lines"
    return GAPS.get(gap.cause or "", ANY_GAP).format(lines=lines, after=gap.after)


@command(app)
async def wait(api: Api, screen: Screen, job: JobArgument, as_json: JsonOption = False) -> int:
    """Wait until a job ends, and exit with its status. Ctrl-C does not affect the job."""
    value = await _ended(api, screen, await resolve(api, job))
    ended = decode(Job, value)
    screen.result(value, lambda: remark_outcome(screen, ended), as_json=as_json)
    return exit_status(ended)


def exit_status(job: Job) -> int:
    """What `submit --follow` and `wait` exit with: the script's own status where it has one."""
    match job.status:
        case JobState.COMPLETED:
            return 0
        case JobState.CANCELLED:
            return EXIT_CANCELLED
        case _:
            return job.exit_status if job.exit_status and 0 < job.exit_status < 256 else EXIT_FAILURE


async def _ended(api: Api, screen: Screen, job_id: str) -> object:
    # A missing job or agent is an error now. Once the stream runs, a lost agent is waited for.
    value = await api.get(f"/jobs/{job_id}")
    if decode(Job, value).status.terminal:
        return value
    events = follow(api, f"/jobs/{job_id}/events", params={}, notice=partial(warn, screen))
    async with contextlib.aclosing(events):
        async for event in events:
            if event.name == "end":
                return parse(event.data)
    raise AssertionError("a stream ends with its end event")
