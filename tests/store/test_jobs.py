"""Jobs and their idempotency keys: written once, read back, filtered and paged."""

from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.model.base import now
from agent.model.inputs import Limits
from agent.model.job import JobState
from agent.store.jobs import IdTaken
from agent.store.store import Store
from tests.support.jobs import make_job


async def test_a_job_reads_back_after_the_file_is_reopened(path: Path) -> None:
    job = make_job()
    async with Store.open(path) as store:
        await store.jobs.add(job, max_waiting=10)
    async with Store.open(path) as store:
        assert await store.jobs.get(job.job_id) == job
    assert path.stat().st_mode & 0o777 == 0o600


async def test_the_same_key_and_body_return_the_same_job(store: Store) -> None:
    first = await store.jobs.add(make_job(), idempotency_key="k", fingerprint="f", max_waiting=10)
    again = await store.jobs.add(make_job(), idempotency_key="k", fingerprint="f", max_waiting=10)
    assert again == first
    assert len((await store.jobs.page()).jobs) == 1


async def test_the_same_key_with_another_body_is_refused(store: Store) -> None:
    await store.jobs.add(make_job(), idempotency_key="k", fingerprint="f", max_waiting=10)
    with pytest.raises(AgentError) as caught:
        await store.jobs.add(make_job(), idempotency_key="k", fingerprint="g", max_waiting=10)
    assert caught.value.problem is Problem.IDEMPOTENCY_MISMATCH


async def test_keys_belong_to_their_owner(store: Store) -> None:
    await store.jobs.add(make_job(owner="alice"), idempotency_key="k", fingerprint="f", max_waiting=10)
    job = await store.jobs.add(make_job(owner="bob"), idempotency_key="k", fingerprint="g", max_waiting=10)
    assert job.owner == "bob"


async def test_a_repeated_key_is_answered_although_the_owner_has_too_many_jobs(store: Store) -> None:
    first = await store.jobs.add(make_job(), idempotency_key="k", fingerprint="f", max_waiting=1)
    assert await store.jobs.add(make_job(), idempotency_key="k", fingerprint="f", max_waiting=1) == first
    with pytest.raises(AgentError) as caught:
        await store.jobs.add(make_job(), max_waiting=1)
    assert caught.value.problem is Problem.TOO_MANY_JOBS


async def test_the_records_of_an_owner_have_a_bound_in_bytes(store: Store) -> None:
    most = 20_000
    large = [await store.jobs.add(make_job(name="x" * 12_000), max_waiting=10) for _ in range(2)]
    for add in (
        store.jobs.add(make_job(), max_waiting=10, max_record_bytes=most),
        store.jobs.check_share("alice", max_waiting=10, max_record_bytes=most),
    ):
        with pytest.raises(AgentError) as caught:
            await add
        assert caught.value.problem is Problem.TOO_MANY_JOBS
        assert "you may have 20000" in caught.value.message
        assert "retention" in caught.value.hint
    await store.jobs.add(make_job("bob"), max_waiting=10, max_record_bytes=most)
    for job in large:  # a removed record counts no more
        await store.jobs.update(job.model_copy(update={"status": JobState.CANCELLED, "revision": 2}))
        await store.jobs.mark_archived(job.job_id)
    assert await store.retention.remove_jobs([large[0].job_id]) == [large[0].job_id]
    await store.jobs.add(make_job(), max_waiting=10, max_record_bytes=most)


async def finished(store: Store, size: int | None, owner: str = "alice") -> str:
    """A job that has ended and takes so many bytes, or was not measured; its id."""
    limits = Limits(artifact_bytes=1000 * 2**20)
    job = await store.jobs.add(make_job(owner, limits=limits), max_waiting=10)
    ended = {"status": JobState.COMPLETED, "finished_at": now(), "revision": 2}
    assert await store.jobs.update(job.model_copy(update=ended))
    if size is not None:
        await store.retention.record_sizes({job.job_id: (size, 1)}, ages_from=0.0)
    return job.job_id


async def test_pinned_jobs_of_an_owner_have_a_bound_in_bytes(store: Store) -> None:
    first, second, third, unmeasured, small = [
        await finished(store, size) for size in (600 * 2**20, 300 * 2**20, 200 * 2**20, None, 1)
    ]
    most = 1000 * 2**20
    for job_id in (first, second):
        await store.jobs.pin(job_id, pinned=True, limit=20, max_bytes=most)
    for job_id in (third, unmeasured):  # one counts with what it may have at most
        with pytest.raises(AgentError) as caught:
            await store.jobs.pin(job_id, pinned=True, limit=20, max_bytes=most)
        assert caught.value.problem is Problem.TOO_MANY_PINNED
        assert f"they exceed {most}" in caught.value.message
        assert "Unpin" in caught.value.hint
    await store.jobs.pin(small, pinned=True, limit=20, max_bytes=most)
    await store.jobs.pin(await finished(store, most, "bob"), pinned=True, limit=20, max_bytes=most)
    await store.jobs.pin(first, pinned=False, limit=20, max_bytes=most)
    await store.jobs.pin(third, pinned=True, limit=20, max_bytes=most)


