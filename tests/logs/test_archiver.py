"""Which logs are archived, when, and what an agent that dies leaves to the next one."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.logs import archive, archiver, job_log
from agent.logs.archiver import Archiver
from agent.logs.journal import Journal
from agent.logs.lines import Item, Line, LineNumbering, Position
from agent.model.base import now
from agent.model.comparison import NOT_KNOWN, Consumption, MetricSummary
from agent.model.job import Job, JobState
from agent.model.log import LogSource
from agent.store.store import Store
from tests.support.jobs import make_job, paths_below
from tests.support.waiting import until


class StandInJournal(Journal):
    """Three lines of every unit, or a failure."""

    fails: Exception | None = None

    async def short(self, unit: str, numbering: LineNumbering) -> list[Item] | None:
        return None

    async def history(self, unit: str, numbering: LineNumbering) -> AsyncGenerator[list[Item]]:
        for number in range(1, 4):
            yield [Line(number, 1767225600123, LogSource.JOB, unit.encode(), "c")]
            if self.fails:
                raise self.fails


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiver, "DELAY", 0.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "jobs.db") as store:
        yield store


async def ended_job(store: Store, directory: Path, *, began: bool = True) -> Job:
    """A job that has ended, as `Jobs` leaves it."""
    job = make_job(status=JobState.RUNNING)
    await store.jobs.add(job, max_waiting=1000)
    ended = job.model_copy(update={"status": JobState.COMPLETED, "finished_at": now(), "revision": 2})
    assert await store.jobs.update(ended)
    if began:
        (directory / job.job_id).mkdir(parents=True)
    return ended


@contextlib.asynccontextmanager
async def at_work(one: Archiver) -> AsyncIterator[None]:
    await one.load()
    task = asyncio.create_task(one.run())

    try:
        yield
        await until(lambda: one.idle)
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def kept(file: Path) -> list[str]:
    batches = archive.read(file, Position())
    return [item.text.decode() async for items in batches for item in items if isinstance(item, Line)]


async def test_what_an_earlier_agent_left_is_archived(store: Store, tmp_path: Path) -> None:
    job = await ended_job(store, tmp_path / "jobs")
    assert await store.jobs.unarchived() == [job]
    async with at_work(Archiver(store.jobs, StandInJournal(), paths_below(tmp_path / "jobs"))):
        pass
    assert await kept(paths_below(tmp_path / "jobs")(job.job_id).log) == [job.unit] * 3
    assert await store.jobs.unarchived() == []


async def test_a_short_log_is_read_at_once(store: Store, tmp_path: Path) -> None:
    class Short(StandInJournal):
        async def short(self, unit: str, numbering: LineNumbering) -> list[Item] | None:
            return [Line(1, 1767225600123, LogSource.JOB, b"short", "c")]

    job = await ended_job(store, tmp_path / "jobs")
    async with at_work(Archiver(store.jobs, Short(), paths_below(tmp_path / "jobs"))):
        pass
    assert await kept(paths_below(tmp_path / "jobs")(job.job_id).log) == ["short"]


async def test_what_a_job_reported_and_used_is_recorded(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = [b'::metric {"name": "auc", "value": %s}' % value for value in (b"0.5", b"0.25")]

    class Reporting(StandInJournal):
        async def history(self, unit: str, numbering: LineNumbering) -> AsyncGenerator[list[Item]]:
            yield [Line(n, 1767225600123, LogSource.JOB, text, "c") for n, text in enumerate(marks, start=1)]

        async def consumption(self, unit: str, invocation_id: str | None) -> Consumption:
            return Consumption(1.5, 2**30)

    job = await ended_job(store, tmp_path / "jobs")
    silent = await ended_job(store, tmp_path / "jobs", began=False)
    async with at_work(Archiver(store.jobs, Reporting(), paths_below(tmp_path / "jobs"))):
        pass
    known, nothing = await store.summaries.jobs([job.job_id, silent.job_id])
    assert known.metrics == {"auc": MetricSummary(count=2, last=0.25, min=0.25, max=0.5)}
    assert known.consumption == Consumption(1.5, 2**30)
    assert (nothing.metrics, nothing.consumption) == ({}, NOT_KNOWN)


async def test_a_job_that_ends_now_is_archived_and_the_archiver_is_not_idle_before(
    store: Store, tmp_path: Path
) -> None:
    one = Archiver(store.jobs, StandInJournal(), paths_below(tmp_path / "jobs"))
    async with at_work(one):
        job = await ended_job(store, tmp_path / "jobs")
        one.add(job)
        assert not one.idle
    assert (paths_below(tmp_path / "jobs")(job.job_id).log).exists()


async def test_a_job_that_never_started_has_no_log(store: Store, tmp_path: Path) -> None:
    await ended_job(store, tmp_path / "jobs", began=False)
    async with at_work(Archiver(store.jobs, StandInJournal(), paths_below(tmp_path / "jobs"))):
        pass
    assert not (tmp_path / "jobs").exists()
    assert await store.jobs.unarchived() == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), AgentError(Problem.HOST, "no")])
async def test_a_log_that_cannot_be_archived_is_left_to_the_next_agent(
    store: Store, tmp_path: Path, error: Exception
) -> None:
    job = await ended_job(store, tmp_path / "jobs")
    journal = StandInJournal()
    journal.fails = error
    async with at_work(Archiver(store.jobs, journal, paths_below(tmp_path / "jobs"))):
        pass
    assert list((tmp_path / "jobs" / job.job_id).iterdir()) == []
    async with at_work(Archiver(store.jobs, StandInJournal(), paths_below(tmp_path / "jobs"))):
        pass
    assert await store.jobs.unarchived() == []


async def test_a_log_that_was_archived_before_the_agent_died_is_not_read_again(
    store: Store, tmp_path: Path
) -> None:
    job = await ended_job(store, tmp_path / "jobs")
    file = paths_below(tmp_path / "jobs")(job.job_id).log
    file.write_bytes(b"kept")
    async with at_work(Archiver(store.jobs, StandInJournal(), paths_below(tmp_path / "jobs"))):
        pass
    assert file.read_bytes() == b"kept"
    assert await store.jobs.unarchived() == []


class BusyJournal(StandInJournal):
    """The closing entry, and the line before it, come when one waits for them."""

    waited_for: bool = False

    async def rest(self, unit: str, numbering: LineNumbering) -> AsyncGenerator[list[Item]]:
        self.waited_for = True
        yield [Line(4, 1767225600123, LogSource.JOB, b"the last one", "d")]


async def test_a_log_without_its_closing_entry_is_waited_for(store: Store, tmp_path: Path) -> None:
    settled = now() - job_log.SETTLING
    job = (await ended_job(store, tmp_path)).model_copy(
        update={"invocation_id": "0" * 32, "finished_at": settled}
    )
    await Archiver(store.jobs, BusyJournal(), paths_below(tmp_path)).archive(job)
    assert await kept(paths_below(tmp_path)(job.job_id).log) == [job.unit] * 3 + ["the last one"]


async def test_a_closing_entry_that_is_long_gone_is_not_waited_for(store: Store, tmp_path: Path) -> None:
    ended = await ended_job(store, tmp_path)
    long_ago = now() - job_log.SETTLING_UNCLOSED
    job = ended.model_copy(update={"invocation_id": "0" * 32, "finished_at": long_ago})
    journal = BusyJournal()
    await Archiver(store.jobs, journal, paths_below(tmp_path)).archive(job)
    assert not journal.waited_for
