"""`ml-job usage`: what you have used of the host, and, for operators, what others have."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from ...host.files import write_file
from ...model.usage import UsageKey, UsageReport
from ..program import JsonOption
from ..terminal import Screen
from ..usage_table import TO_STDOUT, ByOption, CsvOption, FromOption, ToOption, show
from .http import Api, decode
from .invocation import command

app = typer.Typer()


@command(app)
async def usage(
    api: Api,
    screen: Screen,
    since: FromOption = None,
    until: ToOption = None,
    by: ByOption = UsageKey.USER,
    owner: Annotated[
        str | None, typer.Option(metavar="USER", help="Of this user; for operators and administrators.")
    ] = None,
    csv: CsvOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what you have used of the host, by month. Operators see all users. Replaces FILE."""
    if csv is not None and as_json:
        raise typer.BadParameter("give either --csv FILE or --json")
    asked = {"from": since, "to": until, "by": by, "owner": owner}
    path = f"/usage?{urlencode({name: value for name, value in asked.items() if value is not None})}"
    if csv is not None:
        async with api.open(path, accept="text/csv") as response:
            data = await response.read()
        if csv == TO_STDOUT:
            screen.write(data)
        else:
            write_file(Path(csv), data, mode=0o644, replace=True, durable=False, parents=False)
        return
    value = await api.get(path)
    screen.result(value, lambda: show(screen, decode(UsageReport, value)), as_json=as_json)
