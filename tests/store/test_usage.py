"""The ledger: attempts are entered once, are summed up when they are old, and outlive their jobs."""

import asyncio
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.model.comparison import Consumption
from agent.model.inputs import Limits
from agent.model.job import Attempt, Job, JobState
from agent.model.usage import Month, UsageKey, UsageRow
from agent.store import usage
from agent.store.migrations import MIGRATIONS
from agent.store.store import Store
from agent.store.usage_migration import USAGE
from tests.support.jobs import make_job

MAY = datetime(2026, 5, 10, 12, tzinfo=UTC)
GIB = 2**30


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "jobs.db") as opened:
        yield opened


def attempt(number: int = 1, *, ended: datetime = MAY, seconds: float | None = 60) -> Attempt:
    began = None if seconds is None else ended - timedelta(seconds=seconds)
    return Attempt(number=number, invocation_id=str(number) * 32, started_at=began, finished_at=ended)


async def run(
    store: Store, *attempts: Attempt, left: int | None = 5, ended: bool = True, **fields: Any
) -> Job:
    """A job with these attempts, each of which is committed as the agent does."""
    memory = fields.pop("memory", GIB)
    job = await store.jobs.add(make_job(limits=Limits(memory_bytes=memory), **fields), max_waiting=99)
    for number, each in enumerate(attempts, 1):
        over = ended and number == len(attempts)
        update = {
            "status": JobState.COMPLETED if over else JobState.PENDING,
            "attempts": list(attempts[:number]),
            "attempt": each.number if over else each.number + 1,
            "finished_at": each.finished_at if over else None,
            "revision": job.revision + 1,
        }
        job = job.model_copy(update=update)
        assert await store.jobs.update(job, left=left)
    return job


async def rows(
    store: Store, month: str = "2026-05", by: UsageKey = UsageKey.USER, owner: str | None = None, **days: str
) -> list[UsageRow]:
    return await store.usage.of_month(Month(month, **days), by=by, owner=owner, limit=1000)


async def only(store: Store, *args: Any, **kwargs: Any) -> UsageRow:
    (row,) = await rows(store, *args, **kwargs)
    return row


async def test_an_attempt_is_entered_with_what_is_known_at_its_end(store: Store) -> None:
    await run(store, attempt(seconds=3600), memory=2 * GIB, left=1000)
    assert await only(store) == UsageRow(
        month="2026-05",
        user="alice",
        jobs=1,
        attempts=1,
        measured_attempts=0,
        seconds=3600,
        memory_gib_hours=2,
        artifact_bytes=1000,
    )


async def test_what_an_attempt_used_is_added_once_when_its_log_is_archived(store: Store) -> None:
    job = await run(store, attempt(1, seconds=1800), attempt(2, seconds=3600))
    used = {1: Consumption(10, GIB), 2: Consumption(20.5, 2 * GIB)}
    for _ in range(2):
        await store.jobs.mark_archived(job.job_id, used=used)
    row = await only(store)
    assert (row.jobs, row.attempts, row.measured_attempts) == (1, 2, 2)
    assert (row.cpu_seconds, row.memory_peak_bytes, row.memory_peak_gib_hours) == (30.5, 2 * GIB, 2.5)


async def test_what_is_not_known_is_absent_and_not_nothing(store: Store) -> None:
    job = await run(store, attempt(seconds=None), memory=None, left=None)
    await store.jobs.mark_archived(job.job_id, used={1: Consumption()})
    row = await only(store)
    assert (row.attempts, row.seconds, row.measured_attempts) == (1, 0, 0)
    unknown = (row.cpu_seconds, row.memory_gib_hours, row.memory_peak_gib_hours, row.memory_peak_bytes)
    assert (*unknown, row.artifact_bytes) == (None,) * 5
    await run(store, attempt(seconds=3600), left=7)  # what becomes known is not lost in what is not
    row = await only(store)
    assert (row.memory_gib_hours, row.artifact_bytes) == (1, 7)


async def test_only_the_cpu_time_may_be_known(store: Store) -> None:
    job = await run(store, attempt())
    await store.jobs.mark_archived(job.job_id, used={1: Consumption(cpu_seconds=3)})
    row = await only(store)
    assert (row.measured_attempts, row.cpu_seconds, row.memory_peak_bytes) == (1, 3, None)


async def test_an_attempt_that_is_followed_by_another_leaves_no_artifacts(store: Store) -> None:
    await run(store, attempt(1), attempt(2), left=100)
    assert (await only(store)).artifact_bytes == 100


