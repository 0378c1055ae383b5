"""Retention keeps a sweep whole, or removes it whole; and pins have one bound."""

from collections.abc import Sequence

import pytest

from agent.errors import AgentError, Problem
from agent.model.base import now
from agent.model.job import Job, Removal, RetentionRule
from agent.model.sweep import Sweep
from agent.store.store import Store
from tests.support.job_scene import submit as submit_job
from tests.support.sweep_scene import ALICE, SweepScene, end_of, submit
from tests.support.waiting import until


async def settle(store: Store, *, age: float = 0.0) -> None:
    """Leaves the store as the archiver and the pruner do: logs are stored, and directories measured."""
    for job in await store.jobs.unarchived():
        await store.jobs.mark_archived(job.job_id)
    unmeasured = await store.retention.unmeasured(100)
    await store.retention.record_sizes(dict.fromkeys(unmeasured, (10, 1)), ages_from=age)


async def jobs_of(store: Store, sweep: Sweep) -> list[Job]:
    return [job for job in (await store.jobs.page(limit=100)).jobs if job.sweep == sweep.sweep_id]


async def removable(store: Store, jobs: Sequence[Job]) -> set[str]:
    return {job.job_id for job in await store.retention.removable([job.job_id for job in jobs])}


@pytest.fixture
async def ended(scene: SweepScene) -> Sweep:
    """A sweep that has ended, and whose trials are measured."""
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, trials=4))
    await settle(scene.scene.store)
    return sweep


async def test_no_trial_is_removed_before_its_sweep_has_ended(scene: SweepScene) -> None:
    store = scene.scene.store
    async with scene.driving() as jobs:
        sweep = await end_of(jobs, await submit(jobs, trials=4))
    await settle(store)
    jobs_ = await jobs_of(store, sweep)
    assert len(await removable(store, jobs_)) == 4
    await scene.jobs().sweeps.extend(sweep.sweep_id, 5, by=ALICE)
    assert await removable(store, jobs_) == set()
    assert await store.retention.remove_jobs([job.job_id for job in jobs_]) == []


async def test_the_age_of_all_trials_begins_with_the_end_of_the_sweep(scene: SweepScene) -> None:
    store = scene.scene.store
    scene.ends = lambda job: "success exited 0" if job.trial != 3 else None
    async with scene.driving() as jobs:
        sweep = await submit(jobs, trials=4, at_once=1)
        await settle_until_three_have_ended(scene, sweep)
        scene.ends = lambda _: "success exited 0"
        await end_of(jobs, sweep)
    await settle(store, age=500.0)
    ages = {job.ages_from for job in await store.retention.oldest_of_each(-1, with_files=False)}
    assert ages == {500.0}


async def settle_until_three_have_ended(scene: SweepScene, sweep: Sweep) -> None:
    async def three() -> bool:
        await settle(scene.scene.store, age=1.0)
        known = await scene.scene.store.sweeps.get(sweep.sweep_id)
        return known.completed == 3

    await until(three)
    await settle(scene.scene.store, age=1.0)


async def test_a_trial_that_is_due_takes_its_siblings_with_it(scene: SweepScene, ended: Sweep) -> None:
    store = scene.scene.store
    first, *others = await jobs_of(store, ended)
    siblings = await store.retention.siblings([first.job_id])
    assert {job.job_id for job in siblings} == {job.job_id for job in others}
    # One alone would leave a part.
    assert await store.retention.remove_jobs([first.job_id]) == []
    removal = Removal(at=now(), rule=RetentionRule.AGE)
    assert await store.retention.remove_files({first.job_id: removal}) == []

    every = [job.job_id for job in (first, *others)]
    assert set(await store.retention.remove_files(dict.fromkeys(every, removal))) == set(every)
    assert {trial.status for trial in await scene.trials(ended)} == {"COMPLETED"}
    assert set(await store.retention.remove_jobs(every)) == set(every)
    with pytest.raises(AgentError) as caught:
        await store.sweeps.get(ended.sweep_id)
    assert caught.value.problem is Problem.SWEEP_NOT_FOUND
    left = await store.database.run(lambda db: db.execute("SELECT count(*) FROM trials").fetchone())
    assert left == (0,)


async def test_a_sweep_stays_whole_while_the_journal_alone_has_a_log(scene: SweepScene, ended: Sweep) -> None:
    store = scene.scene.store
    jobs = await jobs_of(store, ended)
    await store.database.run(lambda db: db.execute("INSERT INTO unarchived VALUES (?)", (jobs[0].job_id,)))
    assert await store.retention.remove_jobs([job.job_id for job in jobs]) == []


async def test_a_pinned_sweep_keeps_all_its_trials(scene: SweepScene, ended: Sweep) -> None:
    store, parts = scene.scene.store, scene.jobs()
    jobs = await jobs_of(store, ended)
    pinned = await parts.sweeps.pin(ended.sweep_id, pinned=True, by=ALICE)
    assert (pinned.pinned, await removable(store, jobs)) == (True, set())
    assert await store.retention.remove_jobs([job.job_id for job in jobs]) == []
    await parts.sweeps.pin(ended.sweep_id, pinned=False, by=ALICE)
    assert len(await removable(store, jobs)) == 4


async def test_a_pinned_trial_outlives_its_sweep(scene: SweepScene, ended: Sweep) -> None:
    store = scene.scene.store
    first, *others = await jobs_of(store, ended)
    await store.jobs.pin(first.job_id, pinned=True, limit=9)
    every = [job.job_id for job in others]
    assert set(await store.retention.remove_jobs(every)) == set(every)
    assert [job.job_id for job in await jobs_of(store, ended)] == [first.job_id]
    await store.jobs.pin(first.job_id, pinned=False, limit=9)
    await settle(store)
    assert await store.retention.remove_jobs([first.job_id]) == [first.job_id]


async def test_pinned_jobs_and_sweeps_have_one_bound(scene: SweepScene, ended: Sweep) -> None:
    store = scene.scene.store
    async with scene.driving() as jobs:
        other = await submit_job(jobs)
    deed = ALICE.did("pinSweep", ended.sweep_id)
    await store.jobs.pin(other.job_id, pinned=True, limit=2)
    with pytest.raises(AgentError, match="alice has 1 pinned jobs; the limit is 1") as caught:
        await store.sweeps.pin(ended.sweep_id, pinned=True, limit=1, max_bytes=10**18, deed=deed)
    assert caught.value.problem is Problem.TOO_MANY_PINNED
    with pytest.raises(AgentError, match="with this one's 40, they exceed 39"):
        await store.sweeps.pin(ended.sweep_id, pinned=True, limit=9, max_bytes=39, deed=deed)
    await store.jobs.pin(other.job_id, pinned=False, limit=2)
    await store.sweeps.pin(ended.sweep_id, pinned=True, limit=1, max_bytes=39, deed=deed)
    with pytest.raises(AgentError, match="alice has 1 pinned jobs and sweeps; the limit is 1"):
        await store.jobs.pin(other.job_id, pinned=True, limit=1)
