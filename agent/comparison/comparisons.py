"""Compares jobs: from their records, and from the logs of those that have not ended."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import AgentError
from ..model.base import now
from ..model.comparison import (
    CommitDifference,
    ComparedJob,
    Comparison,
    Consumption,
    JobDifference,
    MeasuredJob,
    MetricSummary,
    best_of,
    summaries,
)
from ..model.job import Job, JobPage, JobState
from ..model.metric import JobMetrics
from ..model.search import JobSearch
from ..model.sweep import Direction, Objective
from ..store.search import SearchStore
from ..store.summaries import SummaryStore
from . import parquet_writer, table
from .differences import Packages, difference

MAX_READ = 32  # logs, or files of metrics, that are read for one comparison
READ_SECONDS = 2.0  # for all of them
SAME = ComparedJob.model_fields.keys() & Job.model_fields.keys()


@dataclass(eq=False)
class Comparisons:
    """Compares jobs of `_store`; `_metrics` and `_consumption` are of a job without a summary.

    `_between` blocks, and tells what lies between two commits for a script. `_packages` are those of an
    image, by its name and digest.
    """

    _store: SummaryStore
    _search: SearchStore
    _metrics: Callable[[Job], Awaitable[JobMetrics]]
    _consumption: Callable[[str, str | None], Awaitable[Consumption]]
    _between: Callable[[str, str, str], CommitDifference]
    _packages: Callable[[str, str], Awaitable[Mapping[str, str]]]
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def jobs(self, job_ids: Sequence[str]) -> list[MeasuredJob]:
        """The jobs with these ids: `SummaryStore.jobs`."""
        return await self._store.jobs(job_ids)

    async def trials(self, sweep_id: str) -> list[MeasuredJob]:
        """The trials of a sweep: `SummaryStore.trials`."""
        return await self._store.trials(sweep_id)

    async def search(self, search: JobSearch) -> JobPage:
        """A page of jobs by labels and metrics: `SearchStore.page`."""
        return await self._search.page(search)

    async def compared(self, jobs: Sequence[MeasuredJob], objective: Objective | None) -> Comparison:
        """The jobs side by side, and the best of them by the objective."""
        known = await self._with_metrics(jobs)
        rows = [_row(each, objective) for each in known]
        return Comparison(objective=objective, best=_best(rows, objective), jobs=rows)

    async def difference(self, a: MeasuredJob, b: MeasuredJob) -> JobDifference:
        """In what two jobs differ. Raises `AgentError` (host) if git or Podman does not answer."""
        known = await self._with_metrics([a, b])
        commit = None
        if a.job.commit != b.job.commit:
            name = b.job.script_name
            commit = await asyncio.to_thread(self._between, a.job.commit, b.job.commit, name)
        metrics_a, metrics_b = (each.metrics or {} for each in known)
        packages: tuple[Packages, Packages] = {}, {}
        if a.job.image_digest != b.job.image_digest:
            packages = await self._packages_of(a.job), await self._packages_of(b.job)
        return difference(a.job, b.job, metrics_a, metrics_b, commit, packages)

    async def _packages_of(self, job: Job) -> Packages:
        return await self._packages(job.image, job.image_digest) if job.image_digest else {}

    async def csv(self, comparison: Comparison) -> AsyncGenerator[bytes]:
        """The comparison as CSV, in pieces. Raises what `table.columns` raises."""
        columns = await asyncio.to_thread(table.columns, comparison)
        return table.csv_pieces(columns, len(comparison.jobs))

    async def parquet(self, comparison: Comparison) -> bytes:
        """The comparison as Parquet. Raises what `table.columns` and `parquet_writer.written` raise."""
        columns = await asyncio.to_thread(table.columns, comparison)
        async with self._writing:  # one process at a time, whose memory is bounded
            return await parquet_writer.written(columns)

    async def _with_metrics(self, jobs: Sequence[MeasuredJob]) -> list[MeasuredJob]:
        """The same jobs, with the metrics of those that have no summary as far as there is time."""
        unknown = [each for each in jobs if each.metrics is None and each.job.removed is None]
        found: dict[str, MeasuredJob] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                for each in unknown[:MAX_READ]:
                    with contextlib.suppress(AgentError, OSError):  # it cannot be read now: not known
                        found[each.job.job_id] = await self._read(each)
        return [found.get(each.job.job_id, each) for each in jobs]

    async def _read(self, measured: MeasuredJob) -> MeasuredJob:
        job = measured.job
        reported = await self._metrics(job)
        metrics, consumption = summaries(reported), measured.consumption
        if job.status.terminal and reported.complete:
            consumption = await self._consumption(job.unit, job.invocation_id)
            await self._store.record(job.job_id, metrics, consumption)
        return replace(measured, metrics=metrics, consumption=consumption)


def _row(measured: MeasuredJob, objective: Objective | None) -> ComparedJob:
    job, metrics = measured.job, measured.metrics
    if objective and metrics and (decides := metrics.get(objective.metric)):
        best = best_of(decides, objective.direction)
        metrics = metrics | {objective.metric: decides.model_copy(update={"best": best})}
    seconds = None
    if job.started_at is not None:
        seconds = round(((job.finished_at or now()) - job.started_at).total_seconds(), 3)
    return ComparedJob(
        **{name: getattr(job, name) for name in SAME},
        seconds=seconds,
        cpu_seconds=measured.consumption.cpu_seconds,
        memory_peak_bytes=measured.consumption.memory_peak_bytes,
        metrics=metrics,
    )


def _best(rows: Sequence[ComparedJob], objective: Objective | None) -> str | None:
    """The job that a sweep of these trials would call the best; the first of several."""
    if objective is None:
        return None
    decided = [
        (summary.last, row.job_id)
        for row in rows
        if row.status is JobState.COMPLETED and (summary := _summary(row, objective.metric))
    ]
    choose = max if objective.direction is Direction.MAXIMIZE else min
    return choose(decided, key=lambda each: each[0])[1] if decided else None


def _summary(row: ComparedJob, metric: str) -> MetricSummary | None:
    return (row.metrics or {}).get(metric)
