"""The change feed: who waits for a job is told of its changes, and who is behind misses none."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.jobs import changes as changes_module
from agent.jobs.changes import Changes
from agent.model.job import Job, JobState
from agent.store.store import Store
from tests.support.jobs import make_job
from tests.support.waiting import until


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "agent.db") as store:
        yield store


async def add(store: Store) -> Job:
    """A new job of alice's in the store."""
    job = make_job()
    await store.jobs.add(job, idempotency_key=None, fingerprint="", max_waiting=1000)
    return job


async def change(store: Store, job: Job, **fields: Any) -> Job:
    """The next revision of the job, in the store."""
    newer = job.model_copy(update={"revision": job.revision + 1} | fields)
    assert await store.jobs.update(newer)
    return newer


async def remove(store: Store, job: Job) -> None:
    """Removes the record of a job, as retention does."""
    await store.database.run(lambda db: db.execute("DELETE FROM jobs WHERE id = ?", (job.job_id,)))


async def test_each_waiter_gets_the_next_revision_of_its_job(store: Store) -> None:
    job, other = await add(store), await add(store)
    changes = Changes(store.changes)
    waiting = [asyncio.create_task(changes.newer(job)) for _ in range(3)]
    waits_for_other = asyncio.create_task(changes.newer(other))
    await until(lambda: follows(changes))
    newer = await change(store, job, status=JobState.CREATED)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [newer] * 3
    assert not waits_for_other.done()
    waits_for_other.cancel()
    await asyncio.wait([waits_for_other])
    del waits_for_other
    assert not changes._wake_of, "what nobody waits for any more is kept"


async def follows(changes: Changes) -> bool:
    return changes._following


async def test_a_revision_that_is_there_already_is_not_waited_for(store: Store) -> None:
    job = await add(store)
    newer = await change(store, await change(store, job))
    async with asyncio.timeout(5):
        assert await Changes(store.changes).newer(job) == newer


async def test_a_change_between_the_look_and_the_first_reading_is_not_missed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(store)
    changes = Changes(store.changes)
    reads, read = asyncio.Event(), changes._follow

    async def reads_late() -> None:
        await reads.wait()
        await read()

    monkeypatch.setattr(changes, "_follow", reads_late)
    waiting = asyncio.create_task(changes.newer(job))
    await until(lambda: waits(changes, job))
    newer = await change(store, job)
    reads.set()
    async with asyncio.timeout(5):
        assert await waiting == newer


async def waits(changes: Changes, job: Job) -> bool:
    """Whether somebody waits for the job, and has looked."""
    wake = changes._wake_of.get(job.job_id)
    return wake is not None and bool(wake._waiters)


async def test_the_end_is_waited_for_through_all_revisions(store: Store) -> None:
    job = await add(store)
    changes = Changes(store.changes)
    waiting = asyncio.create_task(changes.ended(job))
    for status in (JobState.CREATED, JobState.RUNNING):
        await until(partial(waits, changes, job))
        job = await change(store, job, status=status)
    await until(partial(waits, changes, job))
    assert not waiting.done()
    ended = await change(store, job, status=JobState.COMPLETED)
    async with asyncio.timeout(5):
        assert await waiting == ended
        assert await changes.ended(ended) is ended


async def test_who_waits_for_a_job_that_is_removed_is_told_so(store: Store) -> None:
    job = await add(store)
    changes = Changes(store.changes)
    waiting = asyncio.create_task(changes.newer(job))
    await until(lambda: waits(changes, job))
    await remove(store, job)
    with pytest.raises(AgentError) as caught:
        async with asyncio.timeout(5):
            await waiting
    assert caught.value.problem is Problem.JOB_NOT_FOUND


async def test_a_watcher_that_is_behind_is_served_from_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module, "HELD", 2)
    jobs = [await add(store) for _ in range(4)]
    changes = Changes(store.changes)
    async with changes.watched():
        start = (await changes.history()).newest
        await changes.changed(start, 0.1)
        for job in jobs:
            newest = await change(store, job)
        await change(store, newest)

        async def all_read() -> bool:
            seen, found = await changes.after(start)
            return seen == start + 5 and [each.job_id for each in found] == [job.job_id for job in jobs]

        await until(all_read)
        assert len(changes._held) == 2
        seen, found = await changes.after(start + 3)
        assert (seen, [each.job.revision for each in found if each.job]) == (start + 5, [3])
        assert await changes.of(jobs[0].job_id, start + 1) == (start + 5, None)
        assert (await changes.of(jobs[0].job_id, start))[1] is not None
