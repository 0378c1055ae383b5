"""The audit in the store: a deed and its row are one transaction, and tampering with the chain is found."""

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from agent.audit import chain
from agent.audit.chain import AuditRow, Broken, Caller, Link, follow
from agent.errors import AgentError, Problem
from agent.model.base import now
from agent.store.store import Store
from tests.support.certificates import make_certificate
from tests.support.jobs import make_job
from tests.support.waiting import until

ALICE = Caller(actor="alice", role="analyst", source="192.0.2.7")
START = Link(0, "0" * 64)

# Appends rows as fast as it can, each with a change of its own in the same transaction, until it is killed.
WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.support.jobs import make_job
from agent.audit.chain import Caller
from agent.store.store import Store

async def write(path, count):
    caller = Caller(actor=sys.argv[4], role="analyst", source="test")
    async with Store.open(Path(path)) as store:
        while count:
            job = make_job(owner=sys.argv[4])
            await store.jobs.add(job, max_waiting=10**6, deed=caller.did("submitJob", job.job_id))
            count -= 1

asyncio.run(write(sys.argv[1], int(sys.argv[2])))
"""


async def walk(store: Store) -> list[AuditRow]:
    """All rows, of which each follows from the one before it. Raises `Broken`."""
    link, _ = await store.audit.links()
    rows = await store.audit.rows(link.seq, 10**6)
    for row in rows:
        link = follow(link, row)
    return rows


async def written(store: Store, count: int) -> None:
    for number in range(1, count + 1):
        await store.audit.append(ALICE.did("test", str(number)))


async def test_a_row_says_who_did_what_when_from_where_and_with_what_result(store: Store) -> None:
    before = now()
    await store.audit.append(ALICE.was_refused("cancelJob", "k3v7q2m5x4ab", problem="forbidden"))
    (row,) = await walk(store)
    content = row.content()
    assert before.isoformat(timespec="milliseconds")[:23] <= content.pop("at")[:23]
    assert content == {
        "actor": "alice",
        "role": "analyst",
        "source": "192.0.2.7",
        "action": "cancelJob",
        "subject": "k3v7q2m5x4ab",
        "result": "refused",
        "details": {"problem": "forbidden"},
    }


async def test_values_that_a_client_can_make_long_or_odd_are_bounded(store: Store) -> None:
    odd = "\ud800\x1b[31m\u202e\n" + "x" * 10_000
    await store.audit.append(ALICE.did("test", odd, path=odd, names=[odd] * 1000))
    (row,) = await walk(store)
    assert row.entry.isascii()
    assert "\n" not in row.entry
    assert len(row.content()["subject"]) == len(row.content()["details"]["path"]) == chain.MAX_TEXT
    assert len(row.content()["details"]["names"]) == chain.MAX_LIST


async def test_the_chain_goes_on_after_the_file_is_reopened(path: Path) -> None:
    for _ in range(3):
        async with Store.open(path) as store:
            await written(store, 2)
    async with Store.open(path) as store:
        assert [row.seq for row in await walk(store)] == [1, 2, 3, 4, 5, 6]


# A deed and its row are one transaction


async def test_a_deed_that_does_not_happen_has_no_row(store: Store) -> None:
    job = make_job()
    await store.jobs.add(job, max_waiting=1, deed=ALICE.did("submitJob", job.job_id))
    with pytest.raises(AgentError):
        await store.jobs.add(make_job(), max_waiting=1, deed=ALICE.did("submitJob"))
    assert not await store.jobs.update(job.model_copy(update={"revision": 7}), deed=ALICE.did("cancelJob"))
    assert await store.jobs.pin("aaaaaaaaaaaa", pinned=True, limit=1, deed=ALICE.did("pinJob")) is None
    await store.jobs.pin(job.job_id, pinned=False, limit=1, deed=ALICE.did("unpinJob"))  # which it is already
    assert [row.content()["action"] for row in await walk(store)] == ["submitJob"]


async def test_where_the_row_cannot_be_written_the_deed_is_not_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("agent.store.audit.append_row", fail)
    job = make_job()
    with pytest.raises(AgentError) as refused:
        await store.jobs.add(job, max_waiting=1, deed=ALICE.did("submitJob", job.job_id))
    assert refused.value.problem is Problem.STORAGE_FULL
    with pytest.raises(AgentError):
        await store.certificates.add(make_certificate("1"), deed=ALICE.did("issueCertificate", "1"))
    assert await store.jobs.get(job.job_id) is None
    assert await store.certificates.all() == []


async def test_a_repeated_key_is_no_second_deed(store: Store) -> None:
    for _ in range(2):
        job = make_job()
        deed = ALICE.did("submitJob", job.job_id)
        await store.jobs.add(job, idempotency_key="k", fingerprint="f", max_waiting=9, deed=deed)
    assert len(await walk(store)) == 1


# Tampering

UNPROTECTED = (
    "DROP TRIGGER audit_unchanged",
    "DROP TRIGGER audit_kept",
    "DROP TRIGGER audit_in_order",
    "DROP TRIGGER audit_anchor_moves",
)
MOVE = "UPDATE audit SET seq = {} WHERE seq = {}"


@pytest.mark.parametrize(
    ("statements", "broken"),
    [
        (["UPDATE audit SET entry = replace(entry, 'alice', 'mallory') WHERE seq = 3"], 3),
        (["UPDATE audit SET entry = entry || ' ' WHERE seq = 5"], 5),
        (["UPDATE audit SET entry = 'no JSON' WHERE seq = 2"], 2),
        (["UPDATE audit SET hash = upper(hash) WHERE seq = 1"], 1),
        (["DELETE FROM audit WHERE seq = 1"], 1),
        (["DELETE FROM audit WHERE seq = 4"], 4),
        (["DELETE FROM audit WHERE seq IN (2, 3)"], 2),
        (["DELETE FROM audit WHERE seq = 2", MOVE.format(2, 3), MOVE.format(3, 4), MOVE.format(4, 5)], 2),
        ([MOVE.format(99, 2), MOVE.format(2, 3), MOVE.format(3, 99)], 2),
        ([MOVE.format(99, 4), MOVE.format(4, 5), MOVE.format(5, 99)], 4),
        (
            [
                *(MOVE.format(seq + 1, seq) for seq in (5, 4, 3)),
                "INSERT INTO audit SELECT 3, entry, hash FROM audit WHERE seq = 1",
            ],
            3,
        ),
        (["INSERT INTO audit VALUES (6, '{}', lower(hex(randomblob(32))))"], 6),
        (["INSERT INTO audit SELECT 9, entry, hash FROM audit WHERE seq = 5"], 6),
        (["UPDATE audit_anchor SET seq = 2, hash = 'x'", "DELETE FROM audit WHERE seq <= 2"], 3),
    ],
)
async def test_tampering_is_found_at_the_first_altered_row(
    path: Path, statements: list[str], broken: int
) -> None:
    async with Store.open(path) as store:
        await written(store, 5)
    with closing(sqlite3.connect(path)) as database, database:
        for statement in (*UNPROTECTED, *statements):
            database.execute(statement)
    async with Store.open(path) as store:
        with pytest.raises(Broken) as found:
            await walk(store)
    assert found.value.seq == broken


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET entry = '{}' WHERE seq = 2",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit VALUES (2, '{}', '')",
        "INSERT INTO audit VALUES (7, '{}', '')",
        "INSERT INTO audit VALUES (0, '{}', '')",
        "UPDATE audit_anchor SET seq = 2, hash = ''",
        "DELETE FROM audit_anchor",
    ],
)
async def test_sqlite_itself_refuses_everything_but_appending(path: Path, statement: str) -> None:
    async with Store.open(path) as store:
        await written(store, 3)
    with closing(sqlite3.connect(path)) as database, pytest.raises(sqlite3.IntegrityError, match="audit"):
        database.execute(statement)


# Kills, and other writers


def start_writer(path: Path, count: int, owner: str) -> "asyncio.Future[asyncio.subprocess.Process]":
    arguments = (str(path), str(count), str(Path(__file__).parents[2]), owner)
    return asyncio.ensure_future(asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, *arguments))


def has_rows(path: Path, count: int) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            (rows,) = database.execute("SELECT count(*) FROM audit").fetchone()
            return bool(rows >= count)

    return enough


async def test_a_killed_writer_leaves_a_whole_chain_and_no_deed_without_its_row(path: Path) -> None:
    for kill in range(1, 4):
        async with Store.open(path) as store:
            rows = len(await walk(store))
        writer = await start_writer(path, 100_000, f"writer{kill}")
        try:
            await until(has_rows(path, rows + 10 * kill), seconds=120)
        finally:
            writer.send_signal(signal.SIGKILL)
            await writer.wait()
        async with Store.open(path) as store:
            rows_left = await walk(store)
            assert len(rows_left) > rows
            await store.audit.append(ALICE.did("test"))  # and it goes on
    async with Store.open(path) as store:
        submitted = [row.content()["subject"] for row in await walk(store) if "submitJob" in row.entry]
        jobs = [job.job_id for job in await store.jobs.active()]
    assert submitted == jobs


async def test_a_row_whose_writer_dies_before_the_commit_does_not_exist(path: Path) -> None:
    async with Store.open(path) as store:
        await written(store, 2)
    code = "import os, sqlite3, sys; from agent.audit.chain import Caller;"
    code += "from agent.store.audit import append_row;"
    code += "db = sqlite3.connect(sys.argv[1]); db.execute('BEGIN IMMEDIATE');"
    code += "append_row(db, Caller(actor='a', role='b', source='c').did('d')); os.kill(os.getpid(), 9)"
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(path))
    assert await writer.wait() == -signal.SIGKILL
    async with Store.open(path) as store:
        await written(store, 1)
        assert [row.content()["action"] for row in await walk(store)] == ["test"] * 3


async def test_concurrent_writers_keep_one_chain(path: Path) -> None:
    async with Store.open(path) as store:
        writers = [await start_writer(path, 30, owner) for owner in ("alice", "bob")]
        for number in range(30):
            await store.audit.append(ALICE.did("here", str(number)))
        assert [await writer.wait() for writer in writers] == [0, 0]
        rows = await walk(store)
    assert [row.seq for row in rows] == list(range(1, 91))
    assert {row.content()["actor"] for row in rows} == {"alice", "bob"}


# Lookup and archive


async def test_the_newest_rows_are_found_by_actor_and_time(store: Store) -> None:
    bob = ALICE.model_copy(update={"actor": "bob"})
    await store.audit.append(ALICE.did("first"))
    await store.audit.append(bob.did("second"))
    await store.audit.append(ALICE.did("third"))

    async def found(**which: object) -> list[str]:
        rows = await store.audit.newest(**{"limit": 10, **which})  # type: ignore[arg-type]
        return [row.content()["action"] for row in rows]

    assert await found() == ["first", "second", "third"]
    assert await found(limit=2) == ["second", "third"]
    assert await found(actor="alice") == ["first", "third"]
    assert await found(since=now() + timedelta(hours=1)) == []
    assert await found(since=now() - timedelta(hours=1), actor="bob") == ["second"]


async def test_archived_and_remaining_rows_are_one_chain(store: Store) -> None:
    await written(store, 4)
    kept: list[bytes] = []
    count, link = await store.audit.archive(
        now() + timedelta(hours=1), kept.append, ALICE.did("archiveAudit")
    )
    assert (count, link.seq) == (4, 4)
    anchor, rows = chain.read_archive(kept[0])
    assert anchor == START
    for row in rows:
        anchor = follow(anchor, row)
    assert (anchor, await store.audit.links()) == (link, (link, (await walk(store))[-1].link))
    (left,) = await walk(store)
    assert (left.seq, left.content()["subject"]) == (5, str(link))
    assert (await store.audit.archive(now() - timedelta(1), kept.append, ALICE.did("again")))[0] == 0


async def test_rows_that_cannot_be_kept_are_not_removed(store: Store) -> None:
    await written(store, 3)

    def refuse(_: bytes) -> None:
        raise AgentError(Problem.CONFIGURATION, "It exists.")

    with pytest.raises(AgentError, match="exists"):
        await store.audit.archive(now() + timedelta(hours=1), refuse, ALICE.did("archiveAudit"))
    assert len(await walk(store)) == 3


async def test_a_broken_chain_is_not_archived(path: Path) -> None:
    async with Store.open(path) as store:
        await written(store, 3)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TRIGGER audit_unchanged")
        database.execute("UPDATE audit SET entry = replace(entry, 'alice', 'bob') WHERE seq = 2")
    kept: list[bytes] = []
    async with Store.open(path) as store:
        with pytest.raises(AgentError, match="row 2"):
            await store.audit.archive(now() + timedelta(hours=1), kept.append, ALICE.did("archiveAudit"))
    assert kept == []


async def test_an_actors_rows_of_a_day_have_a_share_and_every_deed_has_its_row(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.audit.MAX_BYTES_A_DAY", 2000)
    written = 0

    async def submit_without_end() -> None:
        nonlocal written
        while written < 1000:
            await store.audit.check_share("alice")
            await store.jobs.add(make_job(), max_waiting=10**6, deed=ALICE.did("submitJob"))
            written += 1

    with pytest.raises(AgentError) as caught:
        await submit_without_end()
    assert caught.value.problem is Problem.TOO_MANY_REQUESTS
    assert "tomorrow" in caught.value.hint
    assert 5 < written < 20
    assert len(await store.audit.rows(0, 1000)) == len((await store.jobs.page(limit=100)).jobs) == written
    await store.audit.check_share("bob")
    # What undoes something is recorded all the same.
    await store.audit.append(ALICE.did("unpinJob"))
    assert len(await store.audit.rows(0, 1000)) == written + 1
    monkeypatch.setattr("agent.store.audit.now", lambda: now() + timedelta(days=1))
    await store.audit.check_share("alice")
    await store.audit.append(ALICE.did("submitJob"))
    ((day, size),) = await store.database.run(
        lambda db: db.execute("SELECT day, bytes FROM audit_days WHERE actor = 'alice'").fetchall()
    )
    (row,) = await store.audit.rows(written + 1, 10)
    assert (day, size) == (f"{now() + timedelta(days=1):%Y-%m-%d}", len(row.entry.encode()))
