"""Jobs by labels and metrics: every filter, every order, and pages that neither repeat nor lose a job."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.model.base import now
from agent.model.comparison import NOT_KNOWN, MetricSummary
from agent.model.job import Job, JobState
from agent.model.search import JobSearch, Order
from agent.store.jobs import insert
from agent.store.migrations import MIGRATIONS
from agent.store.store import Store
from agent.store.summaries import record_summary
from tests.support.jobs import make_job

RED, BIG = {"colour": "red"}, {"colour": "red", "size": "big"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "jobs.db") as store:
        yield store


async def add(store: Store, value: float | None = None, owner: str = "alice", **fields: Any) -> Job:
    usual = {"status": JobState.COMPLETED, "finished_at": now()}
    job = make_job(owner, **(usual | fields))
    await store.jobs.add(job, max_waiting=1000)
    if value is not None:
        summary = {"auc": MetricSummary(count=1, last=value)}
        await store.summaries.record(job.job_id, summary, NOT_KNOWN)
    return job


async def found(store: Store, **search: Any) -> list[Job]:
    """All pages of a search."""
    jobs: list[Job] = []
    while True:
        page = await store.search.page(JobSearch(**search))
        jobs += page.jobs
        if page.next_cursor is None:
            return jobs
        search["after"] = int(page.next_cursor)


@pytest.fixture
async def six(store: Store) -> list[Job]:
    """Jobs of two users: values 3, 1, 2, 2, none, and one of bob's."""
    return [
        await add(store, 3.0, labels=RED),
        await add(store, 1.0, labels=BIG),
        await add(store, 2.0, labels=BIG, status=JobState.FAILED),
        await add(store, 2.0, script_name="other.py"),
        await add(store, labels=RED),
        await add(store, 9.0, owner="bob", labels=BIG),
    ]


@pytest.mark.parametrize("limit", [1, 2, 50])
@pytest.mark.parametrize("labels", [{}, RED, BIG, {"colour": "blue"}], ids=str)
@pytest.mark.parametrize("owner", [None, "alice", "bob", "carol"])
async def test_every_order_has_exactly_the_jobs_that_match(
    store: Store, six: list[Job], limit: int, labels: dict[str, str], owner: str | None
) -> None:
    values = dict(zip((job.job_id for job in six), (3.0, 1.0, 2.0, 2.0, None, 9.0), strict=True))
    matching = [job for job in six if owner in (None, job.owner) and labels.items() <= job.labels.items()]
    for metric, order in itertools.product((None, "auc"), Order):
        if metric is None and order in (Order.HIGHEST, Order.LOWEST):
            continue
        wanted = [job for job in matching if metric is None or values[job.job_id] is not None]
        if order in (Order.HIGHEST, Order.LOWEST):
            wanted.sort(key=lambda job: values[job.job_id] or 0)  # equal values by age
        if order in (Order.HIGHEST, Order.NEWEST):
            wanted.reverse()
        got = await found(store, owner=owner, labels=labels, metric=metric, order=order, limit=limit)
        assert [job.job_id for job in got] == [job.job_id for job in wanted], (metric, order)


async def test_a_state_and_a_script_filter_too(store: Store, six: list[Job]) -> None:
    assert await found(store, metric="auc", status=JobState.FAILED) == [six[2]]
    assert await found(store, metric="auc", script="other.py", order=Order.LOWEST) == [six[3]]
    assert await found(store, labels=RED, status=JobState.FAILED) == [six[2]]
    assert await found(store, metric="loss") == []


async def test_values_are_those_of_the_metric(store: Store, six: list[Job]) -> None:
    page = await store.search.page(JobSearch(metric="auc", owner="alice", order=Order.HIGHEST, limit=2))
    assert page.values == {six[0].job_id: 3.0, six[3].job_id: 2.0}
    assert (await store.search.page(JobSearch(labels=RED))).values is None


async def test_a_page_behind_a_job_that_is_gone_is_refused(store: Store, six: list[Job]) -> None:
    page = await store.search.page(JobSearch(metric="auc", order=Order.LOWEST, limit=1))
    await store.database.run(lambda db: db.execute("DELETE FROM jobs WHERE id = ?", (six[1].job_id,)))
    with pytest.raises(AgentError, match="begin again") as caught:
        await found(store, metric="auc", order=Order.LOWEST, after=int(page.next_cursor or 0))
    assert caught.value.problem is Problem.INVALID_REQUEST
    left = await store.database.run(
        lambda db: db.execute("SELECT count(*) FROM job_labels WHERE value = 'big'").fetchone()
    )
    assert left == (2,)


async def test_no_search_goes_through_the_jobs_of_others(store: Store) -> None:
    """A million steps of SQLite would take a second: a page takes few, however much others have."""

    def fill(db: Any) -> None:
        for number in range(3000):
            job = make_job("bob", status=JobState.COMPLETED, labels=BIG, finished_at=now())
            insert(db, job)
            record_summary(db, job.job_id, {"auc": MetricSummary(count=1, last=number)}, NOT_KNOWN)

    await store.database.run(fill)
    own = await add(store, 0.5, labels=BIG)
    for metric, order in (("auc", Order.LOWEST), ("auc", Order.HIGHEST), (None, Order.NEWEST)):
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 100
            return 0

        def watch(db: Any, each: Any = count) -> None:
            db.set_progress_handler(each, 100)

        await store.database.run(watch)
        search = JobSearch(owner="alice", labels=BIG if metric is None else {}, metric=metric, order=order)
        assert (await store.search.page(search)).jobs == [own]
        await store.database.run(lambda db: db.set_progress_handler(None, 0))
        assert steps < 2000, (metric, order)


async def test_earlier_jobs_are_found_by_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.db"
    at = next(number for number, script in enumerate(MIGRATIONS) if "CREATE TABLE job_labels" in script)
    monkeypatch.setattr("agent.store.migrations.MIGRATIONS", MIGRATIONS[:at])
    job = make_job(status=JobState.COMPLETED, labels=BIG, finished_at=now())
    async with Store.open(path) as store:
        await store.database.run(lambda db: insert(db, job))
        await store.database.run(
            lambda db: db.execute(
                "INSERT INTO job_metrics VALUES (?, 'auc', 1, 0.5, NULL, NULL)", (job.job_id,)
            )
        )
    monkeypatch.setattr("agent.store.migrations.MIGRATIONS", MIGRATIONS)
    async with Store.open(path) as store:
        assert await found(store, labels=BIG, owner="alice") == [job]
        assert await found(store, metric="auc", owner="alice", order=Order.HIGHEST) == [job]
