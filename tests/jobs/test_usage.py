"""The ledger beside a job's way: an attempt is entered once, wherever an agent dies, and retention leaves it.

A step is a transaction of the store, as in `tests.sweeps.test_kills`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from agent.config import Settings
from agent.host.tasks import background
from agent.logs import archiver, job_log
from agent.logs.archiver import Archiver
from agent.logs.journal import Journal
from agent.logs.lines import Item, Line, LineNumbering
from agent.model.base import now
from agent.model.comparison import NOT_KNOWN, Consumption
from agent.model.job import Job, JobRequest, JobState, Reason
from agent.model.log import LogSource
from agent.model.usage import UsageKey, UsageRow, period
from agent.service import JobParts
from agent.store.store import Store
from agent.usage.ledger import Ledger
from tests.support.git_repository import commit
from tests.support.job_host import real_host
from tests.support.job_scene import FAILURE, Scene, driving, end_of
from tests.support.killing import killed_in
from tests.support.small_site import make_repository, make_settings, with_jobs
from tests.support.waiting import until

FIRST, SECOND = "a" * 32, "b" * 32
USED = {FIRST: Consumption(1.5, 2**20), SECOND: Consumption(2.0, None)}


class MeasuringJournal(Journal):
    """One line of every unit, and what systemd counted of two invocations."""

    async def short(self, unit: str, numbering: LineNumbering) -> list[Item] | None:
        return [Line(1, 1767225600123, LogSource.JOB, b"hello", "c")]

    async def history(self, unit: str, numbering: LineNumbering) -> AsyncGenerator[list[Item]]:
        yield []

    async def consumption(self, unit: str, invocation_id: str | None) -> Consumption:
        return USED.get(invocation_id or "", NOT_KNOWN)


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiver, "DELAY", 0.0)
    for name in ("SETTLING", "SETTLING_UNCLOSED"):
        monkeypatch.setattr(job_log, name, timedelta())


@contextlib.asynccontextmanager
async def agent(scene: Scene) -> AsyncIterator[tuple[JobParts, Archiver]]:
    """An agent at work: it drives jobs, whose attempts fail and then succeed, and archives their logs."""
    jobs = scene.jobs()
    archives = Archiver(scene.store.jobs, MeasuringJournal(), scene.settings.paths_of)
    jobs.registry.on_end.append(archives.add)
    await archives.load()
    async with driving(jobs), background(archives.run()), background(end_units(scene, jobs)):
        yield jobs, archives


async def end_units(scene: Scene, jobs: JobParts) -> None:
    """Ends each unit that was started, as its script does, with 3000 bytes of artifacts."""
    while True:
        for active in list(jobs.registry.all_active()):
            job, started = active.job, scene.units.started.count(active.job.unit)
            if job.status is JobState.PENDING or started < 1 or scene.attempt(job).mark("ended").exists():
                continue
            artifacts = scene.attempt(job).artifacts
            artifacts.mkdir(parents=True, exist_ok=True)
            (artifacts / "model.bin").write_bytes(b"x" * 3000)
            last = job.attempt == job.max_attempts
            scene.ends(jobs, job, "success exited 0" if last else FAILURE, SECOND if last else FIRST)
        await asyncio.sleep(0.005)


async def used(store: Store, by: UsageKey = UsageKey.USER) -> list[UsageRow]:
    """The ledger of today and, at midnight, yesterday."""
    today = now().date()
    asked = period(str(today - timedelta(days=1)), None, today)
    return (await Ledger(store.usage).report(asked, by=by, owner=None)).rows


REQUEST = JobRequest(
    script_name="succeed.py", max_attempts=2, retry_on=[Reason.EXIT_CODE], labels={"team": "red"}
)


async def driven(scene: Scene, *, kill_at: int, after: bool) -> bool:
    """Submits a job, or does so again, and drives it until its log is archived. Whether the agent died."""
    database = scene.store.database

    async def work() -> None:
        async with agent(scene) as (jobs, archives):
            job = await jobs.submission.submit("alice", REQUEST, idempotency_key="once")
            await end_of(jobs, job, seconds=100)
            await until(lambda: archives.idle, seconds=100)

    return await killed_in(database, work, kill_at, after=after)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_kill_at_any_step_enters_each_attempt_once(tmp_path: Path, after: bool) -> None:
    make_repository(tmp_path / "repository")
    step, killed = 0, True
    while killed:
        step += 1
        settings = make_settings(
            tmp_path / str(step), runtime=tmp_path / str(step) / "run", repository=tmp_path / "repository"
        )
        async with Store.open(settings.database) as store:
            scene = Scene(with_jobs(settings, retry_delay_seconds=0.01), store)
            killed = await driven(scene, kill_at=step, after=after)
            if killed:
                assert not await driven(scene, kill_at=0, after=False)
            for by in UsageKey:
                rows = await used(store, by)
                assert sum(row.jobs for row in rows) == 1, (step, by)
                assert [(row.attempts, row.measured_attempts) for row in rows] in ([(2, 2)], [(1, 1)] * 2)
                assert sum(row.cpu_seconds or 0 for row in rows) == 3.5
                assert 3000 <= sum(row.artifact_bytes or 0 for row in rows) < 10_000
                assert {row.memory_peak_bytes for row in rows} <= {2**20, None}
    assert step > 8


async def ended_jobs(scene: Scene) -> list[Job]:
    """Jobs that ended in each of the ways that there are."""
    requests = [REQUEST.model_copy(update={"max_attempts": number}) for number in (1, 2, 3)]
    async with agent(scene) as (jobs, archives):
        submitted = [await jobs.submission.submit("alice", each) for each in requests]
        cancelled = await jobs.submission.submit("bob", REQUEST)
        await jobs.registry.cancel(cancelled.job_id)
        found = [await end_of(jobs, job, seconds=100) for job in (*submitted, cancelled)]
        await until(lambda: archives.idle, seconds=100)
    return found


async def test_retention_leaves_the_ledger_alone(scene: Scene) -> None:
    scene.settings = with_jobs(scene.settings, retry_delay_seconds=0.01)
    jobs = await ended_jobs(scene)
    before = await used(scene.store), await used(scene.store, UsageKey.LABEL)
    attempts = sum(len(job.attempts) for job in jobs)
    assert sum(row.attempts for row in before[0]) == attempts
    assert sum(row.jobs for row in before[0]) == sum(bool(job.attempts) for job in jobs)
    ids = [job.job_id for job in jobs]
    await scene.store.retention.record_sizes(dict.fromkeys(ids, (1, 1)), ages_from=1.0)
    removed = await scene.store.retention.remove_jobs(ids)
    assert set(removed) == set(ids)
    assert (await scene.store.jobs.page()).jobs == []
    assert (await used(scene.store), await used(scene.store, UsageKey.LABEL)) == before


BURN = "i=0; while [ $i -lt 1500000 ]; do i=$((i+1)); done; echo done > /artifacts/result.txt"


@pytest.mark.host
async def test_what_systemd_counts_of_a_job_reaches_the_ledger(host_settings: Settings) -> None:
    repository = host_settings.scripts.repository
    (repository / "scripts/burn.py").write_text(BURN)
    commit(repository, "Burn some time")
    async with real_host(host_settings) as host, Store.open(host_settings.database) as store:
        archives = Archiver(store.jobs, Journal(), host_settings.paths_of)
        burnt = await host.end_of(await host.submit("burn.py", labels={"team": "red"}))
        failed = await host.end_of(await host.submit("fail.py"))
        for each in (burnt, failed):
            await archives.archive(each)
        by_script = {row.script_name: row for row in await used(store, UsageKey.SCRIPT)}
        (label,) = await used(store, UsageKey.LABEL)
    row = by_script["burn.py"]
    assert (burnt.status, row.jobs, row.attempts, row.measured_attempts) == (JobState.COMPLETED, 1, 1, 1)
    assert row.cpu_seconds is not None
    assert 1 <= row.cpu_seconds <= 60
    assert row.seconds == round((burnt.finished_at - burnt.started_at).total_seconds(), 3)  # type: ignore[operator]
    assert row.artifact_bytes is not None
    assert row.artifact_bytes > 0
    assert label.model_dump(exclude={"label"}) == row.model_copy(update={"script_name": None}).model_dump(
        exclude={"label"}
    )
    # systemd does not tell what a job used that used little.
    row = by_script["fail.py"]
    assert (failed.reason, row.attempts, row.measured_attempts, row.cpu_seconds) == ("exit-code", 1, 0, None)
