"""What all `ml-job` commands share: options, the agent they talk to, and how they end."""

import asyncio
import functools
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from ...errors import AgentError
from ...model.base import ID_LENGTH
from ...model.schedule import SchedulePage
from ...model.sweep import SweepPage
from ..failure import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_REFUSED, Failure, of_error, of_text
from ..program import give_up_stdout, report_file
from ..secret_value import readable_by_others
from ..terminal import Screen
from .http import Api
from .profile import Profile, config_directory
from .render import warn

LAST = "@last"
PREFIX_LENGTH = 4  # characters; shorter ones would soon be ambiguous
RECENT = 1000  # jobs, or sweeps: how far back a prefix is looked up
ID_PATTERN = re.compile(r"[a-z2-7]+")

JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="A job's id, the first four or more characters of a recent one, or @last."
    ),
]


def one_of(words: type[StrEnum], spelled: Callable[[str], str] = str) -> Callable[[str], str]:
    """A parser for an option that is one of these words, as `spelled` writes them."""

    def parse(text: str) -> str:
        # typer would say "Value error" before an error of its own.
        if (given := spelled(text)) not in list(words):
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(words)}")
        return given

    return parse


def _ref(text: str) -> str:
    if not text:  # a variable of a script that is not set must not run something else
        raise typer.BadParameter("must not be empty; leave it out to run the current commit")
    return text


RefOption = Annotated[
    str | None,
    typer.Option(
        "--ref", parser=_ref, metavar="REF", help="Use this commit, tag or branch, not the current commit."
    ),
]

Work = Callable[[Api, Screen], Awaitable[int | None]]
CommandT = TypeVar("CommandT", bound=Callable[..., Awaitable[int | None]])


@dataclass(frozen=True)
class Options:
    """The options before the command's name; None where one was not given."""

    server: str | None
    identity: str | None


def command(
    app: typer.Typer, name: str | None = None, *, renewing: bool = False
) -> Callable[[CommandT], CommandT]:
    """Makes a coroutine function a command. It gets the API, the screen and its own options.

    It exits with the status that the function returns. Warns first if the certificate expires soon or others
    can read its key, except when `renewing`, which fixes both.
    """

    def register(work: CommandT) -> CommandT:
        def invoke(context: typer.Context, **options: Any) -> None:
            given, does = context.ensure_object(Options), functools.partial(work, **options)
            report(lambda screen: _work(given, screen, does, renewing=renewing))

        # typer reads the options from the signature, which does not have the first two parameters.
        context, _ = inspect.signature(invoke).parameters.values()
        parameters = [context, *list(inspect.signature(work).parameters.values())[2:]]
        invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        invoke.__annotations__ = {each.name: each.annotation for each in parameters}
        invoke.__name__, invoke.__doc__ = work.__name__, work.__doc__
        app.command(name)(invoke)
        return work

    return register


def report(work: Callable[[Screen], Coroutine[Any, Any, int | None]]) -> NoReturn:
    """Does `work`, reports how it failed, and exits with the status that it returns."""
    screen = Screen()
    try:
        status = asyncio.run(work(screen)) or 0
    except (Failure, AgentError) as error:
        failure = error if isinstance(error, Failure) else of_error(error)
        screen.failure(failure)
        status = failure.exit_status
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        give_up_stdout()  # the reader has enough
        status = EXIT_BROKEN_PIPE
    except OSError as error:
        status = report_file(error).exit_status
    except UnicodeEncodeError as error:
        screen.failure(of_text(error))
        status = EXIT_REFUSED
    raise typer.Exit(status)


async def _work(options: Options, screen: Screen, work: Work, *, renewing: bool) -> int | None:
    profile = Profile.load(config_directory(), server=options.server, identity=options.identity)
    async with Api(profile) as api:
        if not renewing and (end := profile.expires_soon()):
            warn(
                screen, f"{profile.certificate} expires at {end:%Y-%m-%d %H:%M} UTC; `ml-job renew` renews it"
            )
        # Not for a script, which cannot fix it and may take any output on stderr for a failure.
        if not renewing and screen.watched and (remark := readable_by_others(profile.key)):
            warn(screen, f"{remark}: `chmod 600` it.")
        return await work(api, screen)


async def resolve(api: Api, text: str) -> str:
    """The id of the job that `text` means. Raises Failure where there is none, or more than one."""
    return await _resolve(api.jobs, api.profile.identity, text, kind="job", listing="ml-job list")


async def resolve_sweep(api: Api, text: str) -> str:
    """The same for a sweep."""

    def sweeps(filters: Mapping[str, str], *, limit: int | None) -> AsyncIterator[Any]:
        return api.listed("/sweeps", "sweeps", SweepPage, filters, limit=limit)

    return await _resolve(sweeps, api.profile.identity, text, kind="sweep", listing="ml-job sweep list")


async def resolve_schedule(api: Api, text: str) -> str:
    """The same for a schedule."""

    def schedules(filters: Mapping[str, str], *, limit: int | None) -> AsyncIterator[Any]:
        return api.listed("/schedules", "schedules", SchedulePage, filters, limit=limit, length=50)

    listing = "ml-job schedule list"
    return await _resolve(schedules, api.profile.identity, text, kind="schedule", listing=listing)


async def _resolve(
    listed: Callable[..., AsyncIterator[Any]], user: str, text: str, *, kind: str, listing: str
) -> str:
    if text == LAST:
        async for each in listed({"owner": user}, limit=1):
            return str(each[f"{kind}_id"])
        raise Failure(f"{user} has no {kind}s yet.")
    if ID_PATTERN.fullmatch(text) is None or not PREFIX_LENGTH <= len(text) <= ID_LENGTH:
        raise Failure(
            f"{text!r} is not a {kind} id: {ID_LENGTH} characters of a-z and 2-7, or at least the first"
            f" {PREFIX_LENGTH} of them.",
            f"`{listing}` shows ids.",
        )
    if len(text) == ID_LENGTH:
        return text
    newest = [str(each[f"{kind}_id"]) async for each in listed({}, limit=RECENT)]
    found = [name for name in newest if name.startswith(text)]
    if len(found) > 1:
        raise Failure(f"Several {kind}s begin with {text}: {', '.join(found[:5])}.", "Type more characters.")
    if not found:
        raise Failure(
            f"None of the {RECENT} newest {kind}s begins with {text}.",
            f"`{listing} --all` lists every {kind}.",
        )
    return found[0]
