"""`ml-agent usage`: the ledger of all users, without starting the agent."""

from typing import Annotated

import typer

from ...config_files import load
from ...model.base import now
from ...model.usage import UsageKey, UsageReport, period
from ...store.store import Store
from ...usage.ledger import Ledger
from ..program import JsonOption
from ..terminal import Screen
from ..usage_table import ByOption, CsvOption, FromOption, ToOption, demand_one_form, show, write_csv
from . import shared

app = typer.Typer()


@app.command()
def usage(
    since: FromOption = None,
    until: ToOption = None,
    by: ByOption = UsageKey.USER,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Of this user alone.")] = None,
    csv: CsvOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what users have used of the host, by month. This does not start the agent. Replaces FILE."""
    demand_one_form(csv, as_json=as_json)
    asked, screen = period(since, until, now().date()), Screen()

    async def read(store: Store) -> tuple[UsageReport, bytes]:
        ledger = Ledger(store.usage)
        found = await ledger.report(asked, by=by, owner=user)
        return found, b"".join([piece async for piece in ledger.csv(found)]) if csv is not None else b""

    report, table = shared.in_store(load(), read)
    if csv is not None:
        write_csv(screen, csv, table)
    else:
        value = report.model_dump(mode="json", exclude_none=True)
        screen.result(value, lambda: show(screen, report), as_json=as_json)
