"""`ml-job wait`: until a job ends, and then its exit status."""

import contextlib
from functools import partial

import typer

from ...model.job import Job, JobState
from ..failure import EXIT_CANCELLED, EXIT_FAILURE
from ..options import JsonOption
from ..terminal import Screen
from .http import Api, decode, parse
from .invocation import JobArgument, resolve, run
from .render import remark_outcome, warn
from .stream import follow

app = typer.Typer()


@app.command()
def wait(context: typer.Context, job: JobArgument, as_json: JsonOption = False) -> None:
    """Wait until a job ends, and exit with its status. Ctrl-C does not affect the job."""

    async def work(api: Api, screen: Screen) -> int:
        value = await _ended(api, screen, await resolve(api, job))
        ended = decode(Job, value)
        if as_json:
            screen.json(value)
        else:
            remark_outcome(screen, ended)
        return exit_status(ended)

    run(context, work)


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
