"""Jobs side by side: what is on record of them, and what is read where nothing is."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.comparison import comparisons
from agent.comparison.comparisons import MAX_READ, Comparisons
from agent.errors import AgentError, Problem, host_failed
from agent.logs.metrics import MAX_POINTS, Collector
from agent.model.base import now
from agent.model.comparison import (
    NOT_KNOWN,
    CommitDifference,
    Consumption,
    Difference,
    MetricSummary,
    summaries,
)
from agent.model.inputs import Limits
from agent.model.job import Job, JobState
from agent.model.metric import JobMetrics
from agent.model.sweep import Direction, Objective
from agent.store.store import Store
from tests.support.jobs import make_job

AUC = Objective(metric="auc", direction=Direction.MAXIMIZE)
LOSS = Objective(metric="auc", direction=Direction.MINIMIZE)


def metrics_of(job: Job, *values: float) -> JobMetrics:
    """What a job has reported of its `auc`."""
    collector = Collector()
    for value in values:
        collector.add(b'::metric {"name": "auc", "value": %r}' % value, 0, 1)
    return collector.metrics(job.job_id, complete=job.status.terminal)


@dataclass
class Logs:
    """What each job's log has, and which of them were read."""

    values: dict[str, list[float]] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    fails: Exception | None = None
    seconds: float = 0

    async def metrics(self, job: Job) -> JobMetrics:
        self.read.append(job.job_id)
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise self.fails
        return metrics_of(job, *self.values.get(job.job_id, []))

    async def consumption(self, unit: str, invocation_id: str | None) -> Consumption:
        return Consumption(2.5, 100)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "jobs.db") as store:
        yield store


async def stored(store: Store, status: JobState = JobState.COMPLETED, **fields: Any) -> Job:
    ended = {"finished_at": now()} if status.terminal else {}
    job = make_job(status=status, **ended, **fields)
    return await store.jobs.add(job, max_waiting=10_000)


def between(a: str, b: str, script_name: str) -> CommitDifference:
    return CommitDifference(a=a, b=b, diff=script_name)


async def packages(_: str, digest: str) -> dict[str, str]:
    """Of the images `sha256:222…`, and all others; what another repository has says nothing."""
    if digest == "sha256:" + "4" * 64:
        return {}
    return {"numpy": "2.3.4", "pandas": "3.0.0" if digest.endswith("2") else "3.0.1"}


def comparing(store: Store, logs: Logs) -> Comparisons:
    return Comparisons(store.summaries, store.search, logs.metrics, logs.consumption, between, packages)


async def compare(store: Store, logs: Logs, jobs: list[Job], objective: Objective | None = None) -> Any:
    parts = comparing(store, logs)
    return await parts.compared(await parts.jobs([job.job_id for job in jobs]), objective)


def summary(*values: float) -> MetricSummary:
    return MetricSummary(count=len(values), last=values[-1], min=min(values), max=max(values))


async def test_a_summary_is_read_from_the_record_alone(store: Store) -> None:
    logs, job = Logs(), await stored(store)
    await store.jobs.mark_archived(job.job_id, {"auc": summary(0.5, 0.75)}, {1: Consumption(1.25, 2**30)})
    (row,) = (await compare(store, logs, [job])).jobs
    assert row.metrics == {"auc": summary(0.5, 0.75)}
    assert (row.cpu_seconds, row.memory_peak_bytes) == (1.25, 2**30)
    assert (row.job_id, row.hyperparameters, row.commit) == (job.job_id, job.hyperparameters, job.commit)
    assert logs.read == []


async def test_an_earlier_job_is_read_once_and_then_on_record(store: Store) -> None:
    job = await stored(store)
    logs = Logs({job.job_id: [0.5, 0.25]})
    first = (await compare(store, logs, [job])).jobs
    assert first[0].metrics == {"auc": summary(0.5, 0.25)}
    assert (first[0].cpu_seconds, first[0].memory_peak_bytes) == (2.5, 100)
    assert (await compare(store, logs, [job])).jobs == first
    assert logs.read == [job.job_id]


async def test_a_running_job_is_read_each_time_and_never_recorded(store: Store) -> None:
    job = await stored(store, JobState.RUNNING, started_at=now())
    logs = Logs({job.job_id: [1.0]})
    for value in (1.0, 2.0):
        logs.values[job.job_id] = [value]
        (row,) = (await compare(store, logs, [job])).jobs
        assert row.metrics == {"auc": summary(value)}
        assert row.cpu_seconds is None
    assert len(logs.read) == 2


async def test_what_cannot_be_read_in_time_is_not_known(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "READ_SECONDS", 0.2)
    job = await stored(store)
    for logs in (Logs(fails=host_failed("The journal is broken.")), Logs(seconds=30)):
        (row,) = (await compare(store, logs, [job])).jobs
        assert row.metrics is None
    removed = {"at": now(), "rule": "age"}
    gone, logs = await stored(store, removed=removed), Logs()
    (row,) = (await compare(store, logs, [gone])).jobs
    assert (row.metrics, logs.read) == (None, [])


async def test_one_comparison_reads_few_logs_and_the_next_goes_on(store: Store) -> None:
    jobs = [await stored(store) for _ in range(MAX_READ + 5)]
    logs = Logs()
    known = [row.metrics is not None for row in (await compare(store, logs, jobs)).jobs]
    assert known == [True] * MAX_READ + [False] * 5
    assert all(row.metrics is not None for row in (await compare(store, logs, jobs)).jobs)
    assert len(logs.read) == MAX_READ + 5


