"""The database of an earlier agent reads back as that agent itself read it."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.audit.chain import Caller, follow
from agent.model.job import Job, JobState
from agent.model.retention import Moment
from agent.store.migrations import MIGRATIONS
from agent.store.store import Store
from tests.support.earlier_state import make_database, read_by_itself

READ = read_by_itself()
KINDS: dict[str, str] = READ["kinds"]
# Members of a job that the earlier agent did not know.
SINCE = {
    "artifacts": [],
    "host": None,
    "sweep": None,
    "trial": None,
    "after": [],
    "inputs": {},
    "schedule": None,
    "slot": None,
    "readers": None,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_database(tmp_path / "jobs.db")
    return tmp_path / "jobs.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with Store.open(path) as opened:
        yield opened


def test_the_state_has_jobs_in_every_state() -> None:
    states = {job["status"] for job in READ["jobs"].values() if job}
    assert states == set(JobState)


def test_released_migrations_still_make_the_same_schema(path: Path) -> None:
    def schema(database: sqlite3.Connection) -> list[Any]:
        return list(database.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"))

    with closing(sqlite3.connect(path)) as earlier, closing(sqlite3.connect(":memory:")) as anew:
        for script in MIGRATIONS[: READ["schema"]]:
            anew.executescript(script)
        assert schema(anew) == schema(earlier)


async def test_jobs_read_back(store: Store) -> None:
    for kind, job_id in KINDS.items():
        job = await store.jobs.get(job_id)
        known = READ["jobs"][kind]
        assert (job and job.model_dump(mode="json")) == (known and known | SINCE), kind
        assert await store.jobs.manager_of(job_id) == READ["managers"][kind], kind
    assert [job.job_id for job in (await store.jobs.page(limit=100)).jobs] == READ["page"]
    assert [job.job_id for job in await store.jobs.active()] == READ["active"]
    assert [job.job_id for job in await store.jobs.unarchived()] == READ["unarchived"]
    assert [use.model_dump(mode="json") for use in await store.jobs.uses()] == READ["uses"]


async def test_an_idempotency_key_still_names_its_job(store: Store) -> None:
    key = READ["key"]
    job = await store.jobs.by_key(key["owner"], key["key"], key["fingerprint"])
    assert job is not None
    assert job.job_id == key["job"] == KINDS["waiting"]


async def test_what_retention_looks_up_reads_back(store: Store) -> None:
    retention = store.retention
    # The age of a job that was not measured begins when it is.
    unmeasured = READ["unmeasured"]
    oldest = await retention.oldest_of_each(-1, with_files=False)
    assert [[job.job_id, job.finished_at.isoformat(), job.bytes] for job in oldest] == [
        row for row in READ["oldest"] if row[0] not in unmeasured
    ]
    assert [round(job.ages_from, 3) for job in oldest] == [job.finished_at.timestamp() for job in oldest]
    with_files = [job.job_id for job in await retention.oldest_of_each(-1, with_files=True)]
    assert with_files == [job_id for job_id in READ["with_files"] if job_id not in unmeasured]
    # Their files were never counted: all that still have some are measured again.
    assert set(await retention.unmeasured(100)) == {*unmeasured, *with_files, KINDS["pinned"]}
    moment = Moment(wall=4e9, boot=1.0, boot_id="another", synchronised=False)
    clock, leap = await retention.advance_clock(moment)
    newest = max(job.finished_at or job.created_at for job in await all_jobs(store))
    assert (round(clock.seconds, 3), leap) == (newest.timestamp(), 0)
    assert vars(await retention.totals()) == READ["kept"]
    assert await retention.pending_deletions() == READ["leaving"] == [KINDS["leaving"]]


async def all_jobs(store: Store) -> list[Job]:
    return (await store.jobs.page(limit=100)).jobs


async def test_changes_read_back(store: Store) -> None:
    changes = await store.changes.after(0, limit=1000)
    assert [[each.seq, each.job_id, each.owner, each.job is not None] for each in changes] == READ["changes"]
    history, current = await store.changes.current(ended=100)
    assert (history.model_dump(mode="json"), current) == (READ["history"], READ["current"])
    removed = await store.changes.newest_of(KINDS["gone"])
    assert removed is not None
    assert removed.job is None


async def test_certificates_read_back(store: Store) -> None:
    known = await store.certificates.all()
    assert [each.model_dump(mode="json") for each in known] == READ["certificates"]
    assert {bool(each.revoked_at) for each in known} == {bool(each.renews) for each in known} == {True, False}


async def test_the_audit_reads_back_and_its_chain_goes_on(store: Store) -> None:
    anchor, head = await store.audit.links()
    rows = await store.audit.rows(0, 1000)
    assert [str(anchor), str(head)] == READ["audit_links"]
    assert [[row.seq, row.entry, row.hash] for row in rows] == READ["audit"]
    await store.audit.append(Caller(actor="alice", role="analyst", source="192.0.2.7").did("test"))
    link = anchor
    for row in await store.audit.rows(0, 1000):
        link = follow(link, row)
    assert (link.seq, (anchor, link)) == (head.seq + 1, await store.audit.links())
