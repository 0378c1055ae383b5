import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.model.base import now
from agent.model.certificate import Certificate, Role
from agent.model.job import Job, JobState
from agent.model.retention import Totals
from agent.store.database import Database, connect, connect_reader
from agent.store.jobs import IdTaken
from agent.store.migrations import MIGRATIONS
from agent.store.store import Store
from tests.support.jobs import make_job


def make_certificate(serial: str) -> Certificate:
    """A certificate as the record has it."""
    return Certificate(
        serial=serial,
        user="alice",
        role=Role.ANALYST,
        issued_at=now(),
        expires_at=now() + timedelta(days=30),
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "state" / "jobs.db") as opened:
        yield opened


async def test_a_job_reads_back_as_it_was_written_after_the_file_is_reopened(tmp_path: Path) -> None:
    job = make_job()
    async with Store.open(tmp_path / "jobs.db") as store:
        await store.jobs.add(job, max_waiting=10)
    async with Store.open(tmp_path / "jobs.db") as store:
        assert await store.jobs.get(job.job_id) == job
    assert (tmp_path / "jobs.db").stat().st_mode & 0o777 == 0o600


async def test_the_same_key_and_body_is_the_same_job(store: Store) -> None:
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


async def test_a_repeated_key_is_answered_even_when_the_owner_may_not_submit_more(store: Store) -> None:
    first = await store.jobs.add(make_job(), idempotency_key="k", fingerprint="f", max_waiting=1)
    assert await store.jobs.add(make_job(), idempotency_key="k", fingerprint="f", max_waiting=1) == first
    with pytest.raises(AgentError) as caught:
        await store.jobs.add(make_job(), max_waiting=1)
    assert caught.value.problem is Problem.TOO_MANY_JOBS


async def test_the_first_eight_characters_of_two_ids_differ(store: Store) -> None:
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


async def test_pages_are_newest_first_and_meet_without_overlap(store: Store) -> None:
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


@pytest.mark.parametrize("cursor", ["", "-1", "1;--", "x", "1" * 19, "²"])
async def test_a_cursor_that_was_never_given_out_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(AgentError) as caught:
        await store.jobs.page(cursor=cursor)
    assert caught.value.fields[0].field == "cursor"


async def test_a_full_disk_is_told_apart_and_leaves_no_job(store: Store) -> None:
    await store.database.run(lambda db: db.execute("PRAGMA max_page_count = 1").fetchone())
    job = make_job(hyperparameters={"big": "x" * 100_000})
    with pytest.raises(AgentError) as caught:
        await store.jobs.add(job, max_waiting=10)
    assert caught.value.problem is Problem.STORAGE_FULL
    assert await store.jobs.get(job.job_id) is None


async def test_two_processes_may_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with Store.open(path) as agent, Store.open(path) as command:
        await asyncio.gather(
            *(agent.jobs.add(make_job(), max_waiting=100) for _ in range(20)),
            *(command.jobs.add(make_job(), max_waiting=100) for _ in range(20)),
        )
        assert len((await agent.jobs.page(limit=100)).jobs) == 40


async def test_what_another_process_has_committed_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    certificate = make_certificate("ab12")
    async with Store.open(path) as agent, Store.open(path) as command:
        for _ in range(3):
            await command.jobs.add(make_job(), max_waiting=10)
        await command.certificates.add(certificate)
        assert await agent.certificates.get("ab12") == certificate
        # A page that is not read to its end keeps nobody to the state of then.
        assert len((await agent.jobs.page(limit=1)).jobs) == 1
        await command.certificates.revoke(["ab12"], now())
        revoked = await agent.certificates.get("ab12")
        assert revoked is not None
        assert revoked.revoked_at is not None
        job = await command.jobs.add(make_job(), idempotency_key="k", fingerprint="f", max_waiting=10)
        assert await agent.jobs.get(job.job_id) == await agent.jobs.by_key(job.owner, "k", "f") == job
        assert (await agent.jobs.page(limit=1)).jobs == [job]


