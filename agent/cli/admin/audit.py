"""`ml-agent audit`: what the audit has, whether its chain is whole, and the rows that commands here write."""

import asyncio
import os
import pwd
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import typer
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from ...audit.chain import AuditRow, Broken, Caller, Deed, Detail, Link, follow, read_archive
from ...config import Settings
from ...identity.authority import write_file
from ...model.base import format_time, now
from ...store.store import Store
from ..quantities import parse_duration
from ..terminal import Column, Screen
from .install import SERVICE

PAGE = 1000  # rows that are read at once
HEAD_IN_JOURNAL = re.compile(r"audit head ([0-9]+:[0-9a-f]{64}) of record ([0-9a-f]{8})")
MAX_SUDO_USER = 64  # characters

COLUMNS = (
    Column("ROW", justify="right"),
    Column("TIME"),
    Column("WHO", style="bold"),
    Column("ROLE"),
    Column("FROM"),
    Column("DID"),
    Column("TO"),
    Column("RESULT"),
    Column("DETAILS"),
)

_TIME = TypeAdapter(AwareDatetime)


def account() -> Caller:
    """Who runs this command: the account by its user id, and whom sudo names, which is the account's word."""
    sudo = "".join(c for c in os.environ.get("SUDO_USER", "")[:MAX_SUDO_USER] if c.isprintable())
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Caller(actor=name, role="account", source=f"sudo of {sudo}" if sudo else "this host")


def record(settings: Settings, action: str, subject: str = "", /, **details: Detail) -> None:
    """Writes what a command has done, where no other transaction of the store is its own."""

    async def write(deed: Deed) -> None:
        async with Store.open(settings.database) as store:
            await store.audit.append(deed)

    asyncio.run(write(account().did(action, subject, **details)))


def parse_time(text: str) -> datetime:
    """`2d`, `1h30m`: so long ago; or a time such as 2026-01-01T12:00:00Z."""
    try:
        return _TIME.validate_python(text)
    except ValidationError:
        return now() - timedelta(seconds=parse_duration(text))


def parse_head(text: str) -> Link:
    """A head as `--verify` prints it."""
    link = Link.parse(text)
    if link is None:
        raise typer.BadParameter(f"{text!r} is no head such as --verify prints: a number, a colon, a hash")
    return link


async def show(
    settings: Settings, screen: Screen, *, since: datetime | None, user: str | None, limit: int, as_json: bool
) -> None:
    """The newest rows that were asked for, in their order: one line each."""
    async with Store.open(settings.database) as store:
        rows = await store.audit.newest(since=since, actor=user, limit=limit)
    if as_json:
        screen.json([{"row": row.seq, **row.content(), "hash": row.hash} for row in rows])
    else:
        screen.table(COLUMNS, [_cells(row) for row in rows])


def _cells(row: AuditRow) -> list[str]:
    content = row.content()
    names = ("at", "actor", "role", "source", "action", "subject", "result")
    details = content.get("details")
    pairs = sorted(details.items()) if isinstance(details, dict) else []
    shown = " ".join(f"{name}={_value(value)}" for name, value in pairs)
    return [str(row.seq), *(str(content.get(name, "?")) for name in names), shown]


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


async def verify(
    settings: Settings, screen: Screen, *, archives: Sequence[Path], heads: Sequence[Link], journal: bool
) -> bool:
    """Walks the whole chain, holds it to heads that others remember, and says what it found.

    `archives` are those that `archive` has written, the oldest first; `heads` somebody kept elsewhere; with
    `journal`, those that journald has of the agent count, too.
    """
    async with Store.open(settings.database) as store:
        try:
            in_journal = await _heads_in_journal(screen) if journal else {}
            own = in_journal.pop((await store.changes.history()).epoch, {})
            for record, told in in_journal.items():
                last = next(reversed(told))
                screen.remark(f"The journal has heads of another record, {record}; the last is {last}.")
            walk = Walk([*heads, *own], in_journal)
            for path in archives:
                walk.begin(*read_archive(path.read_bytes()))
            walk.begin((await store.audit.links())[0], [])
            while rows := await store.audit.rows(walk.head.seq, PAGE):
                walk.go(rows)
            walk.end()
        except Broken as broken:
            screen.remark(f"The audit is broken at {broken}.", style="bold red")
            return False
        except OSError as error:
            screen.remark(f"An archive cannot be read: {error}.", style="bold red")
            return False
    typer.echo(f"{walk.rows} rows, each as it was written; {walk.met} remembered heads are among them.")
    typer.echo(f"head {walk.head}")
    return True