async def test_each_attempt_counts_for_the_day_and_month_in_which_it_ended(store: Store) -> None:
    june = datetime(2026, 6, 1, 0, 0, 1, tzinfo=UTC)
    await run(store, attempt(1, ended=MAY), attempt(2, ended=june))
    may, june_row = await only(store), await only(store, "2026-06")
    assert (may.jobs, may.attempts, june_row.jobs, june_row.attempts) == (1, 1, 0, 1)
    assert await rows(store, since="2026-05-11", until="2026-06-01") == []
    assert (await only(store, since="2026-05-10", until="2026-05-11")).attempts == 1


async def test_a_commit_that_is_refused_enters_nothing(store: Store) -> None:
    job = await run(store, attempt(1), ended=False)
    late = job.model_copy(update={"attempts": [attempt(1), attempt(2)], "revision": 2})
    assert not await store.jobs.update(late)
    assert (await only(store)).attempts == 1


async def test_a_job_that_ends_before_it_has_run_is_not_in_the_ledger(store: Store) -> None:
    job = await store.jobs.add(make_job(), max_waiting=9)
    end = {"status": JobState.CANCELLED, "finished_at": MAY, "revision": 2}
    assert await store.jobs.update(job.model_copy(update=end), left=3)
    assert await rows(store) == []


async def test_rows_by_script_and_by_label(store: Store) -> None:
    await run(store, attempt(), script_name="a.py", labels={"team": "=red", "stage": "x"})
    await run(store, attempt(), script_name="b.py", labels={"team": "=red"}, owner="bob")
    by_script = await rows(store, by=UsageKey.SCRIPT)
    assert [(row.script_name, row.label, row.user, row.jobs) for row in by_script] == [
        ("a.py", None, None, 1),
        ("b.py", None, None, 1),
    ]
    by_label = await rows(store, by=UsageKey.LABEL)
    assert [(row.label, row.jobs) for row in by_label] == [("stage=x", 1), ("team==red", 2)]
    assert [row.label for row in await rows(store, by=UsageKey.LABEL, owner="bob")] == ["team==red"]
    assert [row.user for row in await rows(store)] == ["alice", "bob"]


async def test_names_beyond_the_bound_are_counted_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MAX_NAMES", 2)
    for number in range(4):
        labels = {"n": str(number), "m": str(number)}
        job = await run(store, attempt(), script_name=f"{number}.py", labels=labels)
        await store.jobs.mark_archived(job.job_id, used={1: Consumption(1, None)})
    by_script = await rows(store, by=UsageKey.SCRIPT)
    assert [(row.script_name, row.jobs, row.cpu_seconds) for row in by_script] == [
        (None, 2, 2),
        ("0.py", 1, 1),
        ("1.py", 1, 1),
    ]
    by_label = await rows(store, by=UsageKey.LABEL)
    assert [(row.label, row.jobs) for row in by_label] == [(None, 3), ("m=0", 1), ("n=0", 1)]
    await run(store, attempt(), script_name="2.py", owner="bob")  # whose own bound it is
    assert [row.script_name for row in await rows(store, by=UsageKey.SCRIPT, owner="bob")] == ["2.py"]
    assert sum(row.jobs for row in await rows(store)) == 5


async def test_the_days_of_old_months_are_summed_up_and_the_oldest_months_go(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "DAY_MONTHS", 2)
    monkeypatch.setattr(usage, "KEPT_MONTHS", 3)
    for month in (1, 2, 3, 4):
        for day in (5, 6, 6):
            await run(store, attempt(ended=datetime(2026, month, day, tzinfo=UTC)), left=10)
    assert await rows(store, "2026-01") == []
    february = await only(store, "2026-02")
    assert (february.jobs, february.seconds, february.artifact_bytes) == (3, 180, 30)
    for days, field in (
        ({"since": "2026-02-06", "until": "2026-03-01"}, "from"),
        ({"since": "2026-01-01", "until": "2026-02-06"}, "to"),
    ):
        with pytest.raises(AgentError) as refused:
            await rows(store, "2026-02", **days)
        assert [each.field for each in refused.value.fields] == [field]
    assert (await only(store, "2026-03", since="2026-03-06", until="2026-04-01")).jobs == 2
    assert await store.database.run(lambda db: db.execute("SELECT count(*) FROM usage").fetchone()) == (5,)


async def test_what_comes_late_counts_for_a_month_that_is_summed_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "DAY_MONTHS", 1)
    job = await run(store, attempt())
    await run(store, attempt(ended=datetime(2026, 7, 1, tzinfo=UTC)))
    await store.jobs.mark_archived(job.job_id, used={1: Consumption(4, None)})
    await run(store, attempt(ended=datetime(2026, 5, 31, tzinfo=UTC)))
    row = await only(store)
    assert (row.jobs, row.measured_attempts, row.cpu_seconds) == (2, 1, 4)


