"""Finished jobs: what retention looks up, and what it removes."""

import asyncio
import sqlite3
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.model.base import now
from agent.model.job import Attempt, Job, JobState, Removal, RetentionRule
from agent.model.retention import NEVER_RAN, RAN, Moment, Totals
from agent.store.jobs import Given, insert
from agent.store.migrations import MIGRATIONS
from agent.store.store import Store
from tests.support.jobs import let_ages_begin, make_job, old_job


async def ended_job(store: Store, hours: int, **fields: Any) -> Job:
    """A job in the store that ended this many hours ago, and whose log is archived."""
    job = await store.jobs.add(make_job(**fields), max_waiting=10_000)
    update = {"status": JobState.COMPLETED, "revision": job.revision + 1}
    job = job.model_copy(update=update | {"finished_at": now() - timedelta(hours=hours)})
    assert await store.jobs.update(job)
    await store.jobs.mark_archived(job.job_id)
    await let_ages_begin(store)
    return job


async def test_jobs_of_an_earlier_schema_are_known_to_retention(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = next(number for number, script in enumerate(MIGRATIONS) if "leaving" in script)
    with monkeypatch.context() as patch:
        patch.setattr("agent.store.migrations.MIGRATIONS", MIGRATIONS[:before])
        async with Store.open(path) as store:
            job = old_job()
            await store.database.run(lambda db: insert(db, job))
    async with Store.open(path) as store:
        assert await store.retention.unmeasured(10) == [job.job_id]
        await store.retention.record_sizes({job.job_id: (4096, 3)}, ages_from=5.0)
        assert await store.retention.unmeasured(10) == []
        (found,) = await store.retention.oldest_of_each(10, with_files=True)
        assert (found.job_id, found.bytes, found.files, found.ages_from) == (job.job_id, 4096, 3, 5.0)
        assert await store.jobs.get(job.job_id) == job


async def test_the_oldest_come_first_and_pinned_jobs_count_apart(store: Store) -> None:
    jobs = [await ended_job(store, hours) for hours in (1, 3, 2)]
    await store.retention.record_sizes({job.job_id: (1000, 3) for job in jobs}, ages_from=0.0)
    oldest = await store.retention.oldest_of_each(2, with_files=True)
    assert [one.job_id for one in oldest] == [jobs[1].job_id, jobs[2].job_id]
    await store.jobs.pin(jobs[1].job_id, pinned=True, limit=1)
    assert [one.job_id for one in await store.retention.oldest_of_each(-1, with_files=False)] == [
        jobs[2].job_id,
        jobs[0].job_id,
    ]
    assert await store.retention.totals() == Totals(jobs=2, bytes=2000, pinned=1, pinned_bytes=1000)


async def test_every_lookup_of_retention_uses_an_index(store: Store) -> None:
    await let_ages_begin(store)
    queries: list[str] = []
    await store.database.run(lambda db: db.set_trace_callback(queries.append))
    await ended_job(store, 1)
    await store.retention.unmeasured(1)
    await store.retention.oldest_of_each(1, with_files=True)
    await store.retention.oldest_of_each(1, with_files=False)
    await store.retention.totals()
    await store.retention.removable(["absent"])
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


async def given_job(store: Store) -> Job:
    """An ended job that a fleet gave to this host."""
    job, deadline = make_job(), time.clock_gettime(time.CLOCK_BOOTTIME) + 60
    await store.jobs.add(job, max_waiting=10, given=Given(job.job_id, "1", deadline), fingerprint="f")
    job = job.model_copy(update={"status": JobState.COMPLETED, "finished_at": now(), "revision": 2})
    await store.jobs.update(job)
    await store.jobs.mark_archived(job.job_id)
    await let_ages_begin(store)
    return job


async def given_ids(store: Store) -> set[str]:
    rows = await store.database.run(lambda db: db.execute("SELECT job_id FROM given_jobs").fetchall())
    return {job_id for (job_id,) in rows}


async def test_a_job_stays_until_its_fleet_has_heard_of_its_end(store: Store) -> None:
    job = await given_job(store)
    assert await store.retention.oldest_of_each(-1, with_files=True) == []
    assert await store.retention.remove_jobs([job.job_id]) == []
    assert await store.retention.remove_files({job.job_id: Removal(at=now(), rule=RetentionRule.AGE)}) == []
    await store.jobs.tell([job.job_id, "absent"])
    assert [one.job_id for one in await store.retention.oldest_of_each(-1, with_files=True)] == [job.job_id]
    assert await store.retention.remove_jobs([job.job_id]) == [job.job_id]
    assert await given_ids(store) == {job.job_id}, "its id never runs here again"


async def test_a_fleet_cannot_be_told_of_an_end_that_was_not(store: Store) -> None:
    running, deadline = make_job(), time.clock_gettime(time.CLOCK_BOOTTIME) + 60
    await store.jobs.add(running, max_waiting=10, given=Given(running.job_id, "1", deadline))
    await store.jobs.tell([running.job_id])
    update = {"status": JobState.COMPLETED, "finished_at": now(), "revision": 2}
    await store.jobs.update(running.model_copy(update=update))
    await store.jobs.mark_archived(running.job_id)
    await let_ages_begin(store)
    assert await store.retention.oldest_of_each(-1, with_files=True) == []


async def test_a_job_whose_fleet_never_hears_of_it_stays_for_a_bounded_time(store: Store) -> None:
    job = await given_job(store)
    await store.retention.record_sizes({job.job_id: (1, 1)}, ages_from=100.0)
    await store.retention.forget_given(untold_since=-1.0, most=10)
    assert await store.retention.oldest_of_each(-1, with_files=True) == []
    await store.retention.forget_given(untold_since=1e12, most=10)
    assert len(await store.retention.oldest_of_each(-1, with_files=True)) == 1


async def test_the_ids_of_given_jobs_do_not_grow_for_ever(store: Store) -> None:
    jobs = [await given_job(store) for _ in range(5)]
    await store.jobs.tell([job.job_id for job in jobs])
    await store.retention.remove_jobs([job.job_id for job in jobs[:4]])
    await store.retention.forget_given(untold_since=-1.0, most=2)
    assert await given_ids(store) == {jobs[3].job_id, jobs[4].job_id}
    late = time.clock_gettime(time.CLOCK_BOOTTIME) + 60
    with pytest.raises(AgentError, match="has run here before"):
        await store.jobs.given(Given(jobs[3].job_id, "1", late), "f")


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


def counted(db: sqlite3.Connection) -> set[tuple[object, ...]]:
    """What each owner has, counted row by row."""
    return set(
        db.execute(
            "SELECT owner, held_as, count(*), sum(length(CAST(document AS BLOB))), coalesce(sum(bytes), 0),"
            " coalesce(sum(files), 0) FROM jobs GROUP BY owner, held_as"
        )
    )


def held(db: sqlite3.Connection) -> set[tuple[object, ...]]:
    """The same, as the triggers have it."""
    return set(db.execute("SELECT owner, held_as, jobs, record_bytes, bytes, files FROM holdings"))


DEEDS = ("add", "start", "end", "pin", "unpin", "measure", "remove files", "remove")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 5), st.sampled_from(("alice", "bob")))))
def test_what_each_user_has_is_summed_up_whatever_becomes_of_jobs(
    history: list[tuple[str, int, str]],
) -> None:
    async def live() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with Store.open(Path(directory) / "jobs.db") as store:
                jobs: list[str] = []
                for deed, number, owner in history:
                    await do(store, deed, jobs, number, owner)
                    assert await store.database.run(held) == await store.database.run(counted), deed
                totals = await store.retention.totals()
                known = await asyncio.gather(*map(store.jobs.get, jobs))
                ended = [job for job in known if job and job.status.terminal]
                assert totals.jobs == sum(not job.pinned for job in ended)
                assert totals.pinned == sum(job.pinned for job in ended)

    asyncio.run(live())