class Walk:
    """Goes along the chain. Raises `Broken` where it is, or where a remembered head is not on it.

    Also where a head of one of the `others`, by the record's name, is on it: no two records have a hash in
    common, so it is this one, and somebody has changed the name, by which its heads would be known.
    """

    def __init__(self, remembered: Iterable[Link], others: Mapping[str, Iterable[Link]]) -> None:
        self._remembered: dict[int, set[str]] = {}
        for link in remembered:
            self._remembered.setdefault(link.seq, set()).add(link.hash)
        # Before their first rows all are alike.
        self._others = {link: name for name, links in others.items() for link in links if link.seq}
        self._begun = False
        self.head = Link(0, "")
        self.rows = self.met = 0

    def begin(self, anchor: Link, rows: Iterable[AuditRow]) -> None:
        """A part of the chain, which has to begin where the part before it ended."""
        if self._begun and anchor != self.head:
            raise Broken(anchor.seq, f"what is archived ends with row {self.head.seq}, or with another one")
        self._begun = True
        self._meet(anchor)
        self.head = anchor
        self.go(rows)

    def go(self, rows: Iterable[AuditRow]) -> None:
        """The next rows."""
        for row in rows:
            self.head = follow(self.head, row)
            self._meet(self.head)
            self.rows += 1

    def end(self) -> None:
        """There are no more."""
        newest = max(self._remembered, default=0)
        if newest > self.head.seq:
            raise Broken(
                self.head.seq + 1, f"it is missing, as are all up to row {newest}, which is remembered"
            )

    def _meet(self, link: Link) -> None:
        if other := self._others.get(link):
            raise Broken(
                link.seq, f"the journal has it of record {other}; this record was given another name"
            )
        hashes = self._remembered.pop(link.seq, None)
        if hashes is None:
            return
        if hashes != {link.hash}:
            raise Broken(link.seq, "its hash is not the one that is remembered; the chain was made anew")
        self.met += 1


async def archive(settings: Settings, path: Path, before: datetime) -> None:
    """Moves the rows from before that time into a new file; what is left follows from them as before.

    Raises `AgentError` (configuration) where the file exists, and then moves nothing.
    """
    deed = account().did("archiveAudit", file=str(path.absolute()))
    async with Store.open(settings.database) as store:
        count, link = await store.audit.archive(before, partial(write_file, path, mode=0o600), deed)
    if count:
        typer.echo(f"{path} has {count} rows, up to {link}.")
    else:
        typer.echo(f"There are no rows from before {format_time(before)}.")


async def _heads_in_journal(screen: Screen) -> dict[str, dict[Link, None]]:
    """The heads that the agent has told journald, by record, each once. The account cannot change them.

    The field is one that journald sets itself: a job cannot speak in the agent's name. Another record is one
    in another directory, or the one before somebody made it anew: a person has to judge that.
    """
    found: dict[str, dict[Link, None]] = {}
    command = ("journalctl", "--user", "--quiet", "--output=cat", f"_SYSTEMD_USER_UNIT={SERVICE}")
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        screen.remark(f"journalctl cannot be run, so no head is remembered there: {error.strerror}.")
        return found
    assert process.stdout is not None
    async for line in process.stdout:
        match = HEAD_IN_JOURNAL.fullmatch(line.decode("utf-8", "replace").strip())
        if match and (link := Link.parse(match[1])):
            found.setdefault(match[2], {})[link] = None
    if await process.wait():
        screen.remark("The journal cannot be read, so no head is remembered there.")
    return found
