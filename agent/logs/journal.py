"""journald as the log: one unit's entries, as numbered lines, from a place on and live."""

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from ..errors import AgentError, Problem
from .entries import (
    FIELDS,
    JOURNALD_STARTED,
    JOURNALD_STOPPED,
    JOURNALDS_OWN,
    SUPPRESSED,
    Fields,
    fields_of,
    sequence_number,
)
from .journal_files import all_there, files
from .journalctl import TORN, ExportParser, JournalChangedError, journalctl, newest
from .lines import BEGINNINGS, ENDED, RUNTIME_COMMANDS, Item, LineNumbering, Position, time_of
from .sdjournal import Entries, JournalError
from .tail import Subscription, Tail

SHORT_ENTRIES = 500  # of a log that is read at once
SHORT_BYTES = 1 << 20  # of their messages
SETTLE_INTERVAL = 0.1  # seconds between two looks at the journal of a unit that has ended
TORN_LOOKS = 20  # at an entry that cannot be read, before it is given up
TORN_PAUSE = 0.01  # seconds between two of them
SETTLE_LIMIT = 5.0  # seconds after which a log counts as whole even without its closing entry


class Journal:
    """The calling user's journal: what there is by journalctl(1), what comes by one reader for all."""

    def __init__(self, tail: Tail | None = None) -> None:
        self._tail = tail or Tail()
        self._turn = asyncio.Lock()

    async def history(
        self, unit: str, numbering: LineNumbering, *, last: str = ""
    ) -> AsyncGenerator[list[Item]]:
        """What the journal holds of the unit after the numbering's position; ends there, or with `last`."""
        async with contextlib.aclosing(self._read(unit, numbering, last)) as batches:
            async for items in batches:
                yield items

    async def short(self, unit: str, numbering: LineNumbering) -> list[Item] | None:
        """As `history`, from the beginning and at once; None of a long log, or where that cannot be said.

        A journalctl takes 8 ms of CPU even where there is little to read, this 1.
        """
        found = await asyncio.to_thread(_short, unit)
        if found is None:
            return None
        entries = _from_beginning(found)
        return _forgotten(entries, numbering) + numbering.take(entries)

    async def follow(
        self,
        unit: str,
        numbering: LineNumbering,
        ended: Callable[[], Coroutine[Any, Any, bool]],
        *,
        unborn: Callable[[], Awaitable[bool]] | None = None,
    ) -> AsyncGenerator[list[Item]]:
        """As `history`, then live, until the unit has ended and its last line has been read.

        `ended` returns when the unit has ended, or had, and whether it ever ran. `unborn` says whether it has
        not been asked to start yet, so that there is nothing to be read of it. Raises `AgentError` (host)
        where the journal cannot be read.
        """
        async with self._tail.subscribe(unit) as subscription, _running(ended()) as end:
            end.add_done_callback(lambda _: subscription.wake())
            reread = unborn is None or not await unborn()
            while True:
                if reread:
                    # First the queue, then the journal: what is in both is told apart, nothing is in neither.
                    subscription.renew()
                    async with contextlib.aclosing(self._read(unit, numbering)) as batches:
                        async for items in batches:
                            yield items
                async with contextlib.aclosing(_live(subscription, numbering, end)) as batches:
                    async for items in batches:
                        yield items
                if not subscription.lost:
                    break
                reread = True
            if end.result() and not numbering.closed:
                # The closing entry was waited for in vain: what the tail did not bring is in the journal.
                async with contextlib.aclosing(self.rest(unit, numbering)) as batches:
                    async for items in batches:
                        yield items

    async def rest(self, unit: str, numbering: LineNumbering) -> AsyncGenerator[list[Item]]:
        """What is still to come of a unit that has ended.

        journald reads a unit's output and its closing entry from two sockets, in no promised order: the log
        is whole when that entry is there and a further look finds nothing new.
        """
        await self._look_behind(unit, numbering)
        deadline = asyncio.get_running_loop().time() + SETTLE_LIMIT
        while True:
            before = numbering.position
            async with contextlib.aclosing(self._read(unit, numbering)) as batches:
                async for items in batches:
                    yield items
            quiet = numbering.position == before
            if not quiet:
                deadline = asyncio.get_running_loop().time() + SETTLE_LIMIT
            late = asyncio.get_running_loop().time() > deadline
            if quiet and (numbering.closed or late):
                break
            await asyncio.sleep(SETTLE_INTERVAL)
        yield await self.unclosed(unit, numbering)

    async def unclosed(self, unit: str, numbering: LineNumbering) -> list[Item]:
        """Of a unit that has ended: a gap where its closing entry is not there, as after a power cut."""
        await self._look_behind(unit, numbering)
        return [] if numbering.closed else numbering.missing(time.time_ns() // 1_000_000)

    async def _look_behind(self, unit: str, numbering: LineNumbering) -> None:
        """Tells a numbering that began in the middle whether the log was closed before that.

        systemd says a word or two more behind the closing entry, and a client may have read those.
        """
        if numbering.closed or not numbering.position.cursor:
            return
        marks = [f"MESSAGE_ID={each.decode()}" for each in sorted(BEGINNINGS | {ENDED})]
        command = ["--output-fields=MESSAGE_ID", "--lines=1", *marks]
        last = await newest([*command, f"USER_UNIT={unit}", f"_UID={os.getuid()}"])
        numbering.closed = last is not None and last.get("MESSAGE_ID") == ENDED

    async def plain_after(self, unit: str) -> str:
        """The cursor behind which all that came over the unit's stdout is whole lines of the job's own.

        Empty for the beginning.
        """
        runtime = [f"_COMM={name.decode()}" for name in sorted(RUNTIME_COMMANDS)]
        printed = _printed(unit)
        other = ["--output-fields=_COMM", "--lines=1"]
        last = await newest([*other, *printed, *runtime, "+", *printed, "_LINE_BREAK=line-max"])
        return last["__CURSOR"].decode("ascii") if last else ""

    async def output(self, unit: str, after: str) -> AsyncGenerator[bytes]:
        """What came over the unit's stdout behind a cursor, a line feed behind each line.

        Several times faster than `history`. Raises `AgentError` (host) where a file of the journal goes
        meanwhile: text has no gaps.
        """
        behind = [f"--after-cursor={after}"] if after else []
        try:
            printed = self._in_turn(journalctl(["--output=cat", *behind, *_printed(unit)]))
            async with contextlib.aclosing(printed) as chunks:
                async for chunk in chunks:
                    yield chunk
        except JournalChangedError as error:
            raise AgentError(
                Problem.HOST, "The journal was vacuumed while it was read.", "Ask again."
            ) from error

    async def _in_turn(self, chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """Each chunk in a turn of the event loop of its own.

        What is there already comes without a pause, and however many read, all else has its turn in between.
        """
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                async with self._turn:
                    await asyncio.sleep(0)
                yield chunk

    async def _read(self, unit: str, numbering: LineNumbering, last: str = "") -> AsyncGenerator[list[Item]]:
        """What journalctl shows after the numbering's position, up to the entry of a cursor."""
        looks = 0
        while True:
            position = numbering.position
            try:
                async with (
                    contextlib.aclosing(self._in_turn(journalctl(_entries_after(position, unit)))) as chunks,
                    contextlib.aclosing(_batches(chunks, numbering, position, last.encode())) as batches,
                ):
                    async for items in batches:
                        yield items
                return
            except JournalChangedError:
                continue
            except _TornError as torn:
                looks = 1 if numbering.position != position else looks + 1
                if looks > TORN_LOOKS:
                    yield numbering.damaged(torn.entry)
                else:
                    await asyncio.sleep(TORN_PAUSE)


class _TornError(Exception):
    """An entry that cannot be read, or not yet: journald is just writing it."""

    def __init__(self, entry: Fields) -> None:
        super().__init__()
        self.entry = entry


@contextlib.asynccontextmanager
async def _running(work: Coroutine[Any, Any, bool]) -> AsyncIterator[asyncio.Task[bool]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()


async def _live(
    subscription: Subscription, numbering: LineNumbering, end: asyncio.Task[bool]
) -> AsyncGenerator[list[Item]]:
    """What comes, until some of it is lost, or the unit has ended and its log is whole, as for `rest`."""
    loop = asyncio.get_running_loop()
    read, deadline = numbering.position.cursor, 0.0
    while True:
        if end.done():
            if not end.result():
                return
            deadline = deadline or loop.time() + SETTLE_LIMIT
        entries = await subscription.get(SETTLE_INTERVAL if deadline else None)
        if entries:
            # Whoever is far behind is not late as long as something comes.
            deadline = deadline and loop.time() + SETTLE_LIMIT
            if read:
                # Until now the journal was read from both sides.
                entries = [entry for entry in entries if is_newer(entry["__CURSOR"], read.encode())]
                read = "" if entries else read
            yield numbering.take(entries)
        elif subscription.lost or (entries is None and (numbering.closed or loop.time() > deadline)):
            return


def is_newer(cursor: bytes, other: bytes) -> bool:
    """Whether one entry came after another: by journald's count or, where that began anew, by time."""
    if cursor.partition(b";")[0] == other.partition(b";")[0]:
        return sequence_number(cursor) > sequence_number(other)
    return _cursor_time(cursor) > _cursor_time(other)


def _cursor_time(cursor: bytes) -> int:
    return int(cursor.partition(b";t=")[2].partition(b";")[0], 16)


async def _parsed(chunks: AsyncIterator[bytes]) -> AsyncGenerator[list[Fields]]:
    parser = ExportParser()
    async for data in chunks:
        yield parser.feed(data)
    if left := parser.end():
        yield left


async def _batches(
    chunks: AsyncIterator[bytes], numbering: LineNumbering, position: Position, last: bytes
) -> AsyncGenerator[list[Item]]:
    first = True
    async for entries in _parsed(chunks):
        if first and not position.cursor:
            entries = _from_beginning(entries)
        lost: list[Item] = []
        if first and entries:
            first = False
            if not position.cursor:
                lost = _forgotten(entries, numbering)
            elif entries[0].get("__CURSOR") == position.cursor.encode():
                entries.pop(0)
            else:
                # --cursor= seeks to the nearest entry: where it is another, what was between is gone.
                lost = numbering.missing(time_of(entries[0]))
        torn = next((index for index, entry in enumerate(entries) if TORN in entry), None)
        whole = entries[:torn]
        ends = [index for index, entry in enumerate(whole) if entry["__CURSOR"] == last] if last else []
        yield lost + numbering.take(whole[: ends[0] + 1] if ends else whole)
        if ends:
            return
        if torn is not None:
            raise _TornError(entries[torn])
    if first and position.cursor:
        yield numbering.missing(time.time_ns() // 1_000_000)


def _from_beginning(entries: list[Fields]) -> list[Fields]:
    """What journald did before the unit was there is not the unit's."""
    return list(itertools.dropwhile(_is_of_all, entries))


def _forgotten(entries: list[Fields], numbering: LineNumbering) -> list[Item]:
    """A unit's log begins with systemd's own word, unless the journal has forgotten the beginning.

    Behind a closing entry, that word is of the next attempt.
    """
    attempt = itertools.takewhile(lambda entry: entry.get("MESSAGE_ID") != ENDED, entries)
    begun = not entries or any(entry.get("MESSAGE_ID") in BEGINNINGS for entry in attempt)
    return [] if begun else numbering.missing(time_of(entries[0]))


def _is_of_all(entry: Fields) -> bool:
    return entry.get("MESSAGE_ID") in (JOURNALD_STARTED, JOURNALD_STOPPED)


def _printed(unit: str) -> list[str]:
    return [f"SYSLOG_IDENTIFIER={unit.removesuffix('.service')}", f"_UID={os.getuid()}", "_TRANSPORT=stdout"]


def _entries_after(position: Position, unit: str) -> list[str]:
    # Asking for fewer makes journalctl three times faster.
    command = ["--output=export", f"--output-fields={','.join(FIELDS)}"]
    if position.cursor:
        command.append(f"--cursor={position.cursor}")
    for group in _entries_of(unit):
        command += [*group, "+"]
    return command[:-1]


def _entries_of(unit: str) -> list[list[str]]:
    """The job's output, by its identifier, and what the user manager and journald say about the unit.

    Not --user-unit=: journald learns a line's unit from the process that wrote it, and where that process has
    ended meanwhile, the line has none. The identifier belongs to the stream and stays.
    """
    mine = f"_UID={os.getuid()}"
    return [
        [f"SYSLOG_IDENTIFIER={unit.removesuffix('.service')}", mine],
        [f"USER_UNIT={unit}", mine],
        # Only members of systemd-journal can read these; `ml-agent doctor` says so.
        [f"MESSAGE_ID={SUPPRESSED.decode()}", f"OBJECT_SYSTEMD_USER_UNIT={unit}", "_UID=0"],
        [*(f"MESSAGE_ID={each.decode()}" for each in JOURNALDS_OWN if each != SUPPRESSED), "_UID=0"],
    ]


def _short(unit: str) -> list[Fields] | None:
    """All entries of a unit, read by this thread; None where there are many, or journalctl must be asked."""
    before = files()
    found: list[Fields] = []
    size = 0
    try:
        with contextlib.closing(
            Entries(*([each.encode() for each in group] for group in _entries_of(unit)))
        ) as reader:
            if files() != before:
                return None
            while reader.next():
                entry = fields_of(reader)
                # Without a message it is being written just now, or damaged.
                if len(found) >= SHORT_ENTRIES or size > SHORT_BYTES or "MESSAGE" not in entry:
                    return None
                found.append(entry)
                size += len(entry["MESSAGE"])
    except JournalError:
        return None
    return found if all_there(before) else None