async def test_a_clock_that_leaps_removes_no_month(store: Store) -> None:
    await run(store, attempt())
    await run(store, attempt(ended=datetime(2099, 1, 1, tzinfo=UTC)))
    assert (await only(store, since="2026-05-10", until="2026-05-11")).jobs == 1
    assert (await only(store, "2099-01")).jobs == 1


async def test_the_ledger_outlives_records_and_agents(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "jobs.db") as store:
        await run(store, attempt())
        await store.database.run(lambda db: db.execute("DELETE FROM jobs"))
    async with Store.open(tmp_path / "jobs.db") as store:
        assert (await only(store)).jobs == 1


def database_before_the_ledger(path: Path) -> sqlite3.Connection:
    """A store with the schema before it."""
    version = MIGRATIONS.index(USAGE)
    db = sqlite3.connect(path)
    for script in MIGRATIONS[:version]:
        db.executescript(script)
    db.execute(f"PRAGMA user_version = {version}")
    return db


async def test_attempts_on_record_are_entered_once_by_the_migration(tmp_path: Path) -> None:
    retried = {"attempts": [attempt(1), attempt(2)], "attempt": 2, "finished_at": MAY}
    jobs = [
        make_job(status=JobState.COMPLETED, labels={"team": "red"}, **retried),
        make_job(status=JobState.FAILED, started_at=MAY - timedelta(minutes=1), finished_at=MAY),
        make_job(status=JobState.PENDING, attempts=[attempt(1)], attempt=2),
        make_job(status=JobState.CANCELLED, finished_at=MAY),  # which never ran
        make_job(status=JobState.COMPLETED, attempts=[attempt(1)], finished_at=MAY, owner="bob"),
    ]
    with closing(database_before_the_ledger(tmp_path / "jobs.db")) as db:
        for job in jobs:
            db.execute(
                "INSERT INTO jobs (id, prefix, owner, script, status, active, document, cpu_seconds,"
                " memory_peak_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, 2.5, ?)",
                (
                    job.job_id,
                    job.job_id[:8],
                    job.owner,
                    job.script_name,
                    job.status,
                    not job.status.terminal,
                    job.model_copy(update={"limits": Limits(memory_bytes=GIB)}).model_dump_json(
                        exclude_none=True
                    ),
                    GIB,
                ),
            )
        db.execute("INSERT INTO unarchived VALUES (?)", (jobs[4].job_id,))
        db.commit()
    for _ in range(2):
        async with Store.open(tmp_path / "jobs.db") as store:
            alice, bob = await rows(store)
            assert (alice.jobs, alice.attempts, alice.measured_attempts) == (3, 4, 2)
            assert (alice.seconds, alice.cpu_seconds, alice.memory_peak_bytes) == (240, 5, GIB)
            assert alice.memory_gib_hours == pytest.approx(240 / 3600, abs=0.001)
            assert alice.artifact_bytes == 0  # of attempts that were followed by another one
            assert (bob.jobs, bob.measured_attempts, bob.artifact_bytes) == (1, 0, None)
            assert [row.jobs for row in await rows(store, by=UsageKey.LABEL)] == [1]
    async with Store.open(tmp_path / "jobs.db") as store:
        await store.jobs.mark_archived(jobs[4].job_id, used={1: Consumption(9, GIB)})
        waiting = await store.jobs.get(jobs[2].job_id)
        assert waiting is not None
        ended = {"attempts": [attempt(1), attempt(2)], "status": JobState.COMPLETED, "revision": 2}
        assert await store.jobs.update(waiting.model_copy(update=ended))
        alice, bob = await rows(store)
    assert (alice.jobs, alice.attempts, bob.cpu_seconds) == (3, 5, 9)


async def test_the_migration_keeps_to_the_bounds(tmp_path: Path) -> None:
    with closing(database_before_the_ledger(tmp_path / "jobs.db")) as db:
        for number in range(usage.MAX_NAMES + 5):
            ended = datetime(2026 - number % 5, 3, 7, tzinfo=UTC)
            fields: dict[str, Any] = {"labels": {"n": str(number), "m": str(number)}}
            ended_job = {"status": JobState.COMPLETED, "finished_at": ended}
            for each in (attempt(ended=ended), attempt(ended=MAY)):
                job = make_job(script_name=f"{number}.py", attempts=[each], **fields, **ended_job)
                db.execute(
                    "INSERT INTO jobs (id, prefix, owner, script, status, active, document)"
                    " VALUES (?, ?, 'alice', ?, 'COMPLETED', 0, ?)",
                    (job.job_id, job.job_id[:8], job.script_name, job.model_dump_json(exclude_none=True)),
                )
        db.commit()
    async with Store.open(tmp_path / "jobs.db") as store:
        scripts, labels = await rows(store, by=UsageKey.SCRIPT), await rows(store, by=UsageKey.LABEL)
        assert (len(scripts), len(labels)) == (usage.MAX_NAMES + 1, usage.MAX_NAMES + 1)
        assert sum(row.attempts for row in scripts) == usage.MAX_NAMES + 5
        assert scripts[0].script_name is None
        with pytest.raises(AgentError):
            await rows(store, "2022-03", since="2022-03-02", until="2022-04-01")
        assert (await only(store, "2022-03")).attempts > 0


