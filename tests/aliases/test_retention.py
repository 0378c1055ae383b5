"""What an alias points at is kept from retention, and counts as what its owner keeps."""

import sqlite3

import pytest

from agent.errors import AgentError, Problem
from agent.model.alias import Condition
from agent.model.base import now
from agent.model.job import Job, Removal, RetentionRule
from agent.store.store import Store
from tests.support.alias_scene import ALICE, AliasScene

AGE = Removal(at=now(), rule=RetentionRule.AGE)


async def measure(store: Store, *, size: int = 10, age: float = 0.0) -> None:
    """Measures what the pruner would."""
    unmeasured = await store.retention.unmeasured(100)
    await store.retention.record_sizes(dict.fromkeys(unmeasured, (size, 1)), ages_from=age)


async def removed(store: Store, job: Job) -> list[str]:
    """What of the job retention removes."""
    files = await store.retention.remove_files({job.job_id: AGE})
    return files + await store.retention.remove_jobs([job.job_id])


async def test_retention_never_removes_what_an_alias_points_at(scene: AliasScene) -> None:
    job, other, store = await scene.completed(), await scene.completed(), scene.store
    await scene.point(job)
    await measure(store)
    assert [each.job_id for each in await store.retention.oldest_of_each(-1, with_files=True)] == [
        other.job_id
    ]
    assert await store.retention.removable([job.job_id]) == []
    assert await removed(store, job) == []
    assert await removed(store, other) == [other.job_id] * 2
    with pytest.raises(sqlite3.IntegrityError):  # whatever else a statement says
        await store.database.run(lambda db: db.execute("DELETE FROM jobs"))


@pytest.mark.parametrize("how", ["moved", "removed"])
async def test_the_age_of_what_is_left_behind_begins_anew(scene: AliasScene, how: str) -> None:
    job, store = await scene.completed(), scene.store
    await measure(store, age=1.0)
    await scene.point(job)
    await scene.point(job, "second")
    if how == "moved":
        await scene.point(await scene.completed())
    else:
        await scene.models.remove("churn", "champion", condition=Condition(), by=ALICE)
    await measure(store, age=500.0)
    assert await store.retention.removable([job.job_id]) == []  # another alias points at it
    await scene.models.remove("churn", "second", condition=Condition(), by=ALICE)
    assert await store.retention.removable([job.job_id]) == []  # not measured yet
    await measure(store, age=500.0)
    (free,) = await store.retention.removable([job.job_id])
    assert free.ages_from == 500.0
    assert await removed(store, job) == [job.job_id] * 2


async def test_a_trial_outlives_its_sweep(scene: AliasScene) -> None:
    store, sweep = scene.store, "aaaaaaaaaaaa"
    jobs = [await scene.completed() for _ in range(3)]
    for job in jobs:
        document = job.model_copy(update={"sweep": sweep}).model_dump_json(exclude_none=True)
        await store.database.run(
            lambda db, values=(document, job.job_id): db.execute(
                "UPDATE jobs SET document = ? WHERE id = ?", values
            )
        )
    best, *others = jobs
    await scene.point(best)
    await measure(store)
    every = [job.job_id for job in others]
    assert set(await store.retention.remove_jobs(every)) == set(every)
    assert (await store.jobs.get(best.job_id)) is not None


async def test_others_make_no_room_for_it(scene: AliasScene) -> None:
    job, store = await scene.completed(), scene.store
    await scene.completed()
    await measure(store)
    assert [(each.jobs, each.bytes) for each in await store.retention.holdings()] == [(2, 20)]
    await scene.point(job)
    assert [(each.jobs, each.bytes, each.files) for each in await store.retention.holdings()] == [(1, 10, 1)]
    totals = await store.retention.totals()
    assert (totals.jobs, totals.bytes, totals.pinned, totals.pinned_bytes) == (1, 10, 1, 10)
    await store.jobs.pin(job.job_id, pinned=True, limit=9)
    assert await store.retention.totals() == totals


def allow(scene: AliasScene, max_bytes: int) -> None:
    """Bounds what a user may keep."""
    retention = scene.settings.retention.model_copy(update={"max_pinned_bytes_per_user": max_bytes})
    scene.settings = scene.settings.model_copy(update={"retention": retention})


async def test_it_counts_as_what_the_models_owner_keeps(scene: AliasScene) -> None:
    store = scene.store
    allow(scene, 20)
    first, second, third = [await scene.completed(owner="bob") for _ in range(3)]
    await measure(store)
    for job, alias in ((first, "a"), (second, "b"), (second, "c")):  # the second one counts once
        await scene.point(job, alias)
    refused = r"alice has kept jobs with 20 bytes; with this one's 10, they exceed 20"
    with pytest.raises(AgentError, match=refused) as caught:
        await scene.point(third, "b")  # `c` still keeps the second one
    assert caught.value.problem is Problem.TOO_MANY_PINNED
    await scene.models.remove("churn", "c", condition=Condition(), by=ALICE)
    await scene.point(third, "b")
    mine = await scene.completed()
    with pytest.raises(AgentError, match=r"with this one's 10, they exceed 29"):
        await store.jobs.pin(mine.job_id, pinned=True, limit=9, max_bytes=29, size=10)
    await store.jobs.pin(second.job_id, pinned=True, limit=1, max_bytes=10)  # bob keeps nothing yet


async def test_one_job_can_always_be_pointed_at_and_left_for_another(scene: AliasScene) -> None:
    allow(scene, 1)
    first, second = await scene.completed(b"x" * 9000), await scene.completed(b"y" * 9000)
    await scene.point(first)
    await scene.point(second)
    with pytest.raises(AgentError, match="they exceed 1"):
        await scene.point(first, "another")