async def do(store: Store, deed: str, jobs: list[str], number: int, owner: str) -> None:
    """One deed, where it is possible, with one of the jobs."""
    if deed == "add":
        job = await store.jobs.add(make_job(owner, name="x" * number), max_waiting=1000)
        jobs.append(job.job_id)
        return
    if number >= len(jobs):
        return
    job_id = jobs[number]
    job_now = await store.jobs.get(job_id)
    retention = store.retention
    match deed:
        case "pin" | "unpin":
            await store.jobs.pin(job_id, pinned=deed == "pin", limit=1000)
        case "measure":
            await retention.record_sizes({job_id: (1000 * number, number)}, ages_from=1.0)
        case "remove files":
            await retention.remove_files({job_id: Removal(at=now(), rule=RetentionRule.AGE)})
        case "remove":
            await retention.remove_jobs([job_id])
        case _ if job_now and not job_now.status.terminal:
            update: dict[str, Any] = {"revision": job_now.revision + 1}
            update |= (
                {"status": JobState.RUNNING, "started_at": now()}
                if deed == "start"
                else {"status": JobState.FAILED, "finished_at": now()}
            )
            assert await store.jobs.update(job_now.model_copy(update=update))
            await store.jobs.mark_archived(job_id)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, NEVER_RAN),
        ({"hyperparameters": {"started_at": "1"}, "labels": {"started_at": "1"}}, NEVER_RAN),
        ({"attempts": [Attempt(number=1, finished_at=now(), message='"started_at":')]}, NEVER_RAN),
        ({"attempts": [Attempt(number=1, finished_at=now(), started_at=now())]}, RAN),
        ({"started_at": now()}, RAN),
    ],
)
async def test_a_job_has_run_if_one_of_its_attempts_was_started(
    store: Store, fields: dict[str, Any], kind: str
) -> None:
    await ended_job(store, 1, **fields)
    assert [one.held_as for one in await store.retention.oldest_of_each(-1, with_files=False)] == [kind]


async def test_jobs_that_ended_since_the_clock_was_confirmed_do_not_age_when_it_leaps(store: Store) -> None:
    moment = Moment(wall=1000.0, boot=5.0, boot_id="first", synchronised=True)
    before, after = [await ended_job(store, 1) for _ in range(2)]
    await store.database.run(lambda db: db.execute("DELETE FROM age_clock"))
    await store.database.run(lambda db: db.execute("UPDATE jobs SET ages_from = NULL, files = NULL"))

    async def ages() -> dict[str, float]:
        clock = await store.retention.clock()
        assert clock
        jobs = await store.retention.oldest_of_each(-1, with_files=False)
        return {job.job_id: clock.seconds - job.ages_from for job in jobs}

    clock, _ = await store.retention.advance_clock(moment)
    await store.retention.record_sizes({before.job_id: (1, 1)}, ages_from=clock.seconds)
    # The host is off for a day; then a job ends, and a time server is found.
    later = Moment(wall=1000.0 + 86400, boot=10.0, boot_id="second", synchronised=False)
    clock, leap = await store.retention.advance_clock(later)
    assert (leap, await ages()) == (0, {before.job_id: 10.0})
    await store.retention.record_sizes({after.job_id: (1, 1)}, ages_from=clock.seconds)
    _, leap = await store.retention.advance_clock(replace(later, synchronised=True))
    assert (leap, await ages()) == (86390.0, {before.job_id: 86400.0, after.job_id: 0.0})
