"""`ml-job share`: who may read a job, a sweep or a model, besides its owner."""

from typing import Annotated, Any

import typer

from ...model.job import Job
from ...model.readers import Readers
from ..program import JsonOption
from ..terminal import Screen
from .http import Api, decode
from .invocation import JobArgument, command, resolve

app = typer.Typer()

WithOption = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="USER", help="This user may read it. Repeatable; nobody else may."),
]
EverybodyOption = Annotated[bool, typer.Option("--everybody", help="Everybody may read it.")]
StopOption = Annotated[bool, typer.Option("--stop", help="Nobody else may read it any more.")]


@command(app)
async def share(
    api: Api,
    screen: Screen,
    job: JobArgument,
    users: WithOption = None,
    everybody: EverybodyOption = False,
    stop: StopOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let named users, or everybody, read a job with its log and artifacts; alone, shows who may."""
    body, path = readers_of(users, everybody=everybody, stop=stop), f"/jobs/{await resolve(api, job)}"
    value = await (api.get(path) if body is None else api.post(f"{path}/readers", body, method="PUT"))
    found = decode(Job, value)
    said = f"job {found.job_id} can be read by {readers_text(found.readers) or 'its owner alone'}\n"
    screen.result(value, lambda: screen.write(said.encode()), as_json=as_json)


def readers_of(users: list[str] | None, *, everybody: bool, stop: bool) -> dict[str, Any] | None:
    """The body that the options of `share` mean; None without any. Raises `typer.BadParameter`."""
    if (users is not None) + everybody + stop > 1:
        raise typer.BadParameter("give one of --with USER, --everybody and --stop")
    if users is None and not everybody and not stop:
        return None
    return {"users": users or [], "everybody": everybody}


def readers_text(readers: Readers | None) -> str:
    """`bob, dora`, or `everybody`; empty for nobody."""
    if readers is None:
        return ""
    return "everybody" if readers.everybody else ", ".join(readers.users)
