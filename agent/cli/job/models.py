"""`ml-job model`: models by name, whose aliases point at what jobs have left."""

from collections.abc import Iterator
from typing import Annotated

import typer

from ...errors import Problem
from ...model.alias import Alias, AliasHistory, NamedModel, NamedModelPage
from ...model.base import ID_PREFIX_LENGTH
from ..program import JsonOption
from ..quantities import format_moment, format_size
from ..terminal import Screen, bold, right, visible
from .download import download_alias, model_address
from .http import Api, decode
from .invocation import JobArgument, command, resolve
from .sharing import EverybodyOption, StopOption, WithOption, readers_of, readers_text

app = typer.Typer(no_args_is_help=True)

MODEL_COLUMNS = (bold("MODEL"), "OWNER", "ALIASES", "READERS")
ALIAS_COLUMNS = (bold("ALIAS"), right("MOVE"), "VERSION", "JOB", "PATH", right("SIZE"), "BY", "MOVED")

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The name of a model, such as churn.")]
AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="An alias, such as champion.")]
IfOption = Annotated[
    str | None,
    typer.Option("--if", metavar="VERSION", help="Only if the alias still has this version."),
]


@command(app, "set")
async def set_alias(
    api: Api,
    screen: Screen,
    model: ModelArgument,
    alias: AliasArgument,
    job: JobArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="An artifact that the job has left.")],
    version: IfOption = None,
    new: Annotated[bool, typer.Option("--new", help="Only if there is no such alias yet.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Point an alias at an artifact of a job that has COMPLETED. The job is kept from then on."""
    headers = _condition(version) | ({"If-None-Match": "*"} if new else {})
    body = {"job_id": await resolve(api, job), "path": path}
    value = await api.post(model_address(model, alias), body, headers=headers, method="PUT")
    moved = decode(Alias, value)
    said = f"{model} {alias} points at {moved.path} of job {moved.job_id}, version {moved.version}"
    screen.result(value, lambda: screen.write(f"{visible(said)}\n".encode()), as_json=as_json)


@command(app, "list")
async def list_models(api: Api, screen: Screen, as_json: JsonOption = False) -> None:
    """List the models that you may read, newest first. With --json, prints one array."""
    values = [each async for each in api.listed("/models", "models", NamedModelPage, {}, limit=None)]
    found = [decode(NamedModel, value) for value in values]
    rows = [
        [each.model, each.owner, ", ".join(alias.alias for alias in each.aliases), readers_text(each.readers)]
        for each in found
    ]
    screen.result(values, lambda: screen.table(MODEL_COLUMNS, rows), as_json=as_json)


@command(app)
async def show(api: Api, screen: Screen, model: ModelArgument, as_json: JsonOption = False) -> None:
    """Show a model: its owner, who may read it, and what its aliases point at."""
    value = await api.get(model_address(model))
    screen.result(value, lambda: screen.sheet(_facts(screen, decode(NamedModel, value))), as_json=as_json)


def _facts(screen: Screen, model: NamedModel) -> Iterator[tuple[str, str]]:
    yield "model", model.model
    yield "owner", model.owner
    yield "readers", readers_text(model.readers)
    yield "created", format_moment(model.created_at, person=screen.person)
    for each in model.aliases:
        yield each.alias, f"{each.path} of job {each.job_id}"
        yield "sha-256", each.sha256
        moved = format_moment(each.moved_at, person=screen.person)
        yield "moved", f"{moved} by {each.moved_by}, move {each.number}, version {each.version}"


@command(app)
async def history(
    api: Api, screen: Screen, model: ModelArgument, alias: AliasArgument, as_json: JsonOption = False
) -> None:
    """List what an alias has pointed at, the newest first."""
    value = await api.get(f"{model_address(model, alias)}/history")
    rows = [_row(each, person=screen.person) for each in decode(AliasHistory, value).moves]
    screen.result(value, lambda: screen.table(ALIAS_COLUMNS, rows), as_json=as_json)


def _row(alias: Alias, *, person: bool) -> list[str]:
    return [
        alias.alias,
        str(alias.number),
        alias.version,
        alias.job_id[:ID_PREFIX_LENGTH] if person else alias.job_id,
        alias.path,
        format_size(alias.size) if person else str(alias.size),
        alias.moved_by,
        format_moment(alias.moved_at, person=person),
    ]


@command(app)
async def get(
    api: Api,
    screen: Screen,
    model: ModelArgument,
    alias: AliasArgument,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="PLACE", help="A file or a directory.", show_default="the file's name"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace another file.")] = False,
) -> None:
    """Fetch what an alias points at. Verifies its size and SHA-256, and prints where it is."""
    place = await download_alias(api, model, alias, output, force=force)
    screen.write(f"{visible(str(place)) if screen.person else place}\n".encode())


@command(app, "rm")
async def remove_alias(
    api: Api,
    screen: Screen,
    model: ModelArgument,
    alias: AliasArgument,
    version: IfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove an alias with its history. With its last alias, the model is gone."""
    path, headers = model_address(model, alias), _condition(version)
    lost = (Problem.ALIAS_NOT_FOUND, Problem.MODEL_NOT_FOUND)
    value = await api.post(path, headers=headers, method="DELETE", done=lost) or {"alias": alias}
    removed = visible(f"Removed the alias {value['alias']} of {model}.")
    screen.result(value, lambda: screen.write(f"{removed}\n".encode()), as_json=as_json)


@command(app)
async def share(
    api: Api,
    screen: Screen,
    model: ModelArgument,
    users: WithOption = None,
    everybody: EverybodyOption = False,
    stop: StopOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let named users, or everybody, read a model; without an option, show who may."""
    body = readers_of(users, everybody=everybody, stop=stop)
    path = model_address(model)
    value = await (api.get(path) if body is None else api.post(f"{path}/readers", body, method="PUT"))
    said = f"{model} can be read by {readers_text(decode(NamedModel, value).readers) or 'its owner alone'}"
    screen.result(value, lambda: screen.write(f"{visible(said)}\n".encode()), as_json=as_json)


def _condition(version: str | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}
