"""`ml-job secret`: the user's own secrets, set, listed and removed. Nothing shows a value."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from ...errors import Problem
from ...model.secret import SecretChange, SecretEntry, SecretList
from .. import secret_value
from ..program import JsonOption
from ..quantities import format_moment
from ..terminal import Columns, Screen, bold, visible
from .http import Api, decode
from .invocation import command

COLUMNS = (bold("NAME"), "FOR", "SET")

app = typer.Typer(no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name that scripts declare.")]


@command(app, "set")
async def set_secret(
    api: Api,
    screen: Screen,
    name: NameArgument,
    file: secret_value.FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set a secret for your own jobs, replacing an earlier value."""
    value = await api.post(_path(name), data=secret_value.read_value(file), method="PUT")
    change = decode(SecretChange, value)
    said = "".join(f"{visible(line)}\n" for line in secret_value.describe_change(change)).encode()
    screen.result(value, lambda: screen.write(said), as_json=as_json)
    if remark := secret_value.remark_on(file):
        screen.remark(f"ml-job: {remark}")


@command(app, "list")
async def list_secrets(api: Api, screen: Screen, as_json: JsonOption = False) -> None:
    """List the secrets that your jobs can get: your own and everybody's."""
    value = await api.get("/secrets")
    listing = decode(SecretList, value)
    rows = [_row(one, person=screen.person) for one in listing.secrets]
    columns: Columns = COLUMNS
    if any(one.missing_on for one in listing.secrets):  # only in a fleet
        columns = (*COLUMNS, "NOT ON")
        rows = [
            [*row, ", ".join(one.missing_on or [])] for row, one in zip(rows, listing.secrets, strict=True)
        ]
    screen.result(value, lambda: screen.table(columns, rows), as_json=as_json)


@command(app, "rm")
async def remove_secret(api: Api, screen: Screen, name: NameArgument, as_json: JsonOption = False) -> None:
    """Remove one of your secrets. Running jobs keep the value they were given."""
    value = await api.post(_path(name), method="DELETE", done=(Problem.SECRET_NOT_FOUND,))
    if value is None:  # the answer was lost, and with it the times
        value = {"name": name, "user": api.profile.identity}
    else:
        decode(SecretEntry, value)
    said = f"Removed {value['name']} of {value['user']}.\n".encode()
    screen.result(value, lambda: screen.write(said), as_json=as_json)


def _path(name: str) -> str:
    return f"/secrets/{quote(name, safe='')}"


def _row(one: SecretEntry, *, person: bool) -> list[Any]:
    return [
        one.name,
        one.user or "everybody",
        format_moment(one.updated_at, person=person),
    ]
