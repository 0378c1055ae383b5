"""A job's log, wherever it is: in the journal, or in a file of its own once the job has ended."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from ..model.base import now
from ..model.job import Job, JobState, check_not_removed
from ..model.paths import JobPaths
from . import archive
from .journal import SETTLE_LIMIT, Journal
from .lines import Batches, LineNumbering, Position, job_output

# How long after a job's end journald may still be writing the job's last lines:
SETTLING = timedelta(seconds=2 * SETTLE_LIMIT)  # of any job
SETTLING_UNCLOSED = timedelta(seconds=60)  # of a job without a closing entry
LONG_LINE = 512  # bytes; journald cuts longer ones, at LineMax=, by default 48 KiB


Newest = Callable[[str], Awaitable[Job]]  # the newest revision of a job, by its id
AtItsEnd = Callable[[Job], Awaitable[Job]]  # waits until a job has ended; its last revision


@dataclass(eq=False)
class JobLog:
    """A reader of the log of one job. Each call continues where the previous one stopped.

    Every method raises `AgentError` if the log cannot be read, or if retention has removed it.
    """

    _journal: Journal
    _newest: Newest
    _at_its_end: AtItsEnd
    _file: Path
    _job: Job
    _numbering: LineNumbering
    _resumed: bool = field(init=False)

    def __post_init__(self) -> None:
        self._resumed = bool(self._numbering.position.cursor)

    async def history(self, *, newest: int | None = None, at_once: bool = False) -> Batches:
        """The log until now; if the job has ended, all of it.

        With `newest`, lines before the last `newest` lines that the job itself printed may be left out.
        `at_once` is that of `read_journal`.
        """
        if self._job.status.terminal and self._file.exists():
            kept = archive.read(self._file, self._numbering.position, newest=newest)
            async with contextlib.aclosing(kept) as batches:
                async for items in batches:
                    if items:
                        self._numbering.go_to(items[-1].position)
                    yield items
            return
        # Retention may have removed the file meanwhile, and the journal may have less than the file had.
        check_not_removed(await self._newest(self._job.job_id))
        if newest is not None:
            start = await self._journal.before_last(self._job.unit, newest)
            if start and start.number > self._numbering.position.number:
                self._numbering.go_to(start)
        lines = read_journal(self._journal, self._job, self._numbering, at_once=at_once)
        async with contextlib.aclosing(lines) as batches:
            async for items in batches:
                yield items

    def follow(self) -> Batches:
        """The log until now, then each line as it is printed, to the last line of the job."""
        if self._job.status.terminal:
            return self.history()
        return self._journal.follow(self._job.unit, self._numbering, self._ended, unborn=self._unborn)

    async def output(self) -> AsyncGenerator[bytes]:
        """What the job itself has printed so far, byte for byte, from the beginning.

        Several times faster than `history`: journalctl itself prints most of it.
        """
        unit, passed = self._job.unit, 0
        async with self._journal.newest_cut(unit) as newest_cut:
            if after := await newest_cut():
                async with contextlib.aclosing(self._printed(Position(), last=after)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            async with contextlib.aclosing(self._journal.output(unit, after)) as chunks:
                async for chunk in chunks:
                    # Of a line that is long, journald may have cut the rest.
                    longest = max(map(len, chunk.split(b"\n")))
                    if longest >= LONG_LINE and await newest_cut() != after:
                        break
                    passed += len(chunk)
                    yield chunk
                else:
                    return
        # A line was cut meanwhile, perhaps in the newest chunk: from there on, entries tell where.
        async with contextlib.aclosing(self._printed(Position(0, after))) as chunks:
            async for chunk in chunks:
                yield chunk[passed:]
                passed -= min(passed, len(chunk))

    async def _printed(self, position: Position, *, last: str = "") -> AsyncGenerator[bytes]:
        """The job's own output behind a position, from its entries."""
        numbering = LineNumbering(position)
        async with contextlib.aclosing(
            self._journal.history(self._job.unit, numbering, last=last)
        ) as batches:
            async for items in batches:
                yield job_output(items)

    async def _ended(self) -> bool:
        """Waits until the job has ended. Returns whether it ever ran."""
        return (await self._at_its_end(self._job)).invocation_id is not None

    async def _unborn(self) -> bool:
        """Whether there is nothing to read yet: no attempt has started, and no client has an event id."""
        job = await self._newest(self._job.job_id)
        return job.status is JobState.PENDING and not job.attempts and not self._resumed


@dataclass(eq=False)
class JobLogs:
    """The logs of all jobs, whose files `paths_of` finds by the job id."""

    _journal: Journal
    _newest: Newest
    _at_its_end: AtItsEnd
    _paths_of: Callable[[str], JobPaths]

    async def reader(self, job: Job, after: Position) -> JobLog:
        """A reader that starts behind a position. Raises `AgentError` (removed-by-retention)."""
        check_not_removed(await self._newest(job.job_id))
        return self.resumed(job, numbering_of(job, after))

    def resumed(self, job: Job, numbering: LineNumbering) -> JobLog:
        """A reader that continues an earlier one's numbering, for a newer revision of the job."""
        file = self._paths_of(job.job_id).log
        return JobLog(self._journal, self._newest, self._at_its_end, file, job, numbering)


def numbering_of(job: Job, position: Position) -> LineNumbering:
    """The numbering of a job's lines behind a position."""
    attempts = [*(attempt.invocation_id for attempt in job.attempts), job.invocation_id]
    return LineNumbering(position, not_first=list(dict.fromkeys(filter(None, attempts)))[1:])


async def read_journal(
    journal: Journal, job: Job, numbering: LineNumbering, *, at_once: bool = False
) -> Batches:
    """What the journal has of a job's log after the numbering's position.

    If the job has just ended, it waits for lines that journald has not written yet. A log without a closing
    entry ends with a gap. With `at_once`, a short log is read without a child process.
    """
    # A job that never ran has no closing entry to wait for.
    ended = job.status.terminal and job.invocation_id is not None
    ago = timedelta.max if job.finished_at is None else now() - job.finished_at
    if not ended or ago >= SETTLING:
        read = journal.at_once if at_once else journal.history
        async with contextlib.aclosing(read(job.unit, numbering)) as batches:
            async for items in batches:
                yield items
    if ended and (ago < SETTLING or (ago < SETTLING_UNCLOSED and not numbering.closed)):
        async with contextlib.aclosing(journal.rest(job.unit, numbering)) as batches:
            async for items in batches:
                yield items
    elif ended:
        yield await journal.unclosed(job.unit, numbering)
