"""The change feed: one reader of the store for all watchers, which reads only while somebody watches.

The newest changes are held here once, for everybody: of each job only the newest change. A watcher says up to
which number it has seen changes. A slow watcher therefore costs no memory, delays nobody, and skips changes
that a newer one has replaced. A watcher that is further behind reads from the store.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

from ..errors import AgentError
from ..log import log
from ..model.event import Change, History
from ..model.job import Job, no_such_job

HELD = 1000  # changes that are held
PAGE = 500  # changes that are read at once, for all watchers
WATCHERS_PAGE = 25  # changes that are read at once for one watcher, which holds them until its client reads
LOOK = 2.0  # seconds between two looks for changes by another process, such as `ml-agent prune`


class ChangeSource(Protocol):
    """Where changes are kept; `store.changes.ChangeStore` says what each method returns."""

    def on_commit(self, callback: Callable[[], None]) -> contextlib.AbstractContextManager[None]: ...
    async def history(self) -> History: ...
    async def current(self, *, owner: str | None = None, ended: int) -> tuple[History, list[str]]: ...
    async def newest_of_each(self, job_ids: Sequence[str]) -> list[Change]: ...
    async def newest_of(self, job_id: str) -> Change | None: ...
    async def after(self, seq: int, *, owner: str | None = None, limit: int) -> list[Change]: ...
    async def count_after(self, seq: int, *, owner: str | None = None, limit: int) -> int: ...


class Changes:
    """Read with `after` or `of`, and wait with `changed`, inside `watched`."""

    def __init__(self, store: ChangeSource) -> None:
        self._store = store
        self._held: dict[str, Change] = {}  # by job, in the order of their numbers
        self._complete_after = self._newest = 0
        self._watchers = 0
        self._following = False
        self._reader: asyncio.Task[None] | None = None
        self._written = asyncio.Event()
        self._wake = asyncio.Event()  # set, and replaced, with each change
        self._wake_of = WeakValueDictionary[str, asyncio.Event]()  # the same for one job

    @property
    def reading(self) -> bool:
        """Whether changes are being read."""
        return self._reader is not None

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Changes are read while anybody is inside the context."""
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
        """The newest change of each job that has not ended and of the `ended` newest others, in portions.

        The change of a job that is removed meanwhile has no `job`, or is left out.
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
        """The changes after `seq` in order, and the number up to which they are complete.

        They are of the jobs of one owner or, with None, of all. The store reads at most `limit` at once.
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
        """The newest change of one job, if it is after `seq`, and the number up to which this holds."""
        if self._holds_all_after(seq):
            newest, change = self._newest, self._held.get(job_id)
        else:
            newest = (await self._store.history()).newest
            change = await self._store.newest_of(job_id)
        if change is None or change.seq <= seq:
            return max(newest, seq), None
        return max(newest, change.seq), change

    async def changed(self, seen: int, seconds: float) -> None:
        """Waits for a change after `seen`, but at most so many seconds."""
        wake = self._wake
        if self._newest > seen:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await wake.wait()

    async def newer(self, job: Job) -> Job:
        """Waits until the job has a newer revision, or has ended; returns its newest revision.

        Raises `AgentError` (job-not-found) if the job was removed.
        """
        seen = 0
        async with self.watched():
            while True:
                change = await self._next_of(job.job_id, seen)
                if change.job is None:
                    raise no_such_job()
                if change.job.revision > job.revision or change.job.status.terminal:
                    return change.job
                seen = change.seq

    async def ended(self, job: Job) -> Job:
        """Waits until the job has ended; returns its last revision. Raises what `newer` raises."""
        while not job.status.terminal:
            job = await self.newer(job)
        return job

    async def _next_of(self, job_id: str, seen: int) -> Change:
        while True:
            # Before the look: what comes after the look sets this event.
            wake = self._wake_of.setdefault(job_id, asyncio.Event())
            seen, change = await self.of(job_id, seen)
            if change is not None:
                return change
            await wake.wait()

    def _holds_all_after(self, seq: int) -> bool:
        return self._following and seq >= self._complete_after

    async def _read(self) -> None:
        """Reads until it is cancelled. A store that cannot be read is tried again."""
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
            # A watcher that looked before now may have missed a change: it is not among those that follow.
            self._wake_all()
            for job_id in list(self._wake_of):
                self._wake_watchers_of(job_id)
        while True:
            self._written.clear()
            found = await self._store.after(self._newest, limit=PAGE)
            for change in found:
                self._hold(change)
            if found:
                self._wake_all()
            if len(found) < PAGE:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await self._written.wait()

    def _hold(self, change: Change) -> None:
        self._held.pop(change.job_id, None)
        self._held[change.job_id] = change
        self._newest = change.seq
        self._wake_watchers_of(change.job_id)
        while len(self._held) > HELD:
            oldest = next(iter(self._held))
            self._complete_after = self._held.pop(oldest).seq

    def _wake_all(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()

    def _wake_watchers_of(self, job_id: str) -> None:
        if wake := self._wake_of.pop(job_id, None):
            wake.set()
