"""Numbers that the store counts by itself, in the transaction of what they count."""

from datetime import timedelta
from pathlib import Path

import pytest

from agent.model.base import now
from agent.model.job import JobState, Reason
from agent.store.store import Store
from agent.store.tallies import WAITING_BOUNDS
from tests.support.jobs import make_job


async def test_a_new_store_has_counted_nothing(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "jobs.db") as store:
        tallies = await store.tallies.read()
    assert (tallies.ended, tallies.active, tallies.oldest, tallies.unarchived) == ({}, {}, None, 0)
    assert tallies.waited == dict.fromkeys(WAITING_BOUNDS, 0)
    assert tallies.running == []


async def test_ends_are_counted_by_reason_and_for_good(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "jobs.db") as store:
        for reason in (None, None, Reason.TIMEOUT):
            job = await store.jobs.add(make_job(), max_waiting=9)
            ended = {"status": JobState.COMPLETED if reason is None else JobState.FAILED, "reason": reason}
            later = {"revision": 2, "finished_at": now()}
            assert await store.jobs.update(job.model_copy(update=ended | later))
        await store.database.run(lambda db: db.execute("DELETE FROM jobs"))
    async with Store.open(tmp_path / "jobs.db") as store:
        assert (await store.tallies.read()).ended == {"none": 2, "timeout": 1}


@pytest.mark.parametrize(
    ("waited", "bound"), [(0.2, "1"), (4, "5"), (59, "60"), (70, "300"), (100_000, "+Inf"), (-50, "1")]
)
async def test_a_wait_is_counted_once_for_the_first_bound_that_it_keeps(
    tmp_path: Path, waited: float, bound: str
) -> None:
    async with Store.open(tmp_path / "jobs.db") as store:
        job = await store.jobs.add(make_job(created_at=now() - timedelta(seconds=waited)), max_waiting=9)
        turn = {"status": JobState.CREATED, "revision": 2}
        assert await store.jobs.update(job.model_copy(update=turn))
        again = {"status": JobState.PENDING, "revision": 3, "attempt": 2}
        assert await store.jobs.update(job.model_copy(update=again))
        assert await store.jobs.update(job.model_copy(update=turn | {"revision": 4, "attempt": 2}))
        tallies = await store.tallies.read()
    assert tallies.waited == dict.fromkeys(WAITING_BOUNDS, 0) | {bound: 1}
    assert tallies.waited_seconds == pytest.approx(max(waited, 0), abs=0.5)
    assert [each.status for each in tallies.running] == [JobState.CREATED]
    assert tallies.active == {"CREATED": 1}
