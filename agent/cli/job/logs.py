"""A job's log on the screen: the job's own lines on stdout, everything said about it on stderr."""

import contextlib
from collections.abc import AsyncIterator, Mapping

from ...model.job import Job
from ...model.log import LogGap, LogLine, LogSource
from ..terminal import Screen
from .gauges import Gauge
from .http import Api, decode, parse
from .render import STATE_STYLES, outcome
from .stream import EventParser, connection, follow


async def print_log(api: Api, screen: Screen, job_id: str, *, params: Mapping[str, str]) -> None:
    """The log as it is now. For a program, the agent's bytes pass unchanged.

    Where the job has printed nothing, people read why: what else there is of the log goes to stderr.
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
                screen.log(line.decode(errors="replace"))
    if rest:
        screen.log(rest.decode(errors="replace"))
    if not printed:
        await _print_remarks(api, screen, job_id, params=params)


async def _print_remarks(api: Api, screen: Screen, job_id: str, *, params: Mapping[str, str]) -> None:
    """What is said about a job, without its own lines: they come as text, faster and byte for byte."""
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
    """The log as it grows, until the job has ended; returns how.

    `known` is what the reader has been told of the job already. With `as_json`, each event is a line
    `{"event": …, "data": …}` on stdout instead. A person sees the job's progress and metrics below the log.
    """
    gauge = Gauge() if screen.redraws and screen.watched and not as_json else None
    events = follow(api, f"/jobs/{job_id}/logs", params=params, notice=lambda text: _notice(screen, text))
    async with contextlib.aclosing(events), _status_ended(screen):
        async for event in events:
            value = parse(event.data)
            if event.name == "state":
                # Every connection begins with the state as it is; people want to know of a new status alone.
                job = decode(Job, value)
                seen, known = known, job
                if job == seen or (not as_json and seen and job.status is seen.status):
                    continue
            if as_json:
                screen.json_line({"event": event.name, "data": value})
            elif gauge and event.name == "line" and _measured(gauge, value):
                screen.status(gauge.text())
            else:
                if gauge and event.name == "end" and (said := gauge.text()):
                    screen.status("")
                    screen.remark(said)
                _show(screen, event.name, value)
            if event.name == "end":
                return decode(Job, value)
    raise AssertionError("a stream ends with its end event")


@contextlib.asynccontextmanager
async def _status_ended(screen: Screen) -> AsyncIterator[None]:
    """Leaves no line behind that is drawn no more or has no end, also where the reader has enough."""
    try:
        yield
    finally:
        screen.end_line()
        screen.status("")


def _measured(gauge: Gauge, value: object) -> bool:
    """Whether the line is shown by the gauge."""
    line = decode(LogLine, value)
    return line.source is LogSource.JOB and gauge.take(line)


def _notice(screen: Screen, text: str) -> None:
    screen.remark(f"ml-job: {text}", style="yellow")


def _show(screen: Screen, name: str, value: object) -> None:
    match name:
        case "line":
            line = decode(LogLine, value)
            if line.source is LogSource.JOB:
                screen.log(line.text, continued=bool(line.continued))
            else:
                screen.remark(line.text, style="dim")
        case "gap":
            gap = decode(LogGap, value)
            lines = "lines" if gap.count is None else f"{gap.count} lines"
            _notice(screen, f"{lines} are missing after line {gap.after}: the journal dropped them")
        case "state" | "end":
            job = decode(Job, value)
            screen.remark(f"ml-job: {outcome(job)}", style=STATE_STYLES[job.status])
        case _:
            pass  # a newer agent tells more
