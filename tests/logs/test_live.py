"""The end of a log that is followed."""

import asyncio

from agent.logs.lines import LineNumbering, Position
from agent.logs.live import live
from agent.logs.subscription import Subscription
from tests.support.log_entries import entry, texts


async def test_a_slow_follower_is_not_at_the_end_while_lines_come() -> None:
    subscription = Subscription()

    async def print_slowly() -> None:
        for number in range(1, 8):
            # Longer than a look, and all together longer than the limit.
            await asyncio.sleep(0.1)
            subscription.put([entry(b"%d" % number)])

    async def has_ended() -> bool:
        return True

    end, printing = asyncio.create_task(has_ended()), asyncio.create_task(print_slowly())
    await asyncio.wait([end])
    numbering = LineNumbering(Position())
    batches = live(subscription, numbering, end, interval=0.01, limit=0.3)
    assert await texts(batches) == [str(number) for number in range(1, 8)]
    await printing
