"""Reads the progress and metrics that jobs report in their logs, while a client asks or watches.

Nothing has to listen in between: a question reads on where the last one stopped. When a job has ended, the
archiver, which reads the whole log anyway, leaves the result beside it.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ..errors import AgentError
from ..host.files import write_file
from ..log import log
from ..model.job import Job, JobState
from ..model.log import LogSource, LogStream
from ..model.metric import JobMetrics
from ..model.paths import JobPaths
from .job_log import JobLogs
from .lines import Batches, Line, LineNumbering, Position
from .metrics import Collector

MAX_KNOWN = 256  # jobs whose metrics so far are remembered
RETRY_DELAY = 2.0  # seconds before a log that could not be followed is tried again


@dataclass
class Reading:
    """What one job has reported so far, and how far its log has been read."""

    collector: Collector = field(default_factory=Collector)
    numbering: LineNumbering = field(default_factory=lambda: LineNumbering(Position()))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    follower: asyncio.Task[None] | None = None
    following: bool = False
    watchers: int = 0
    whole: bool = False

    async def read(self, lines: Batches) -> None:
        """Reads lines to their end."""
        async with contextlib.aclosing(collected(lines, self.collector)) as batches:
            async for _ in batches:
                pass


async def collected(lines: Batches, collector: Collector) -> Batches:
    """Passes a log on, and gives the job's own lines to the collector."""
    continued: set[LogStream | None] = set()
    async with contextlib.aclosing(lines):
        async for items in lines:
            for item in items:
                if isinstance(item, Line) and item.source is LogSource.JOB:
                    # The rest of a long line that journald has cut is not a line of the job's.
                    if item.stream not in continued:
                        collector.add(item.text, item.time, item.number)
                    (continued.add if item.continued else continued.discard)(item.stream)
            yield items


class MetricsReader:
    """Reads what jobs report from their `logs`, or from files that `paths_of` finds by the job id."""

    def __init__(self, logs: JobLogs, paths_of: Callable[[str], JobPaths]) -> None:
        self._logs = logs
        self._paths_of = paths_of
        self._readings: OrderedDict[str, Reading] = OrderedDict()

    async def metrics(self, job: Job) -> JobMetrics:
        """Everything that the job has reported. Raises `AgentError`, `OSError` if its log cannot be read."""
        path = self._paths_of(job.job_id).metrics
        if job.status.terminal and (stored := await asyncio.to_thread(_stored, path)):
            self._readings.pop(job.job_id, None)
            return stored
        reading = self._reading(job)
        await self._catch_up(job, reading)
        return reading.collector.metrics(job.job_id, complete=job.status.terminal)

    async def so_far(self, job: Job) -> Collector:
        """What a running job has reported until now; a later call adds to it. Raises as `metrics`."""
        reading = self._reading(job)
        await self._catch_up(job, reading)
        return reading.collector

    @contextlib.asynccontextmanager
    async def followed(self, job: Job) -> AsyncIterator[Collector]:
        """The collector of a job that was started, which is kept up to date inside this context."""
        reading = self._reading(job)
        reading.watchers += 1
        try:
            if reading.follower is None or reading.follower.done():
                reading.follower = asyncio.create_task(self._follow(job, reading))
            yield reading.collector
        finally:
            reading.watchers -= 1
            if not reading.watchers and reading.follower:
                reading.follower.cancel()
                reading.follower = None

    async def _follow(self, job: Job, reading: Reading) -> None:
        while True:
            try:
                async with reading.lock:
                    await reading.read(self._logs.resumed(job, reading.numbering).history())
                # Set before the lock is taken for long: whoever waits for it now gets it first.
                reading.following = True
                async with reading.lock:
                    await reading.read(self._logs.resumed(job, reading.numbering).follow())
                    reading.whole = True
                return
            except (AgentError, OSError) as error:
                log.warning("job %s: the metrics cannot be followed now: %s", job.job_id, error)
            finally:
                reading.following = False
            await asyncio.sleep(RETRY_DELAY)

    async def _catch_up(self, job: Job, reading: Reading) -> None:
        """Reads on to the log's end, unless a follower is reading it already."""
        # A job that waits for another attempt may have reported something.
        if job.status is JobState.PENDING and not job.attempts:
            return
        if reading.following and not job.status.terminal:
            return
        # A follower releases the lock while it waits to try again; then the log is read here.
        async with reading.lock:
            if not reading.whole:
                await reading.read(self._logs.resumed(job, reading.numbering).history(at_once=True))
                reading.whole = job.status.terminal

    def _reading(self, job: Job) -> Reading:
        reading = self._readings.setdefault(job.job_id, Reading())
        self._readings.move_to_end(job.job_id)
        for job_id in list(self._readings)[: max(0, len(self._readings) - MAX_KNOWN)]:
            if not self._readings[job_id].watchers:
                del self._readings[job_id]
        return reading


def write_metrics(path: Path, metrics: JobMetrics) -> None:
    """Stores what a job has reported; not durably, because the log has it too. Raises `OSError`."""
    data = metrics.model_dump_json(exclude_none=True).encode() + b"\n"
    write_file(path, data, mode=0o600, replace=True, durable=False, parents=False)


def _stored(path: Path) -> JobMetrics | None:
    try:
        return JobMetrics.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        # A power cut may leave an empty file, which counts as none.
        return None
