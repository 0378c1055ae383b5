"""Whether the audit's chain is complete: walked row by row, and compared with heads kept elsewhere."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import typer

from ...audit.chain import AuditRow, Broken, Link, follow, read_archive
from ...config import Settings
from ...store.store import Store
from ..terminal import Screen
from .install import SERVICE

NOTHING_REMEMBERED = (
    "NOT PROVEN: there is no remembered head to compare with. Whoever can write to the database could have"
    " computed the whole chain anew, or cut off its end. Keep the head on another machine, and pass it with"
    " --head."
)
PAGE = 1000  # rows that are read at once
HEAD_IN_JOURNAL = re.compile(r"audit head ([0-9]+:[0-9a-f]{64}) of record ([0-9a-f]{8})")


async def verify(
    settings: Settings,
    screen: Screen,
    *,
    archives: Sequence[Path],
    heads: Sequence[Link],
    journal: bool,
    strict: bool,
) -> bool:
    """Walks the whole chain, compares it with remembered heads, and prints the result.

    `archives` are files of `ml-agent audit --archive`, oldest first. `heads` were kept elsewhere; with
    `journal`, the heads that the agent logged to journald count as well. With `strict`, the result is False
    without any head to compare with.
    """
    async with Store.open(settings.database) as store:
        try:
            in_journal = await _heads_in_journal(screen) if journal else {}
            own = in_journal.pop((await store.changes.history()).epoch, {})
            for restored in await store.audit.about("restore"):
                own |= _before(restored, in_journal, screen)
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
    typer.echo(f"{walk.rows} rows, each as it was written; {walk.met} remembered heads match.")
    typer.echo(f"head {walk.head}")
    if walk.met:
        return True
    screen.remark(NOTHING_REMEMBERED, style="bold red")
    return not strict


def _before(row: AuditRow, in_journal: dict[str, dict[Link, None]], screen: Screen) -> dict[Link, None]:
    """The heads that the restored record had until its backup. Says what the record has lost since then.

    `row` is the audit's about the restore, and part of the chain. The record had another name before.
    """
    details = row.content().get("details", {})
    record, made_at = str(details.get("record")), details.get("made_at")
    last = Link.parse(str(details.get("head"))) or Link(0, "")
    told = in_journal.pop(record, {})
    lost = [link for link in told if link.seq > last.seq]
    screen.remark(f"Row {row.seq}: the record was restored from a backup of {made_at}, of row {last.seq}.")
    if lost:
        newest = max(lost, key=lambda link: link.seq)
        screen.remark(
            f"The journal has heads from after that backup, up to row {newest.seq}. The rows from"
            f" {last.seq + 1} to {newest.seq} of the replaced record are not in this one."
        )
    return {link: None for link in told if link.seq <= last.seq}


class Walk:
    """Goes along the chain. Raises `Broken` where it breaks, or where a remembered head is not on it.

    `others` are heads of other records, by the record's name. One of them on this chain breaks it, too: no
    two records share a hash, so somebody has renamed this record to hide which heads are its own.
    """

    def __init__(self, remembered: Iterable[Link], others: Mapping[str, Iterable[Link]]) -> None:
        self._remembered: dict[int, set[str]] = {}
        for link in remembered:
            self._remembered.setdefault(link.seq, set()).add(link.hash)
        # Records have no hash of their own before their first row.
        self._others = {link: name for name, links in others.items() for link in links if link.seq}
        self._begun = False
        self.head = Link(0, "")
        self.rows = self.met = 0

    def begin(self, anchor: Link, rows: Iterable[AuditRow]) -> None:
        """A part of the chain, which must begin where the part before it ended."""
        if self._begun and anchor != self.head:
            raise Broken(anchor.seq, f"it does not follow the archive, which ends with row {self.head.seq}")
        self._begun = True
        self._meet(anchor)
        self.head = anchor
        self.go(rows)

    def go(self, rows: Iterable[AuditRow]) -> None:
        """Checks the next rows."""
        for row in rows:
            self.head = follow(self.head, row)
            self._meet(self.head)
            self.rows += 1

    def end(self) -> None:
        """Checks that no remembered head is beyond the last row."""
        newest = max(self._remembered, default=0)
        if newest > self.head.seq:
            raise Broken(
                self.head.seq + 1,
                f"it is missing, as are all rows up to the remembered row {newest}",
            )

    def _meet(self, link: Link) -> None:
        if other := self._others.get(link):
            raise Broken(link.seq, f"the journal has its head under record {other}: this record was renamed")
        hashes = self._remembered.pop(link.seq, None)
        if hashes is None:
            return
        if hashes != {link.hash}:
            raise Broken(link.seq, "its hash differs from the remembered one: the chain was rewritten")
        if link.seq:  # the head of an empty record is the same for all
            self.met += 1


async def _heads_in_journal(screen: Screen) -> dict[str, dict[Link, None]]:
    """The heads that the agent logged to journald, by record, each once.

    The account cannot change them, but it can fill the journal until journald removes the oldest entries.
    journald itself sets _SYSTEMD_USER_UNIT, so no job can log in the agent's name. A head of another record
    comes from another state directory, or from a record that was replaced: a person has to judge that.
    """
    found: dict[str, dict[Link, None]] = {}
    command = ("journalctl", "--user", "--quiet", "--output=cat", f"_SYSTEMD_USER_UNIT={SERVICE}")
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        screen.remark(f"No heads from the journal: journalctl cannot be run: {error.strerror}.")
        return found
    assert process.stdout is not None
    async for line in process.stdout:
        match = HEAD_IN_JOURNAL.fullmatch(line.decode("utf-8", "replace").strip())
        if match and (link := Link.parse(match[1])):
            found.setdefault(match[2], {})[link] = None
    if await process.wait():
        screen.remark("No heads from the journal: it cannot be read.")
    return found
