"""What jobs report: read on from question to question, followed once for all, and stored when they end."""

import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.logs import metrics_reader
from agent.logs.job_log import JobLogs
from agent.logs.journal import Journal
from agent.logs.lines import Batches, Item, Line, LineNumbering
from agent.logs.metrics import Collector
from agent.logs.metrics_reader import MetricsReader, collected, write_metrics
from agent.model.base import now
from agent.model.job import Attempt, Job, JobState
from agent.model.log import LogSource, LogStream
from tests.support.jobs import make_job, paths_below
from tests.support.waiting import until


def mark(value: float) -> str:
    return "::metric " + json.dumps({"name": "loss", "value": value})


class PrintedLines(Journal):
    """A journal with the lines of one unit, which counts how many were handed out."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.texts = list(texts)
        self.handed_out = 0
        self.followers = 0
        self.failures: list[Exception] = []

    async def short(self, unit: str, numbering: LineNumbering) -> list[Item] | None:
        return None

    async def history(self, unit: str, numbering: LineNumbering, *, last: str = "") -> Batches:
        for number in range(numbering.position.number + 1, len(self.texts) + 1):
            line = Line(number, 1767225600123, LogSource.JOB, self.texts[number - 1].encode(), f"c{number}")
            numbering.go_to(line.position)
            self.handed_out += 1
            yield [line]

    async def follow(
        self,
        unit: str,
        numbering: LineNumbering,
        ended: Callable[[], Coroutine[Any, Any, bool]],
        *,
        unborn: Callable[[], Awaitable[bool]] | None = None,
    ) -> Batches:
        self.followers += 1
        if self.failures:
            raise self.failures.pop()
        async for items in self.history(unit, numbering):
            yield items
        await ended()


class OneRecord:
    """A record of one job, whose end a test brings about."""

    def __init__(self, job: Job) -> None:
        self.job = job

    async def get(self, job_id: str) -> Job:
        return self.job

    async def ended(self, job: Job) -> Job:
        await until(lambda: self.job.status.terminal)
        return self.job


def reader(journal: Journal, records: OneRecord, directory: Path) -> MetricsReader:
    paths_of = paths_below(directory)
    return MetricsReader(JobLogs(journal, records.get, records.ended, paths_of), paths_of)


async def losses(metrics: MetricsReader, job: Job) -> list[float]:
    """The values of the one series; empty if there is none."""
    return [point.value for series in (await metrics.metrics(job)).series for point in series.points]


async def test_a_question_reads_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    job = make_job(status=JobState.RUNNING)
    journal = PrintedLines(mark(1), "a line", mark(2))
    metrics = reader(journal, OneRecord(job), tmp_path)
    assert await losses(metrics, job) == [1, 2]
    journal.texts.append(mark(3))
    assert await losses(metrics, job) == [1, 2, 3]
    assert journal.handed_out == 4


@pytest.mark.parametrize(("attempts", "expected"), [(0, []), (1, [1])])
async def test_a_waiting_job_is_read_only_if_it_had_an_attempt(
    tmp_path: Path, attempts: int, expected: list[float]
) -> None:
    job = make_job(attempts=[Attempt(number=1, finished_at=now())] * attempts)
    assert await losses(reader(PrintedLines(mark(1)), OneRecord(job), tmp_path), job) == expected


async def test_stored_metrics_of_an_ended_job_count_unless_they_are_damaged(tmp_path: Path) -> None:
    job = make_job(status=JobState.COMPLETED, finished_at=now())
    path = paths_below(tmp_path)(job.job_id).metrics
    path.parent.mkdir()
    stored = Collector()
    stored.add(mark(7).encode(), 1767225600123, 1)
    write_metrics(path, stored.metrics(job.job_id, complete=True))
    assert await losses(reader(PrintedLines(mark(1)), OneRecord(job), tmp_path), job) == [7]
    path.write_text("")
    assert await losses(reader(PrintedLines(mark(1)), OneRecord(job), tmp_path), job) == [1]


async def test_a_log_is_followed_once_for_all_and_tried_again_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metrics_reader, "RETRY_DELAY", 0.01)
    job = make_job(status=JobState.RUNNING)
    records, journal = OneRecord(job), PrintedLines()
    journal.failures.append(AgentError(Problem.HOST, "no"))
    metrics = reader(journal, records, tmp_path)
    async with metrics.followed(job) as one, metrics.followed(job) as other:
        assert one is other
        await until(lambda: journal.followers == 2)
        assert "cannot be followed now: no" in caplog.text
        records.job = job.model_copy(update={"status": JobState.COMPLETED})
    assert await losses(metrics, job) == []


async def test_the_rest_of_a_cut_line_is_not_a_mark() -> None:
    async def lines() -> Batches:
        cut = Line(1, 1767225600123, LogSource.JOB, b"a long line", "c1", continued=True)
        rest = Line(2, 1767225600123, LogSource.JOB, mark(1).encode(), "c2")
        system = Line(3, 1767225600123, LogSource.SYSTEM, mark(2).encode(), "c3")
        yield [cut, rest, system, Line(4, 1767225600123, LogSource.JOB, mark(3).encode(), "c4")]

    assert await values_in(lines()) == [3]


async def test_a_cut_line_of_one_stream_hides_no_mark_of_the_other() -> None:
    def line(number: int, text: str, stream: LogStream, *, continued: bool = False) -> Line:
        cursor = f"c{number}"
        return Line(number, 1767225600123, LogSource.JOB, text.encode(), cursor, continued, stream)

    async def lines() -> Batches:
        yield [line(1, "a long bar", LogStream.STDERR, continued=True), line(2, mark(1), LogStream.STDOUT)]
        yield [line(3, mark(2), LogStream.STDERR), line(4, mark(3), LogStream.STDERR)]
        yield [line(5, "a long line", LogStream.STDOUT, continued=True), line(6, "x", LogStream.STDERR)]
        yield [line(7, mark(4), LogStream.STDOUT), line(8, mark(5), LogStream.STDOUT)]

    assert await values_in(lines()) == [1, 3, 5]


async def values_in(lines: Batches) -> list[float]:
    """The metric's values that are collected while all items are passed on."""
    collector = Collector()
    passed_on = [item for items in [each async for each in collected(lines, collector)] for item in items]
    assert [item.position.number for item in passed_on] == list(range(1, len(passed_on) + 1))
    return [point.value for point in collector.series()[0].points]
