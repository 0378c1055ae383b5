"""Finished jobs: what retention looks up, and what it removes."""

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.model.base import now
from agent.model.job import Job, JobState, Totals
from agent.store.migrations import MIGRATIONS
from agent.store.store import Store
from tests.support.jobs import make_job


async def ended_job(store: Store, hours: int, **fields: Any) -> Job:
    """A job in the store that ended this many hours ago, and whose log is archived."""
    job = await store.jobs.add(make_job(**fields), max_waiting=10_000)
    update = {"status": JobState.COMPLETED, "revision": job.revision + 1}
    job = job.model_copy(update=update | {"finished_at": now() - timedelta(hours=hours)})
    assert await store.jobs.update(job)
    await store.jobs.mark_archived(job.job_id)
    return job


async def test_jobs_of_an_earlier_schema_are_known_to_retention(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = next(number for number, script in enumerate(MIGRATIONS) if "leaving" in script)
    with monkeypatch.context() as patch:
        patch.setattr("agent.store.migrations.MIGRATIONS", MIGRATIONS[:before])
        async with Store.open(path) as store:
            job = await ended_job(store, 1)
    async with Store.open(path) as store:
        assert await store.retention.unmeasured(10) == [job.job_id]
        await store.retention.record_sizes({job.job_id: 4096})
        assert await store.retention.unmeasured(10) == []
        assert [
            (one.job_id, one.bytes) for one in await store.retention.oldest_removable(10, with_files=True)
        ] == [(job.job_id, 4096)]
        assert await store.jobs.get(job.job_id) == job


async def test_the_oldest_come_first_and_pinned_jobs_count_apart(store: Store) -> None:
    jobs = [await ended_job(store, hours) for hours in (1, 3, 2)]
    await store.retention.record_sizes({job.job_id: 1000 for job in jobs})
    oldest = await store.retention.oldest_removable(2, with_files=True)
    assert [one.job_id for one in oldest] == [jobs[1].job_id, jobs[2].job_id]
    await store.jobs.pin(jobs[1].job_id, pinned=True, limit=1)
    assert [one.job_id for one in await store.retention.oldest_removable(-1, with_files=False)] == [
        jobs[2].job_id,
        jobs[0].job_id,
    ]
    assert await store.retention.totals() == Totals(jobs=2, bytes=2000, pinned=1, pinned_bytes=1000)


async def test_every_lookup_of_retention_uses_an_index(store: Store) -> None:
    queries: list[str] = []
    await store.database.run(lambda db: db.set_trace_callback(queries.append))
    await ended_job(store, 1)
    await store.retention.unmeasured(1)
    await store.retention.oldest_removable(1, with_files=True)
    await store.retention.oldest_removable(1, with_files=False)
    await store.retention.totals()
    await store.retention.retire_unused("0" * 40, lambda: None)
    await store.retention.remove_jobs(["absent"])
    await store.database.run(lambda db: db.set_trace_callback(None))
    asked = [query for query in queries if query.startswith(("SELECT", "DELETE FROM jobs"))]
    assert len(asked) >= 6

    def plans(db: sqlite3.Connection) -> list[str]:
        return [row[3] for query in asked for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]

    steps = [step for step in await store.database.run(plans) if "jobs" in step.split()]
    assert steps
    assert [step for step in steps if "INDEX" not in step and "PRIMARY KEY" not in step] == []


async def test_a_removed_job_leaves_a_change_and_a_pending_deletion(store: Store) -> None:
    job = await ended_job(store, 1)
    assert await store.retention.remove_jobs([job.job_id, "absent"]) == [job.job_id]
    assert await store.retention.remove_jobs([job.job_id]) == []
    assert await store.retention.pending_deletions() == [job.job_id]
    await store.retention.confirm_deleted([job.job_id])
    assert await store.retention.pending_deletions() == []
    change = await store.changes.newest_of(job.job_id)
    assert change is not None
    assert change.job is None


async def test_images_used_only_by_some_jobs_are_those_that_no_other_job_ran(store: Store) -> None:
    first, second, third = [
        await ended_job(store, 1, image_digest=f"sha256:{digit * 64}") for digit in ("a", "a", "b")
    ]
    images = store.retention.images_used_only_by
    assert await images([first.job_id]) == []
    assert await images([first.job_id, second.job_id]) == [(first.image, first.image_digest)]
    assert {digest for _, digest in await images([first.job_id, second.job_id, third.job_id, "none"])} == {
        first.image_digest,
        third.image_digest,
    }


async def test_a_snapshot_is_retired_only_if_no_job_uses_it(store: Store) -> None:
    await store.jobs.add(make_job(), max_waiting=10)
    retired: list[str] = []
    assert not await store.retention.retire_unused("0" * 40, lambda: retired.append("0"))
    assert await store.retention.retire_unused("1" * 40, lambda: retired.append("1"))
    assert retired == ["1"]
