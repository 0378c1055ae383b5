"""Takes the log of each job that has ended out of the journal, when the journal has settled.

Which jobs those are is in the store, in the same transaction as their end: an agent that dies meanwhile
leaves them to the next one. A job's place in the queue is free long before.
"""

import asyncio
import contextlib
import logging
import time
from pathlib import Path

from ..errors import AgentError
from ..model.job import Job
from ..store.store import Store
from . import archive
from .job_log import SETTLING, read_journal
from .journal import Journal
from .lines import LineNumbering, Position
from .metrics import Collector
from .metrics_reader import collected, keep

log = logging.getLogger("ml-agent")

DELAY = SETTLING.total_seconds()  # from a job's end on; then one look at the journal sees all of a closed log


class Archivist:
    """Told of each end by `note`; `run` keeps one log after the other, below `directory`, by job."""

    def __init__(self, store: Store, journal: Journal, directory: Path) -> None:
        self._store = store
        self._journal = journal
        self._directory = directory
        self._ended: asyncio.Queue[tuple[float, Job]] = asyncio.Queue()
        self._unkept = 0

    @property
    def idle(self) -> bool:
        """Whether no log waits to be kept."""
        return self._unkept == 0

    async def load(self) -> None:
        """Takes up what an earlier agent has not kept."""
        for job in await self._store.jobs.unarchived():
            self.note(job)

    def note(self, job: Job) -> None:
        """A job that has ended just now, as far as is known."""
        self._unkept += 1
        self._ended.put_nowait((time.monotonic(), job))

    async def run(self) -> None:
        """Keeps logs until it is cancelled. One that cannot be kept now is left to the next agent."""
        while True:
            since, job = await self._ended.get()
            await asyncio.sleep(since + DELAY - time.monotonic())
            try:
                await self._keep(job)
            except (AgentError, OSError) as error:
                log.warning("job %s: its log stays in the journal for now: %s", job.job_id, error)
            self._unkept -= 1

    async def _keep(self, job: Job) -> None:
        file = self._directory / job.job_id / archive.NAME
        # A job that never began has no directory and no log.
        if file.parent.is_dir() and not file.exists():
            said = Collector()
            journal = read_journal(self._journal, job, LineNumbering(Position()), at_once=True)
            lines = collected(journal, said)
            async with contextlib.aclosing(lines):
                await archive.write(file, lines)
            await asyncio.to_thread(keep, file.parent, said.metrics(job.job_id, complete=True))
        await self._store.jobs.mark_archived(job.job_id)
