"""Changes: the newest of each job, numbered in the order of commits, also of jobs that are gone."""

from agent.model.job import Job, JobState
from agent.store.store import Store
from tests.support.jobs import make_job, old_job


async def added(store: Store, *jobs: Job) -> list[str]:
    """The ids of these jobs, which are in the store now."""
    for job in jobs:
        await store.jobs.add(job, max_waiting=10_000)
    return [job.job_id for job in jobs]


async def test_a_job_has_its_newest_change_alone(store: Store) -> None:
    first, second = make_job(), make_job("bob")
    await added(store, first, second)
    assert await store.jobs.update(first.model_copy(update={"status": JobState.CREATED, "revision": 2}))
    changes = await store.changes.after(0, limit=9)
    assert [(each.seq, each.job_id, each.owner) for each in changes] == [
        (2, second.job_id, "bob"),
        (3, first.job_id, "alice"),
    ]
    assert [each.job_id for each in await store.changes.after(0, owner="bob", limit=9)] == [second.job_id]
    assert await store.changes.newest_of(first.job_id) == changes[1]
    assert await store.changes.newest_of_each([first.job_id, second.job_id, "none"]) == changes


async def test_changes_are_counted_up_to_the_limit(store: Store) -> None:
    await added(store, make_job(), make_job(), make_job("bob"))
    assert await store.changes.count_after(0, limit=2) == 2
    assert await store.changes.count_after(1, limit=9) == 2
    assert await store.changes.count_after(0, owner="bob", limit=9) == 1


async def test_current_are_all_jobs_that_have_not_ended_and_the_newest_others(store: Store) -> None:
    ids = await added(store, make_job(), old_job(), old_job(), make_job("bob"))
    history, current = await store.changes.current(ended=1)
    assert (current, history.newest) == ([ids[0], ids[2], ids[3]], 4)
    assert (await store.changes.current(owner="bob", ended=1))[1] == [ids[3]]


async def test_of_removed_jobs_the_last_thousand_changes_are_kept(store: Store) -> None:
    ids = await added(store, *(old_job() for _ in range(1002)))
    assert await store.retention.remove_jobs(ids) == ids
    history = await store.changes.history()
    assert (history.forgotten, history.newest) == (1002 + 2, 2004)
    assert await store.changes.newest_of(ids[1]) is None
    kept = await store.changes.newest_of(ids[2])
    assert kept is not None
    assert kept.job is None
