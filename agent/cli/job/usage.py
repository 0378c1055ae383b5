"""`ml-job usage`: what you have used of the host, and, for operators, what others have."""

from typing import Annotated
from urllib.parse import urlencode

import typer

from ...model.usage import UsageKey, UsageReport
from ..program import JsonOption
from ..terminal import Screen
from ..usage_table import ByOption, CsvOption, FromOption, ToOption, demand_one_form, show, write_csv
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
    demand_one_form(csv, as_json=as_json)
    asked = {"from": since, "to": until, "by": by, "owner": owner}
    path = f"/usage?{urlencode({name: value for name, value in asked.items() if value is not None})}"
    if csv is not None:
        async with api.open(path, accept="text/csv") as response:
            write_csv(screen, csv, await response.read())
        return
    value = await api.get(path)
    screen.result(value, lambda: show(screen, decode(UsageReport, value)), as_json=as_json)
