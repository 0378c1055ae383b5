"""The change feed of the fleet, from the record's, for `jobs.changes.Changes`."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from ...errors import AgentError
from ...host.tasks import Listeners
from ...model.event import Change, History
from ..record import Record
from .documents import job_of

log = logging.getLogger("ml-fleet")

PAUSE = 1.0  # seconds after which a bell that fell silent is listened to again


class RecordChanges:
    """Implements `jobs.changes.ChangeSource`. `run` it, so that changes are heard at once."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._listeners = Listeners()

    def on_commit(self, listener: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """Calls `listener` after each change that is heard of."""
        return self._listeners.listening(listener)

    async def run(self) -> None:
        """Listens until it is cancelled. Meanwhile, and without it, the feed looks every few seconds."""
        while True:
            try:
                async with self._record.bell() as bell:
                    async for _ in bell:
                        self._listeners.notify()
            except AgentError as error:
                log.info("changes are not heard of at once: %s", error)
            await asyncio.sleep(PAUSE)

    async def history(self) -> History:
        """Which changes are known."""
        return await self._record.history()

    async def current(self, *, owner: str | None = None, ended: int) -> tuple[History, list[str]]:
        """The jobs that have not ended and the newest others, in the order of their newest changes."""
        return await self._record.newest(owner, ended=ended)

    async def newest_of_each(self, job_ids: Sequence[str]) -> list[Change]:
        """The newest change of each of these jobs."""
        return await self._changes(await self._record.changes_of(job_ids))

    async def newest_of(self, job_id: str) -> Change | None:
        """The newest change of a job; None where there was no such job, or it was removed long ago."""
        return next(iter(await self.newest_of_each([job_id])), None)

    async def after(self, seq: int, *, owner: str | None = None, limit: int) -> list[Change]:
        """The first `limit` changes with higher numbers, in order."""
        return await self._changes(await self._record.changes(seq, owner=owner, limit=limit))

    async def count_after(self, seq: int, *, owner: str | None = None, limit: int) -> int:
        """How many jobs have a higher change number, counted up to `limit`."""
        return await self._record.missed(seq, owner=owner, limit=limit)

    async def _changes(self, numbered: Sequence[tuple[int, str]]) -> list[Change]:
        """The jobs as they are now, which may be newer than their numbers: then other changes follow."""
        rows = await self._record.jobs([job_id for _, job_id in numbered])
        removed = [job_id for _, job_id in numbered if job_id not in rows]
        owners = await self._record.owners_of_removed(removed)
        found = []
        for number, job_id in numbered:
            if job_id in rows:
                job = job_of(rows[job_id])
                found.append(Change(seq=number, job_id=job_id, owner=job.owner, job=job))
            elif job_id in owners:
                found.append(Change(seq=number, job_id=job_id, owner=owners[job_id], job=None))
        return found
