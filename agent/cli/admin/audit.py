"""`ml-agent audit`: the rows of the audit, shown, verified and archived."""

import asyncio
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ...audit.chain import AuditRow, Link
from ...config import Settings
from ...config_files import load
from ...host.files import write_file
from ...model.base import format_time
from ..failure import EXIT_FAILURE
from ..program import JsonOption
from ..quantities import parse_time
from ..terminal import Screen, bold, right
from . import shared, verification

COLUMNS = (right("ROW"), "TIME", bold("WHO"), "ROLE", "FROM", "DID", "TO", "RESULT", "DETAILS")

app = typer.Typer()


@app.command("audit")
def show_audit(
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify the whole chain; exit status 1 if it is broken.")
    ] = False,
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="ROW:HASH", help="With --verify: a head kept elsewhere; repeatable."),
    ] = None,
    archived: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="With --verify: an archive, oldest first; repeatable."),
    ] = None,
    journal: Annotated[
        bool, typer.Option(help="With --verify: compare with the heads that journald has.")
    ] = True,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="With --verify: exit status 1 without a head to compare with, too."),
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Rows since this time or date, or of the last 2d, for example."),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Rows of this user or account, refusals included.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="At most this many rows, the newest.")
    ] = 100,
    archive: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Move the rows from before --before into a new file.")
    ] = None,
    before: Annotated[
        str, typer.Option(metavar="TIME", help="With --archive: a time or date, or how long ago.")
    ] = "365d",
    as_json: JsonOption = False,
) -> None:
    """Show who did what, when and from where. --verify checks that the record is unchanged."""
    screen = Screen()
    if verify:
        heads = [parse_head(text) for text in head or []]
        proven = verification.verify(
            load(), screen, archives=archived or [], heads=heads, journal=journal, strict=strict
        )
        if not asyncio.run(proven):
            raise typer.Exit(EXIT_FAILURE)
        return
    if archive is not None:
        move_to_archive(load(), archive, parse_time(before))
        return
    from_then = parse_time(since) if since else None
    rows = shared.in_store(load(), lambda store: store.audit.newest(since=from_then, actor=user, limit=limit))
    if as_json:
        screen.json([{"row": row.seq, **row.content(), "hash": row.hash} for row in rows])
    else:
        screen.table(COLUMNS, [_cells(row) for row in rows])


def parse_head(text: str) -> Link:
    """A head as `--verify` prints it."""
    link = Link.parse(text)
    if link is None:
        raise typer.BadParameter(f"{text!r} is not a head as --verify prints it: ROW:HASH")
    return link


def _cells(row: AuditRow) -> list[str]:
    content = row.content()
    if via := content.get("via"):
        content = content | {"source": f"{content.get('source', '?')} via {via}"}
    names = ("at", "actor", "role", "source", "action", "subject", "result")
    details = content.get("details")
    pairs = sorted(details.items()) if isinstance(details, dict) else []
    lists = ((name, ",".join(map(str, value)) if isinstance(value, list) else value) for name, value in pairs)
    shown = " ".join(f"{name}={value}" for name, value in lists)
    return [str(row.seq), *(str(content.get(name, "?")) for name in names), shown]


def move_to_archive(settings: Settings, path: Path, before: datetime) -> None:
    """Moves the rows from before that time into a new file. The rows that stay still follow from them.

    Raises `AgentError` (configuration), and moves nothing, where the file exists.
    """
    deed = shared.account().did("archiveAudit", file=str(path.absolute()))
    write = partial(write_file, path, mode=0o600)
    count, link = shared.in_store(settings, lambda store: store.audit.archive(before, write, deed))
    if count:
        typer.echo(f"{path} has {count} rows, up to {link}.")
    else:
        typer.echo(f"There are no rows from before {format_time(before)}.")
