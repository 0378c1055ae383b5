"""Reads what jobs say of their progress and metrics from their logs, while somebody asks or watches.

The journal keeps the lines, so nothing has to listen while nobody does: a question reads on from where the
last one stopped. When a job has ended, the archivist, which goes through the log anyway, leaves the result
beside it.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ..errors import AgentError
from ..host.files import write_file
from ..model.job import Job, JobState
from ..model.log import LogSource
from ..model.metric import JobMetrics
from .job_log import JobLogs
from .lines import Batches, Line, LineNumbering, Position
from .metrics import Collector

log = logging.getLogger("ml-agent")

NAME = "metrics.json"  # in the job's directory, beside its log
MAX_KNOWN = 256  # jobs whose metrics so far are remembered
RETRY_DELAY = 2.0  # seconds before a log that could not be followed is tried again


@dataclass
class Reading:
    """What is known of one job so far, and up to where its log was read."""

    collector: Collector = field(default_factory=Collector)
    numbering: LineNumbering = field(default_factory=lambda: LineNumbering(Position()))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    follower: asyncio.Task[None] | None = None
    following: bool = False
    watchers: int = 0
    whole: bool = False

    async def take(self, lines: Batches) -> None:
        """Everything that comes."""
        async with contextlib.aclosing(collected(lines, self.collector)) as batches:
            async for _ in batches:
                pass


async def collected(lines: Batches, collector: Collector) -> Batches:
    """Hands a log through, and the job's own lines to the collector."""
    continues = False
    async with contextlib.aclosing(lines):
        async for items in lines:
            for item in items:
                if isinstance(item, Line):
                    # What journald has cut off a long line is no line of the job's.
                    if item.source is LogSource.JOB and not continues:
                        collector.take(item.text, item.time)
                    continues = item.continued
            yield items


class MetricsReader:
    """Reads what jobs say from their `logs`; `directory` holds the jobs' directories."""

    def __init__(self, logs: JobLogs, directory: Path) -> None:
        self._logs = logs
        self._directory = directory
        self._readings: OrderedDict[str, Reading] = OrderedDict()

    async def metrics(self, job: Job) -> JobMetrics:
        """All that the job has said so far, or ever.

        Raises `AgentError` or `OSError` where its log cannot be read.
        """
        if job.status.terminal and (kept := await asyncio.to_thread(_kept, self._path(job))):
            self._readings.pop(job.job_id, None)
            return kept
        reading = self._reading(job)
        await self._catch_up(job, reading)
        return reading.collector.metrics(job.job_id, complete=job.status.terminal)

    @contextlib.asynccontextmanager
    async def followed(self, job: Job) -> AsyncIterator[Collector]:
        """The collector of a job that was begun, filled as the job prints, for all who are in here."""
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
                    await reading.take(self._logs.resumed(job, reading.numbering).history())
                # Said before the lock is taken for long: who waits for it by now gets it first.
                reading.following = True
                async with reading.lock:
                    await reading.take(self._logs.resumed(job, reading.numbering).follow())
                    reading.whole = True
                return
            except (AgentError, OSError) as error:
                log.warning("job %s: its metrics cannot be followed now: %s", job.job_id, error)
            finally:
                reading.following = False
            await asyncio.sleep(RETRY_DELAY)

    async def _catch_up(self, job: Job, reading: Reading) -> None:
        """Reads on to the log's end; what somebody follows is being read."""
        # A job that waits to be tried again has said something.
        if job.status is JobState.PENDING and not job.attempts:
            return
        if reading.following and not job.status.terminal:
            return
        # A follower has it while it reads, and not while it waits to try again: then it is read here.
        async with reading.lock:
            if not reading.whole:
                await reading.take(self._logs.resumed(job, reading.numbering).history())
                reading.whole = job.status.terminal

    def _reading(self, job: Job) -> Reading:
        reading = self._readings.setdefault(job.job_id, Reading())
        self._readings.move_to_end(job.job_id)
        for job_id in list(self._readings)[: max(0, len(self._readings) - MAX_KNOWN)]:
            if not self._readings[job_id].watchers:
                del self._readings[job_id]
        return reading

    def _path(self, job: Job) -> Path:
        return self._directory / job.job_id / NAME


def keep(directory: Path, metrics: JobMetrics) -> None:
    """Leaves what a job has said in its directory, whole or not at all. Raises `OSError`.

    Not synced: where it is lost, it follows from the log again.
    """
    data = metrics.model_dump_json(exclude_none=True).encode() + b"\n"
    write_file(directory / NAME, data, mode=0o600, replace=True, durable=False, parents=False)


def _kept(path: Path) -> JobMetrics | None:
    try:
        return JobMetrics.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        # A file that a power cut left empty counts as none.
        return None
