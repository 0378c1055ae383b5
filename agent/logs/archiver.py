"""Archives the log of each job that has ended, once journald has written all of it.

The store lists the jobs to archive, in the same transaction that ends them. If the agent dies meanwhile, the
next one archives them.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

from ..errors import AgentError
from ..log import log
from ..model.comparison import Consumption, summaries
from ..model.job import Job
from ..model.paths import JobPaths
from ..store.jobs import JobStore
from . import archive
from .job_log import SETTLING, numbering_of, read_journal
from .journal import Journal
from .lines import Position
from .metrics import Collector
from .metrics_reader import collected, write_metrics

DELAY = SETTLING.total_seconds()  # after a job's end; then the journal has all of a closed log


class Archiver:
    """Archives one log after the other into the jobs' files, which `paths_of` finds by the job id."""

    def __init__(self, store: JobStore, journal: Journal, paths_of: Callable[[str], JobPaths]) -> None:
        self._store = store
        self._journal = journal
        self._paths_of = paths_of
        self._ended: asyncio.Queue[tuple[float, Job]] = asyncio.Queue()
        self._waiting = 0

    @property
    def idle(self) -> bool:
        """Whether no log waits to be archived."""
        return self._waiting == 0

    async def load(self) -> None:
        """Queues what an earlier agent did not archive."""
        for job in await self._store.unarchived():
            self.add(job)

    def add(self, job: Job) -> None:
        """Queues the log of a job that has just ended."""
        self._waiting += 1
        self._ended.put_nowait((time.monotonic(), job))

    async def run(self) -> None:
        """Archives logs until it is cancelled. What cannot be archived now is left to the next agent."""
        while True:
            since, job = await self._ended.get()
            await asyncio.sleep(since + DELAY - time.monotonic())
            try:
                await self.archive(job)
            except (AgentError, OSError) as error:
                log.warning("job %s: the log stays in the journal for now: %s", job.job_id, error)
            self._waiting -= 1

    async def archive(self, job: Job) -> None:
        """Archives a job's log and metrics, if it has not been done. Raises `AgentError`, `OSError`."""
        paths = self._paths_of(job.job_id)
        if not paths.directory.is_dir():  # it never started, so it has no log and has reported nothing
            await self._store.mark_archived(job.job_id, {})
        elif paths.log.exists():  # an earlier agent has archived it, and recorded nothing of what it reported
            await self._store.mark_archived(job.job_id, used=await self._used(job))
        else:
            collector = Collector()
            journal = read_journal(self._journal, job, numbering_of(job, Position()), at_once=True)
            lines = collected(journal, collector)
            async with contextlib.aclosing(lines):
                await archive.write(paths.log, lines)
            metrics = collector.metrics(job.job_id, complete=True)
            await asyncio.to_thread(write_metrics, paths.metrics, metrics)
            await self._store.mark_archived(job.job_id, summaries(metrics), await self._used(job))

    async def _used(self, job: Job) -> dict[int, Consumption]:
        """What each attempt of a job used, by its number."""
        invocations = {each.number: each.invocation_id for each in job.attempts}
        invocations.setdefault(job.attempt, job.invocation_id)
        return {
            number: await self._journal.consumption(job.unit, invocation_id)
            for number, invocation_id in invocations.items()
        }