async def test_the_objective_decides_by_the_last_value_of_completed_jobs(store: Store) -> None:
    values = {JobState.COMPLETED: [0.9, 0.5], JobState.FAILED: [0.99]}
    logs, jobs = Logs(), []
    for status, reported in values.items():
        job = await stored(store, status)
        logs.values[job.job_id] = reported
        jobs.append(job)
    other = await stored(store)
    logs.values[other.job_id] = [0.7]
    silent = await stored(store)
    every = [*jobs, other, silent]
    best = await compare(store, logs, every, AUC)
    assert (best.best, best.objective) == (other.job_id, AUC)
    assert [row.metrics["auc"].best for row in best.jobs[:3]] == [0.9, 0.99, 0.7]
    least = await compare(store, logs, every, LOSS)
    assert least.best == jobs[0].job_id
    assert [row.metrics["auc"].best for row in least.jobs[:3]] == [0.5, 0.99, 0.7]
    neither = await compare(store, logs, every)
    assert (neither.best, neither.jobs[0].metrics["auc"].best) == (None, None)


async def test_jobs_come_in_the_order_of_the_question_and_trials_in_theirs(store: Store) -> None:
    sweep = "q4x7k2m5ab3v"
    jobs = [await stored(store) for _ in range(3)]
    ids = [job.job_id for job in reversed(jobs)]
    assert [each.job.job_id for each in await store.summaries.jobs([*ids, "a" * 12])] == ids
    db_jobs = [make_job(status=JobState.COMPLETED, sweep=sweep, trial=trial) for trial in (2, 0, 1)]
    from agent.store.jobs import insert  # a trial without its sweep's row

    await store.database.run(lambda db: [insert(db, job) for job in db_jobs])
    assert [each.job.trial for each in await store.summaries.trials(sweep)] == [0, 1, 2]


async def test_records_that_are_too_large_together_are_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.summaries.MAX_COMPARED_SIZE", 1000)
    jobs = [await stored(store) for _ in range(3)]
    with pytest.raises(AgentError, match="fewer") as caught:
        await store.summaries.jobs([job.job_id for job in jobs])
    assert caught.value.problem is Problem.INVALID_REQUEST


async def test_a_summary_goes_with_its_job(store: Store) -> None:
    job = await stored(store)
    await store.summaries.record(job.job_id, {"auc": summary(1.0)}, NOT_KNOWN)
    await store.database.run(lambda db: db.execute("DELETE FROM jobs"))
    await store.summaries.record(job.job_id, {"auc": summary(1.0)}, NOT_KNOWN)
    left = await store.database.run(lambda db: db.execute("SELECT count(*) FROM job_metrics").fetchone())
    assert left == (0,)


def test_the_least_and_greatest_are_those_of_all_values_or_not_known() -> None:
    job = make_job()
    values = [float(number % 997) for number in range(4 * MAX_POINTS)]
    values[3] = -5.5
    reported = metrics_of(job, *values)
    assert reported.series[0].every > 1
    assert summaries(reported) == {"auc": summary(*values)}
    # As an earlier agent has kept it: without the bounds.
    earlier = JobMetrics.model_validate(reported.model_dump(exclude={"series": {"__all__": {"min", "max"}}}))
    assert summaries(earlier) == {"auc": MetricSummary(count=len(values), last=values[-1])}
    few = JobMetrics.model_validate(
        metrics_of(job, 3.0, 1.0, 2.0).model_dump(exclude={"series": {"__all__": {"min", "max"}}})
    )
    assert summaries(few) == {"auc": summary(3.0, 1.0, 2.0)}


async def test_two_jobs_differ_in_what_they_were_given_and_in_their_metrics(store: Store) -> None:
    a = await stored(store, hyperparameters={"depth": "3", "n": "1"}, limits=Limits(cpus=1))
    b = await stored(
        store,
        hyperparameters={"depth": "12", "m": "1"},
        limits=Limits(cpus=1, memory_bytes=2**30),
        commit="1" * 40,
        script_name="other.py",
        image_digest="sha256:" + "3" * 64,
        after=[a.job_id],
    )
    logs = Logs({a.job_id: [0.25], b.job_id: [0.75]})
    parts = comparing(store, logs)
    found = await parts.difference(*await parts.jobs([a.job_id, b.job_id]))
    assert found.hyperparameters == [
        Difference(name="depth", a="3", b="12"),
        Difference(name="n", a="1"),
        Difference(name="m", b="1"),
    ]
    assert found.limits == [Difference(name="memory_bytes", b=str(2**30))]
    assert found.inputs == [Difference(name="after", b=a.job_id)]
    assert found.script == Difference(name="script", a=a.script_name, b="other.py")
    assert found.image == Difference(name="image", a=a.image_digest, b=b.image_digest)
    assert found.packages == [Difference(name="pandas", a="3.0.0", b="3.0.1")]
    assert found.commit == between(a.commit, b.commit, "other.py")
    (metric,) = found.metrics
    assert (metric.name, metric.a, metric.b, metric.change) == ("auc", summary(0.25), summary(0.75), 0.5)


async def test_packages_differ_only_where_both_images_say_theirs(store: Store) -> None:
    a, b = await stored(store), await stored(store, image_digest="sha256:" + "4" * 64)
    parts = comparing(store, Logs())
    found = await parts.difference(*await parts.jobs([a.job_id, b.job_id]))
    assert found.image is not None
    assert found.packages == []


async def test_a_job_does_not_differ_from_itself(store: Store) -> None:
    job = await stored(store)
    parts = comparing(store, Logs())
    (measured,) = await parts.jobs([job.job_id])
    found = (await parts.difference(measured, measured)).model_dump(exclude_none=True)
    nothing = {"packages": [], "hyperparameters": [], "limits": [], "inputs": [], "metrics": []}
    assert found == {"a": job.job_id, "b": job.job_id, **nothing}
