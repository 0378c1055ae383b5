"""journald as the log of a unit: its entries as numbered lines, from a position on, and live."""

import asyncio
import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import host_failed
from ..host.tasks import in_turn
from ..model.comparison import NOT_KNOWN, Consumption
from ..model.log import GapCause
from .entries import FIELDS, Fields, boot_of, is_newer
from .history import (
    NewestCut,
    TornError,
    batches_of,
    consumption,
    forgotten_beginning,
    from_beginning,
    last_lines,
    short_log,
)
from .journalctl import JournalChangedError, journalctl, of_output, of_unit, read_entries
from .lines import CLOSINGS, STARTING, Batches, Item, LineNumbering, Position
from .sdjournal import JournalError
from .tail import Subscription, Tail

MAX_ENDS = 1000  # units of which it is remembered how many lines they had
SETTLE_INTERVAL = 0.1  # seconds between two looks at the journal of a unit that has ended
TORN_LOOKS = 20  # how often an entry that cannot be read is tried
TORN_PAUSE = 0.01  # seconds between two tries
USER_STARTUP_FINISHED = b"eed00a68ffd84e31882105fd973abdd1"  # the user manager has started its units
# journalctl is three times faster if it is asked for few fields.
EXPORT = ("--output=export", f"--output-fields={','.join(FIELDS)}")
SETTLE_LIMIT = 5.0  # seconds without a new line after which a log without a closing entry counts as whole


