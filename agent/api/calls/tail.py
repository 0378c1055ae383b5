"""The last lines of a log: where they begin is found in one pass that keeps places, and no lines.

So the memory that a tail takes depends neither on the number of its lines nor on their length.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from ...logs.lines import Item, Line, Position
from ...model.log import LogSource

MAX_PLACES = 1000  # that are kept of a log; then every second one is given up

Filter = Callable[[list[Item]], Awaitable[list[Item]]]


@dataclass
class _Place:
    """A position, and how many of the wanted lines follow up to the next place."""

    position: Position
    lines: int


@dataclass
class Window:
    """The part of a log that is a tail: behind `position`, without the first `skipped` of the job's lines.

    Lines of the system and gaps before the first line of the tail are left out (until it has `begun`), those
    behind its last line are not. `count` bounds the job's lines; without it, all that follows is in the tail.
    """

    position: Position
    skipped: int
    begun: bool
    count: int | None
    over: bool = False

    def select(self, items: list[Item]) -> list[Item]:
        """The items of the tail among the next ones of the log."""
        found = []
        for item in items:
            if is_jobs_own(item):
                if self.skipped:
                    self.skipped -= 1
                    continue
                if self.count == 0:
                    self.over = True
                    break
                self.begun = True
                if self.count is not None:
                    self.count -= 1
            if self.begun:
                found.append(item)
        return found


async def find_tail(
    batches: AsyncGenerator[list[Item]], wanted: Filter, start: Position, lines: int, *, goes_on: bool
) -> Window:
    """Where the last `lines` lines of the job that pass the filter begin, in a log that is read from `start`.

    The log may lack lines before its last `lines` + 1 lines. If it goes on, the tail has no end.
    """
    places: list[_Place] = []
    found = kept = 0
    before = start
    async with contextlib.aclosing(batches):
        async for items in batches:
            if items and before is start and not _follows(items[0], start):
                # Lines are left out. A reader can begin behind this item, but not before it.
                before, items = items[0].position, items[1:]
            if count := sum(map(is_jobs_own, await wanted(items))):
                places.append(_Place(before, count))
                found += count
                kept += count
            while places and kept - places[0].lines >= lines:
                kept -= places.pop(0).lines
            if len(places) > MAX_PLACES:
                pairs = zip(places[::2], [*places[1::2], _Place(Position(), 0)], strict=False)
                places = [_Place(first.position, first.lines + second.lines) for first, second in pairs]
            before = items[-1].position if items else before
    bound = None if goes_on else lines
    if found < lines:
        return Window(start, skipped=0, begun=True, count=bound)
    if not places:
        return Window(before, skipped=0, begun=True, count=bound)
    return Window(places[0].position, skipped=kept - lines, begun=False, count=bound)


def _follows(item: Item, position: Position) -> bool:
    """Whether nothing is between a position and an item."""
    return item.position.number == position.number + isinstance(item, Line)


def is_jobs_own(item: Item) -> bool:
    """Whether the job itself printed the item."""
    return isinstance(item, Line) and item.source is LogSource.JOB
