"""What every `ml-job` command shares: its options, the agent it talks to, and how it ends."""

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, NoReturn

import typer

from ...model.base import ID_LENGTH
from ..failure import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, Failure, of_file
from ..secret_value import readable_by_others
from ..terminal import Screen
from .http import Api
from .profile import Profile, config_directory

LAST = "@last"
PREFIX_LENGTH = 4  # characters; fewer would soon be ambiguous
RECENT_JOBS = 1000  # how far back a prefix is looked up
ID_PATTERN = re.compile(r"[a-z2-7]+")

JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="A job's id, the first four or more characters of a recent one's, or @last."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON as the agent gave it.")]

Work = Callable[[Api, Screen], Awaitable[int | None]]


@dataclass(frozen=True)
class Options:
    """What stands before the command's name, None where it was not given."""

    server: str | None
    identity: str | None


def run(context: typer.Context, work: Work, *, renewing: bool = False) -> NoReturn:
    """Does `work` with the agent that this invocation is for, and exits with the status it returns.

    Says so before where the certificate ends soon or others can read its key, unless it is the one command
    that mends both.
    """
    options = context.ensure_object(Options)
    screen = Screen()
    try:
        status = asyncio.run(_work(options, screen, work, renewing=renewing)) or 0
    except Failure as failure:
        screen.failure(failure)
        status = failure.exit_status
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted. What Python still flushes at its end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_BROKEN_PIPE
    except OSError as error:
        if (told := of_file(error)) is None:
            raise
        screen.failure(told)
        status = told.exit_status
    raise typer.Exit(status)


async def _work(options: Options, screen: Screen, work: Work, *, renewing: bool) -> int | None:
    profile = Profile.load(config_directory(), server=options.server, identity=options.identity)
    async with Api(profile) as api:
        if not renewing and (end := profile.ends_soon()):
            screen.remark(
                f"ml-job: {profile.certificate} ends at {end:%Y-%m-%d %H:%M} UTC; `ml-job renew` renews it",
                style="yellow",
            )
        # A script cannot mend it, and may take any word on stderr for a failure.
        if not renewing and screen.watched and (remark := readable_by_others(profile.key)):
            screen.remark(f"ml-job: {remark}: `chmod 600` it.", style="yellow")
        return await work(api, screen)


async def resolve(api: Api, text: str) -> str:
    """The id of the job that a person means. Raises Failure where there is none, or more than one."""
    if text == LAST:
        async for job in api.jobs({"owner": api.profile.identity}, limit=1):
            return str(job["job_id"])
        raise Failure(f"{api.profile.identity} has no jobs yet.")
    if ID_PATTERN.fullmatch(text) is None or not PREFIX_LENGTH <= len(text) <= ID_LENGTH:
        raise Failure(
            f"{text!r} is no job id: {ID_LENGTH} of the characters a-z and 2-7, or the first {PREFIX_LENGTH}"
            " or more of them.",
            "`ml-job list` shows them.",
        )
    if len(text) == ID_LENGTH:
        return text
    found = [
        str(job["job_id"])
        async for job in api.jobs({}, limit=RECENT_JOBS)
        if str(job["job_id"]).startswith(text)
    ]
    if len(found) > 1:
        raise Failure(f"{text} is the beginning of several jobs: {', '.join(found[:5])}.", "Type one more.")
    if not found:
        raise Failure(
            f"None of the {RECENT_JOBS} newest jobs begins with {text}.",
            "`ml-job list --all` shows every job.",
        )
    return found[0]
