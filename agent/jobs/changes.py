"""Changes of jobs for all who watch: one reader of the store, which reads only while somebody watches.

What changed lately is held here once, for everybody: of each job the newest change alone. A watcher says up
to where it has seen, so that one who is slow costs no memory, skips what was overtaken meanwhile, and delays
nobody. One who is further behind is served from the store.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from ..errors import AgentError
from ..model.event import Change, History
from ..store.changes import ChangeStore

log = logging.getLogger("ml-agent")

HELD = 1000  # changes
PAGE = 500  # changes that are read at once, for all who watch
WATCHERS_PAGE = 25  # for one of them: while it does not read, it holds them
LOOK = 2.0  # seconds between two looks for what another process has written, as `ml-agent prune` does


class Changes:
    """Read by `after`, with `changed` to wait for more, inside `watched`."""

    def __init__(self, store: ChangeStore) -> None:
        self._store = store
        self._held: dict[str, Change] = {}  # by job, in the order of their numbers
        self._complete_after = self._newest = 0
        self._watchers = 0
        self._following = False
        self._reader: asyncio.Task[None] | None = None
        self._written = asyncio.Event()
        self._wake = asyncio.Event()

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While anybody is in here, changes are read."""
        self._watchers += 1
        try:
            if self._reader is None:
                self._reader = asyncio.create_task(self._read())
            yield
        finally:
            self._watchers -= 1
            if not self._watchers and self._reader is not None:
                self._reader.cancel()
                self._reader = None
                self._following = False
                self._held = {}

    async def history(self) -> History:
        """Which changes are known."""
        return await self._store.history()

    async def current(self, *, owner: str | None, ended: int) -> tuple[History, AsyncIterator[list[Change]]]:
        """The jobs that have not ended and the newest others, by their newest change, in portions.

        A job that is removed meanwhile has no `job`, or is left out.
        """
        history, job_ids = await self._store.current(owner=owner, ended=ended)
        return history, self._portions(job_ids)

    async def _portions(self, job_ids: Sequence[str]) -> AsyncIterator[list[Change]]:
        for start in range(0, len(job_ids), WATCHERS_PAGE):
            yield await self._store.newest_of_each(job_ids[start : start + WATCHERS_PAGE])

    async def missed(self, seq: int, *, owner: str | None, limit: int) -> int:
        """How many jobs have changed after `seq`, counted up to `limit`."""
        return await self._store.count_after(seq, owner=owner, limit=limit)

    async def after(
        self, seq: int, *, owner: str | None = None, limit: int = WATCHERS_PAGE
    ) -> tuple[int, list[Change]]:
        """Changes after `seq` in their order, of one owner's jobs or of all, and up to where they are whole.

        Where there are more than `limit`, the first ones.
        """
        if self._holds_all_after(seq):
            found = []
            for change in reversed(self._held.values()):
                if change.seq <= seq:
                    break
                if owner in (None, change.owner):
                    found.append(change)
            return max(seq, self._newest), found[::-1]
        newest = (await self._store.history()).newest
        stored = await self._store.after(seq, owner=owner, limit=limit)
        last = stored[-1].seq if stored else seq
        return (last if len(stored) == limit else max(newest, last)), stored

    async def of(self, job_id: str, seq: int) -> tuple[int, Change | None]:
        """The newest change of one job, if it is after `seq`, and up to where that is so."""
        if self._holds_all_after(seq):
            newest, change = self._newest, self._held.get(job_id)
        else:
            newest = (await self._store.history()).newest
            change = await self._store.newest_of(job_id)
        if change is None or change.seq <= seq:
            return max(newest, seq), None
        return max(newest, change.seq), change

    async def changed(self, seen: int, seconds: float) -> None:
        """Returns when there is something after `seen`, or after so long."""
        wake = self._wake
        if self._newest > seen:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await wake.wait()

    def _holds_all_after(self, seq: int) -> bool:
        return self._following and seq >= self._complete_after

    async def _read(self) -> None:
        """Reads for as long as somebody watches; a store that cannot be read now is asked again."""
        while True:
            try:
                with self._store.on_commit(self._written.set):
                    await self._follow()
            except AgentError as error:
                log.warning("changes cannot be read: %s", error)
            await asyncio.sleep(LOOK)

    async def _follow(self) -> None:
        if not self._following:
            self._newest = self._complete_after = (await self._store.history()).newest
            self._following = True
        while True:
            self._written.clear()
            found = await self._store.after(self._newest, limit=PAGE)
            for change in found:
                self._hold(change)
            if found:
                self._wake.set()
                self._wake = asyncio.Event()
            if len(found) < PAGE:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await self._written.wait()

    def _hold(self, change: Change) -> None:
        self._held.pop(change.job_id, None)
        self._held[change.job_id] = change
        self._newest = change.seq
        while len(self._held) > HELD:
            oldest = next(iter(self._held))
            self._complete_after = self._held.pop(oldest).seq
