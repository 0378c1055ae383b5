"""An agent that dies between two steps, each of which is a transaction of the store."""

import asyncio
from collections.abc import Awaitable, Callable
from sqlite3 import Connection
from typing import Any

from agent.store.database import Database


class Killing:
    """Kills an agent at the n-th transaction that writes: before it, or after it is on the disk."""

    def __init__(self, database: Database, step: int, *, after: bool) -> None:
        self._run = database.run
        self._left = step
        self._after = after
        self.dead = asyncio.Event()
        self._hung = list[asyncio.Future[None]]()

    async def run(self, work: Callable[[Connection], Any]) -> Any:
        """In the place of `Database.run`."""
        if self.dead.is_set():
            await self._hang()
        self._left -= 1  # never 0 for an agent that is not to be killed
        last = self._left == 0
        if last and not self._after:
            self.dead.set()
            await self._hang()
        result = await self._run(work)
        if last:
            self.dead.set()
            await self._hang()
        return result

    async def _hang(self) -> None:
        self._hung.append(asyncio.get_running_loop().create_future())
        await self._hung[-1]

    async def bury(self) -> None:
        """Ends what hangs, also where it was shielded from the end of its caller."""
        for hung in self._hung:
            hung.cancel()
        await asyncio.sleep(0)


async def killed_in(
    database: Database, work: Callable[[], Awaitable[object]], step: int, *, after: bool
) -> bool:
    """Does the work with an agent that is killed at its n-th step; whether it got so far.

    Raises what work raises that comes to its end.
    """
    killing = Killing(database, step, after=after)
    database.run = killing.run  # type: ignore[method-assign]
    going, dying = asyncio.ensure_future(work()), asyncio.create_task(killing.dead.wait())
    try:
        await asyncio.wait((going, dying), return_when=asyncio.FIRST_COMPLETED)
        if not killing.dead.is_set():
            await going
        return killing.dead.is_set()
    finally:
        del database.run
        for task in (going, dying):
            task.cancel()
        await asyncio.gather(going, dying, return_exceptions=True)
        await killing.bury()
