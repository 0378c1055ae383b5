"""The lines of a unit as they are printed, from a subscription to the journal's tail."""

import asyncio

from .entries import is_newer
from .lines import Batches, LineNumbering
from .subscription import Subscription


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
    seconds, or when nothing came for `limit` seconds. `end` tells whether the unit ever ran.
    """
    clock = asyncio.get_running_loop().time
    read, deadline = numbering.position.cursor, 0.0
    while True:
        if end.done():
            if not end.result():
                return
            deadline = deadline or clock() + limit
        entries = await subscription.get(interval if deadline else None)
        if entries:
            # A follower that is far behind gets more time as long as something comes.
            deadline = deadline and clock() + limit
            if read:
                # What the journal had up to here has been read from it already.
                entries = [entry for entry in entries if is_newer(entry["__CURSOR"], read.encode())]
                read = "" if entries else read
            yield numbering.number(entries)
        elif subscription.lost or (entries is None and (numbering.closed or clock() > deadline)):
            return