async def test_a_job_that_was_not_measured_is_pinned_with_the_size_that_it_has_now(store: Store) -> None:
    jobs = [await finished(store, None) for _ in range(3)]
    for job_id in jobs[:2]:
        await store.jobs.pin(job_id, pinned=True, limit=20, max_bytes=1000, size=500)
    with pytest.raises(AgentError):
        await store.jobs.pin(jobs[2], pinned=True, limit=20, max_bytes=1000, size=1)
    assert (await store.retention.totals()).pinned_bytes == 1000
    for job_id in jobs:  # it is measured again, with its files
        await store.jobs.mark_archived(job_id)
    assert await store.retention.unmeasured(10) == jobs


@pytest.mark.parametrize("size", [2000 * 2**20, None])
async def test_one_job_can_be_pinned_whatever_it_has(store: Store, size: int | None) -> None:
    job_id = await finished(store, size)
    job = await store.jobs.pin(job_id, pinned=True, limit=20, max_bytes=1)
    assert job
    assert job.pinned
    with pytest.raises(AgentError):
        await store.jobs.pin(await finished(store, 1), pinned=True, limit=20, max_bytes=1)


async def test_no_two_ids_share_their_first_eight_characters(store: Store) -> None:
    await store.jobs.add(make_job(job_id="abcdefgh2222"), max_waiting=10)
    with pytest.raises(IdTaken):
        await store.jobs.add(make_job(job_id="abcdefgh3333"), max_waiting=10)


async def test_a_terminal_state_is_written_once(store: Store) -> None:
    job = await store.jobs.add(make_job(), max_waiting=10)
    done = job.model_copy(update={"status": JobState.COMPLETED, "revision": 2})
    assert await store.jobs.update(done)
    assert not await store.jobs.update(done.model_copy(update={"status": JobState.FAILED, "revision": 3}))
    assert (await store.jobs.get(job.job_id)) == done
    assert await store.jobs.active() == []


async def test_an_update_from_an_outdated_revision_changes_nothing(store: Store) -> None:
    job = await store.jobs.add(make_job(), max_waiting=10)
    newer = job.model_copy(update={"status": JobState.CREATED, "revision": 2})
    assert await store.jobs.update(newer, manager="boot:1")
    assert not await store.jobs.update(job.model_copy(update={"cancel_requested": True, "revision": 2}))
    assert await store.jobs.get(job.job_id) == newer
    assert await store.jobs.manager_of(job.job_id) == "boot:1"


async def test_pages_are_newest_first_without_gap_or_overlap(store: Store) -> None:
    jobs = [await store.jobs.add(make_job(), max_waiting=10) for _ in range(5)]
    first = await store.jobs.page(limit=2)
    second = await store.jobs.page(limit=2, cursor=first.next_cursor)
    third = await store.jobs.page(limit=2, cursor=second.next_cursor)
    assert [job.job_id for page in (first, second, third) for job in page.jobs] == [
        job.job_id for job in reversed(jobs)
    ]
    assert third.next_cursor is None


async def test_a_page_is_filtered_by_owner_status_and_script(store: Store) -> None:
    wanted = await store.jobs.add(make_job(owner="alice", script_name="a.py"), max_waiting=10)
    await store.jobs.add(make_job(owner="bob", script_name="a.py"), max_waiting=10)
    await store.jobs.add(make_job(owner="alice", script_name="b.py"), max_waiting=10)
    page = await store.jobs.page(owner="alice", script="a.py", status=JobState.PENDING)
    assert page.jobs == [wanted]


async def test_what_is_read_at_a_start_does_not_go_through_the_history(store: Store) -> None:
    queries: list[str] = []
    await store.database.run(lambda db: db.set_trace_callback(queries.append))
    await store.jobs.active()
    await store.jobs.unarchived()
    await store.jobs.uses()
    await store.database.run(lambda db: db.set_trace_callback(None))
    steps = await store.database.run(
        lambda db: [row[3] for query in queries for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    )
    assert [step for step in steps if "jobs" in step.split()]
    assert "SCAN jobs" not in steps
