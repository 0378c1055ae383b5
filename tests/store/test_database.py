"""Connections, threads and transactions, among several processes and on a full disk."""

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.errors import AgentError, Problem
from agent.model.base import now
from agent.store import database
from agent.store.database import Database, connect, connect_reader
from agent.store.migrations import MIGRATIONS
from agent.store.store import Store
from tests.support.certificates import make_certificate
from tests.support.jobs import make_job


async def test_a_full_disk_is_its_own_problem_and_leaves_no_job(store: Store) -> None:
    await store.database.run(lambda db: db.execute("PRAGMA max_page_count = 1").fetchone())
    job = make_job(hyperparameters={"big": "x" * 100_000})
    with pytest.raises(AgentError) as caught:
        await store.jobs.add(job, max_waiting=10)
    assert caught.value.problem is Problem.STORAGE_FULL
    assert await store.jobs.get(job.job_id) is None


@pytest.mark.parametrize(
    ("free", "problem"), [(0, Problem.STORAGE_FULL), (2**30, Problem.HOST)], ids=["full", "broken"]
)
async def test_a_file_that_cannot_be_opened_on_a_full_disk_is_no_broken_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, free: int, problem: Problem
) -> None:
    def fails(_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(database, "migrate", fails)
    monkeypatch.setattr(database.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(AgentError) as caught:
        connect(path)
    assert caught.value.problem is problem


async def test_two_processes_may_write_the_same_file(path: Path) -> None:
    async with Store.open(path) as agent, Store.open(path) as command:
        await asyncio.gather(
            *(agent.jobs.add(make_job(), max_waiting=100) for _ in range(20)),
            *(command.jobs.add(make_job(), max_waiting=100) for _ in range(20)),
        )
        assert len((await agent.jobs.page(limit=100)).jobs) == 40


async def test_commits_of_another_process_are_read_at_once(path: Path) -> None:
    certificate = make_certificate("ab12")
    async with Store.open(path) as agent, Store.open(path) as command:
        for _ in range(3):
            await command.jobs.add(make_job(), max_waiting=10)
        await command.certificates.add(certificate)
        assert await agent.certificates.get("ab12") == certificate
        # A page that is not read to its end must not hold the reader at an earlier state.
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


async def test_the_reader_cannot_write(store: Store, path: Path) -> None:
    job = await store.jobs.add(make_job(), max_waiting=10)
    with (
        closing(connect_reader(path)) as reader,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        reader.execute("DELETE FROM jobs")
    assert await store.jobs.get(job.job_id) == job


async def test_a_listener_hears_of_writes_and_of_nothing_else(store: Store) -> None:
    heard = asyncio.Event()
    with store.database.on_commit(heard.set):
        await store.jobs.active()
        await store.jobs.update(make_job(revision=2))  # which is not there
        await asyncio.sleep(0)
        assert not heard.is_set()
        await store.jobs.add(make_job(), max_waiting=10)
        async with asyncio.timeout(5):
            await heard.wait()
        heard.clear()
    await store.jobs.add(make_job(), max_waiting=10)
    await asyncio.sleep(0)
    assert not heard.is_set()


async def test_a_transaction_whose_caller_is_cancelled_is_committed(store: Store) -> None:
    job = make_job()
    adding = asyncio.create_task(store.jobs.add(job, max_waiting=10))
    await asyncio.sleep(0)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert await store.jobs.active() == [job]


async def test_a_newer_schema_is_refused(path: Path) -> None:
    newer = f"PRAGMA user_version = {len(MIGRATIONS) + 1}"
    async with Store.open(path) as store:
        await store.database.run(lambda db: db.execute(newer).fetchone())
    with pytest.raises(AgentError, match="newer one"):
        async with Store.open(path):
            pass


def test_two_that_open_a_new_file_at_once_migrate_it_once(tmp_path: Path) -> None:
    for number in range(20):
        path, barrier = tmp_path / f"{number}.db", threading.Barrier(2)

        def schema(path: Path = path, barrier: threading.Barrier = barrier) -> int:
            barrier.wait()
            with closing(connect(path)) as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                return int(version)

        with ThreadPoolExecutor(2) as pool:
            openings = [pool.submit(schema) for _ in range(2)]
        assert [opening.result() for opening in openings] == [len(MIGRATIONS)] * 2