class Journal:
    """The calling user's journal: the past by journalctl(1), the present by one reader for all followers."""

    def __init__(self, tail: Tail | None = None) -> None:
        self._tail = tail or Tail()
        self._turn = asyncio.Lock()
        self._backwards = asyncio.Lock()
        self._ends: OrderedDict[str, Position] = OrderedDict()

    async def history(self, unit: str, numbering: LineNumbering, *, last: str = "") -> Batches:
        """What the journal has of the unit after the numbering's position, or from there up to a cursor."""
        first, *others = of_unit(unit)
        groups = [*first, *(word for group in others for word in ("+", *group))]
        looks = 0
        while True:
            position = numbering.position
            behind = [f"--cursor={position.cursor}"] if position.cursor else []
            try:
                async with (
                    contextlib.aclosing(self._in_turn(journalctl([*EXPORT, *behind, *groups]))) as chunks,
                    contextlib.aclosing(batches_of(chunks, numbering, last)) as batches,
                ):
                    async for items in batches:
                        yield items
                return
            except JournalChangedError:
                continue
            except TornError as torn:
                looks = 1 if numbering.position != position else looks + 1
                if looks > TORN_LOOKS:
                    yield numbering.damaged(torn.entry)
                else:
                    await asyncio.sleep(TORN_PAUSE)

    async def short(self, unit: str, numbering: LineNumbering) -> list[Item] | None:
        """As `history`, in one go; None if there is much to read, or if the journal is changing.

        It takes 1 ms of CPU, where a journalctl takes 8 ms for the shortest log.
        """
        after = numbering.position.cursor
        found = await asyncio.to_thread(short_log, unit, after)
        if found is None:
            return None
        if after:
            return numbering.number(found)
        entries = from_beginning(found)
        return forgotten_beginning(entries, numbering) + numbering.number(entries)

    async def consumption(self, unit: str, invocation_id: str | None) -> Consumption:
        """What one invocation of a unit used, once it has ended; nothing where the journal does not tell."""
        if invocation_id is None:
            return NOT_KNOWN
        return await asyncio.to_thread(consumption, unit, invocation_id)

    async def at_once(self, unit: str, numbering: LineNumbering) -> Batches:
        """As `history`; a short log is read without a child process."""
        if (short := await self.short(unit, numbering)) is not None:
            yield short
            return
        async with contextlib.aclosing(self.history(unit, numbering)) as batches:
            async for items in batches:
                yield items

    async def before_last(self, unit: str, lines: int) -> Position | None:
        """The position before the last `lines` lines that the job itself printed; None for the beginning.

        The first call for a unit counts the lines of its whole log, and later ones only the new lines.
        """

        def find() -> tuple[Position, Position] | None:
            return last_lines(unit, lines, self._ends.get(unit, Position()))

        found = await in_turn(self._backwards, find)
        if found is None:
            return None
        start, self._ends[unit] = found
        self._ends.move_to_end(unit)
        if len(self._ends) > MAX_ENDS:
            self._ends.popitem(last=False)
        return start

    async def follow(
        self,
        unit: str,
        numbering: LineNumbering,
        ended: Callable[[], Coroutine[Any, Any, bool]],
        *,
        unborn: Callable[[], Awaitable[bool]] | None = None,
    ) -> Batches:
        """As `history`, then live, until the unit has ended and its last line has been read.

        `ended` returns when the unit has ended, and tells whether it ever ran. `unborn` tells whether nobody
        has asked for its start yet, so that the journal has nothing of it. Raises `AgentError` (host) if the
        journal cannot be read.
        """
        async with self._tail.subscribe(unit) as subscription, _running(ended()) as end:
            end.add_done_callback(lambda _: subscription.wake())
            reread = unborn is None or not await unborn()
            while True:
                if reread:
                    # First the queue, then the journal: an entry may be in both, but in neither is none.
                    subscription.renew()
                    async with contextlib.aclosing(self.history(unit, numbering)) as batches:
                        async for items in batches:
                            yield items
                settling = live(subscription, numbering, end, interval=SETTLE_INTERVAL, limit=SETTLE_LIMIT)
                async with contextlib.aclosing(settling) as batches:
                    async for items in batches:
                        yield items
                if not subscription.lost:
                    break
                reread = True
            if end.result() and not numbering.closed:
                # No closing entry came. What the tail did not bring is in the journal.
                async with contextlib.aclosing(self.rest(unit, numbering)) as batches:
                    async for items in batches:
                        yield items

    async def rest(self, unit: str, numbering: LineNumbering) -> Batches:
        """The rest of the log of a unit that has ended, including what journald has not written yet.

        journald reads a unit's output and its closing entry from two sockets, in no promised order. So the
        log is whole when the closing entry is there and a further look finds nothing new.
        """
        await self._look_behind(unit, numbering)
        clock = asyncio.get_running_loop().time
        deadline = clock() + SETTLE_LIMIT
        while True:
            before = numbering.position
            async with contextlib.aclosing(self.at_once(unit, numbering)) as batches:
                async for items in batches:
                    yield items
            quiet = numbering.position == before
            if not quiet:
                deadline = clock() + SETTLE_LIMIT
            elif numbering.closed or clock() > deadline:
                break
            await asyncio.sleep(SETTLE_INTERVAL)
        yield await self.unclosed(unit, numbering)

    async def unclosed(self, unit: str, numbering: LineNumbering) -> list[Item]:
        """A gap if nothing closes the log of a unit that has ended, as after a power cut."""
        await self._look_behind(unit, numbering)
        if numbering.closed or await _manager_was_killed(numbering.position):
            return []
        return numbering.missing(time.time_ns() // 1_000_000, GapCause.NOT_CLOSED)

    async def _look_behind(self, unit: str, numbering: LineNumbering) -> None:
        """Finds out whether the closing entry came before the position that a numbering started from.

        systemd writes a line or two behind the closing entry, and a client may have read those.
        """
        if numbering.closed or not numbering.resumed:
            return
        last = await _newest(CLOSINGS | {STARTING}, f"USER_UNIT={unit}")
        numbering.closed = last is not None and last.get("MESSAGE_ID") in CLOSINGS

    @contextlib.asynccontextmanager
    async def newest_cut(self, unit: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
        """A function that finds the cursor behind which the output is only whole lines of the job's own.

        The cursor is empty if that holds from the beginning. Raises `AgentError` (host).
        """
        loop, newest = asyncio.get_running_loop(), NewestCut(unit)

        async def find() -> str:
            try:
                return await loop.run_in_executor(thread, newest.cursor)
            except JournalError as error:
                raise host_failed(f"The journal cannot be read: {error}.") from error

        thread = ThreadPoolExecutor(1, "journal-cuts")
        try:
            yield find
        finally:
            thread.submit(newest.close)
            thread.shutdown(wait=False)

    async def output(self, unit: str, after: str) -> AsyncGenerator[bytes]:
        """The unit's output behind a cursor, a line feed behind each line.

        Several times faster than `history`. Raises `AgentError` (host) if a file of the journal is deleted
        meanwhile: plain text cannot show a gap.
        """
        behind = [f"--after-cursor={after}"] if after else []
        command = ["--output=cat", *behind, *of_output(unit)]
        try:
            async with contextlib.aclosing(self._in_turn(journalctl(command))) as chunks:
                async for chunk in chunks:
                    yield chunk
        except JournalChangedError as error:
            raise host_failed("The journal was vacuumed while it was read.", "Try again.") from error

    async def _in_turn(self, chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """Hands out each chunk in its own turn of the event loop.

        Chunks come without a pause. However many readers there are, everything else runs in between.
        """
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                async with self._turn:
                    await asyncio.sleep(0)
                yield chunk


async def _manager_was_killed(end: Position) -> bool:
    """Whether the log ends there because the user manager was killed, with all of its units.

    Nobody then closes the log, and journald has all of it. The next manager of the same boot says so.
    """
    if not end.cursor:
        return False
    came = await _newest({USER_STARTUP_FINISHED})
    cursor = came["__CURSOR"] if came else b""
    return boot_of(cursor.decode()) == boot_of(end.cursor) and is_newer(cursor, end.cursor.encode())


async def _newest(message_ids: Iterable[bytes], *matching: str) -> Fields | None:
    """The account's newest entry with one of these message ids."""
    ids = [f"MESSAGE_ID={each.decode()}" for each in sorted(message_ids)]
    command = ["--output-fields=MESSAGE_ID", "--lines=1", *ids, *matching, f"_UID={os.getuid()}"]
    last = await read_entries(command)
    return last[-1] if last else None


@contextlib.asynccontextmanager
async def _running(work: Coroutine[Any, Any, bool]) -> AsyncIterator[asyncio.Task[bool]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()


async def live(
    subscription: Subscription,
    numbering: LineNumbering,
    end: asyncio.Task[bool],
    *,
    interval: float,
    limit: float,
) -> Batches:
    """What comes, until the subscription loses entries, or the unit has ended and its log is whole.

    The log of a unit that has ended is whole when it has its closing entry and nothing came for `interval`
    seconds although the journal was read to its end, or when nothing came for `limit` seconds. `end` tells
    whether the unit ever ran.
    """
    clock = asyncio.get_running_loop().time
    read, deadline, looks = numbering.position.cursor, 0.0, subscription.looks()
    while True:
        if end.done():
            if not end.result():
                return
            deadline = deadline or clock() + limit
        entries = await subscription.get(interval if deadline else None)
        if entries:
            # A follower that is far behind gets more time as long as something comes.
            deadline, looks = deadline and clock() + limit, subscription.looks()
            if read:
                # What the journal had up to here has been read from it already.
                entries = [entry for entry in entries if is_newer(entry["__CURSOR"], read.encode())]
                read = "" if entries else read
            yield numbering.number(entries)
        elif subscription.lost or (entries is None and clock() > deadline):
            return
        elif entries is None and numbering.closed and subscription.looks() > looks + 1:
            # On a busy machine, a pause may be the reader's own. One look may have begun before that entry.
            return