DEEDS = ("add", "attempt", "end", "cancel", "archive", "archive", "remove", "stale", "reopen")
Deed = tuple[str, int, int, str]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(DEEDS), st.integers(0, 3), st.integers(0, 70), st.sampled_from(("alice", "bob"))
        ),
        max_size=40,
    )
)
def test_the_ledger_has_the_sum_of_what_was_run_whatever_becomes_of_jobs(history: list[Deed]) -> None:
    async def live() -> None:
        with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
            patch.setattr(usage, "MAX_NAMES", 2)
            patch.setattr(usage, "DAY_MONTHS", 1)
            told = Told([], Counter())
            for part in split(history):
                async with Store.open(Path(directory) / "jobs.db") as store:
                    for deed, number, size, owner in part:
                        await do(store, told, deed, number, size, owner)
                        for by in (UsageKey.USER, UsageKey.SCRIPT):
                            assert await summed(store, by) == told.sums

    asyncio.run(live())


@dataclass
class Told:
    """What a history has done so far: its jobs, and the sums that it must come to."""

    jobs: list[str]
    sums: Counter[str]


def split(history: list[Deed]) -> list[list[Deed]]:
    """The history of each agent: one is followed by another."""
    parts: list[list[Deed]] = [[]]
    for each in history:
        if each[0] == "reopen":
            parts.append([])
        else:
            parts[-1].append(each)
    return parts


async def summed(store: Store, by: UsageKey) -> Counter[str]:
    found: Counter[str] = Counter()
    for month in range(1, 6):
        for row in await rows(store, f"2026-0{month}", by=by):
            names = ("jobs", "attempts", "measured_attempts", "seconds", "cpu_seconds", "artifact_bytes")
            found.update({name: round(getattr(row, name) or 0) for name in names})
    return +found


async def do(store: Store, told: Told, deed: str, number: int, size: int, owner: str) -> None:
    """One deed, where it is possible, with one of the jobs; `size` makes the figures."""
    if deed == "add":
        fields: dict[str, Any] = {"script_name": f"{size % 5}.py", "labels": {"n": str(size)}}
        told.jobs.append((await store.jobs.add(make_job(owner, **fields), max_waiting=1000)).job_id)
        return
    job = await store.jobs.get(told.jobs[number]) if number < len(told.jobs) else None
    if job is None:
        return
    match deed:
        case "archive":
            waiting = {each.job_id for each in await store.jobs.unarchived()}
            known = {each.number: Consumption(size, size) for each in job.attempts}
            await store.jobs.mark_archived(job.job_id, used=known)
            if job.job_id in waiting:
                told.sums += Counter(measured_attempts=len(known), cpu_seconds=len(known) * size)
        case "remove":
            await store.retention.remove_jobs([job.job_id])
        case "stale":
            late = job.model_copy(update={"attempts": [*job.attempts, attempt(9)]})
            assert not await store.jobs.update(late, left=size)
        case _ if not job.status.terminal:
            await proceed(store, told, job, deed, size)


async def proceed(store: Store, told: Told, job: Job, deed: str, size: int) -> None:
    """The next revision: another attempt is over, and maybe the job; or it ends while it waits."""
    update: dict[str, Any] = {"revision": job.revision + 1}
    if deed in ("end", "cancel"):
        update |= {"status": JobState.CANCELLED if deed == "cancel" else JobState.FAILED, "finished_at": MAY}
    if deed != "cancel":
        over = attempt(
            len(job.attempts) + 1, ended=datetime(2026, 1 + size % 5, 1 + size % 28, tzinfo=UTC), seconds=size
        )
        update["attempts"] = [*job.attempts, over]
        told.sums += Counter(jobs=int(over.number == 1), attempts=1, seconds=size)
        told.sums += Counter(artifact_bytes=size if deed == "end" else 0)
    assert await store.jobs.update(job.model_copy(update=update), left=size)