async def test_a_read_that_meets_a_lock_waits_on_the_thread(tmp_path: Path) -> None:
    # With a write-ahead log a reader meets a lock for an instant only, while another process recovers it;
    # without one, for as long as the test likes.
    path, locked_path = tmp_path / "jobs.db", tmp_path / "locked.db"
    with (
        ThreadPoolExecutor(1) as thread,
        closing(sqlite3.connect(locked_path, isolation_level=None)) as locking,
        closing(sqlite3.connect(locked_path, timeout=0)) as locked,
    ):
        locking.execute("BEGIN EXCLUSIVE")
        connection = thread.submit(connect, path).result()
        store = Store(Database(connection, thread, locked))
        job = await store.jobs.add(make_job(), max_waiting=10)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            locked.execute("SELECT * FROM jobs")
        assert await store.jobs.get(job.job_id) == job
        assert (await store.jobs.page()).jobs == [job]
        thread.submit(connection.close).result()


async def test_the_reader_cannot_write(store: Store, tmp_path: Path) -> None:
    job = await store.jobs.add(make_job(), max_waiting=10)
    with (
        closing(connect_reader(tmp_path / "state" / "jobs.db")) as reader,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        reader.execute("DELETE FROM jobs")
    assert await store.jobs.get(job.job_id) == job


async def test_certificates_read_back(store: Store) -> None:
    certificate = make_certificate("ab12")
    await store.certificates.add(certificate)
    assert await store.certificates.get("ab12") == certificate
    assert await store.certificates.get("ff") is None
    assert await store.certificates.all() == [certificate]


async def test_a_newer_schema_is_refused_rather_than_guessed(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with Store.open(path) as store:
        await store.database.run(
            lambda db: db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}").fetchone()
        )
    with pytest.raises(AgentError, match="newer one"):
        async with Store.open(path):
            pass


def test_a_record_that_two_open_at_once_is_made_once(tmp_path: Path) -> None:
    for number in range(20):
        path, barrier = tmp_path / f"{number}.db", threading.Barrier(2)

        def opened(path: Path = path, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            connect(path).close()

        with ThreadPoolExecutor(2) as pool:
            for opening in [pool.submit(opened) for _ in range(2)]:
                opening.result()


async def ended_job(store: Store, hours: int, **fields: object) -> Job:
    """A job in the store that ended so many hours ago, and whose log is kept."""
    job = await store.jobs.add(make_job(**fields), max_waiting=10_000)
    update = {"status": JobState.COMPLETED, "revision": job.revision + 1}
    job = job.model_copy(update=update | {"finished_at": now() - timedelta(hours=hours)})
    assert await store.jobs.update(job)
    await store.jobs.mark_archived(job.job_id)
    return job


async def test_jobs_of_an_earlier_schema_are_known_to_retention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = next(number for number, script in enumerate(MIGRATIONS) if "leaving" in script)
    with monkeypatch.context() as patch:
        patch.setattr("agent.store.migrations.MIGRATIONS", MIGRATIONS[:before])
        async with Store.open(tmp_path / "jobs.db") as store:
            job = await ended_job(store, 1)
    async with Store.open(tmp_path / "jobs.db") as store:
        assert await store.retention.unmeasured(10) == [job.job_id]
        await store.retention.record_sizes({job.job_id: 4096})
        assert await store.retention.unmeasured(10) == []
        assert [
            (one.job_id, one.bytes) for one in await store.retention.oldest_removable(10, with_files=True)
        ] == [(job.job_id, 4096)]
        assert await store.jobs.get(job.job_id) == job


async def test_retention_knows_the_oldest_first_and_counts_what_is_pinned_apart(store: Store) -> None:
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


async def test_what_retention_asks_is_answered_by_an_index(store: Store) -> None:
    queries = []
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


async def test_a_job_that_is_removed_takes_its_key_with_it_and_is_a_change(store: Store) -> None:
    job = await ended_job(store, 1)
    assert await store.retention.remove_jobs([job.job_id, "absent"]) == [job.job_id]
    assert await store.retention.remove_jobs([job.job_id]) == []
    assert await store.retention.pending_deletions() == [job.job_id]
    await store.retention.confirm_deleted([job.job_id])
    assert await store.retention.pending_deletions() == []
    change = await store.changes.newest_of(job.job_id)
    assert change is not None
    assert change.job is None


async def test_an_image_is_of_none_but_some_jobs_when_no_other_ran_it(store: Store) -> None:
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


async def test_a_snapshot_is_retired_only_if_no_job_needs_it(store: Store) -> None:
    await store.jobs.add(make_job(), max_waiting=10)
    retired: list[str] = []
    assert not await store.retention.retire_unused("0" * 40, lambda: retired.append("0"))
    assert await store.retention.retire_unused("1" * 40, lambda: retired.append("1"))
    assert retired == ["1"]
