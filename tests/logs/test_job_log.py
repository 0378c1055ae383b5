"""Where a job's log is read from, and how long a reader waits for its last lines."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.logs import archive, job_log
from agent.logs.job_log import SETTLING, SETTLING_UNCLOSED, JobLogs, read_journal
from agent.logs.journal import Journal
from agent.logs.lines import Batches, Item, Line, LineNumbering, Position
from agent.model.base import now
from agent.model.job import Job, JobState, Removal, RetentionRule
from agent.model.log import LogSource
from tests.support.jobs import make_job, paths_below

ID = "0" * 32
CURSOR = f"s={'a' * 32};i=1;b={'0' * 32};m=1;t=2;x=3"


def line(number: int, text: str, source: LogSource = LogSource.JOB) -> Line:
    return Line(number, 1767225600123, source, text.encode(), CURSOR)


class WaysToRead(Journal):
    """A journal in which each way to read it yields one line: the name of that way."""

    def __init__(self, *, closed: bool = True) -> None:
        super().__init__()
        self.closed = closed
        self.unborn = False

    async def history(self, unit: str, numbering: LineNumbering, *, last: str = "") -> Batches:
        numbering.closed = self.closed
        yield [line(1, f"history up to {last}" if last else "history")]

    async def short(self, unit: str, numbering: LineNumbering) -> list[Item] | None:
        numbering.closed = self.closed
        return [line(1, "short")]

    async def rest(self, unit: str, numbering: LineNumbering) -> Batches:
        yield [line(2, "rest")]

    async def unclosed(self, unit: str, numbering: LineNumbering) -> list[Item]:
        return [line(2, "unclosed")]

    async def follow(
        self,
        unit: str,
        numbering: LineNumbering,
        ended: Callable[[], Coroutine[Any, Any, bool]],
        *,
        unborn: Callable[[], Awaitable[bool]] | None = None,
    ) -> Batches:
        assert unborn
        yield [
            line(1, "unborn" if await unborn() else "born"),
            line(2, "ran" if await ended() else "never ran"),
        ]

    @contextlib.asynccontextmanager
    async def newest_cut(self, unit: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
        async def find() -> str:
            return CURSOR

        yield find

    async def output(self, unit: str, after: str) -> AsyncGenerator[bytes]:
        yield f"output after {after}".encode()


class CutMeanwhile(Journal):
    """A journal to which a line is added at each look, and then one that journald cuts after `cut` looks."""

    def __init__(self, before: list[str], cut: int) -> None:
        super().__init__()
        self.texts = list(before)
        self._left = cut

    @contextlib.asynccontextmanager
    async def newest_cut(self, unit: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
        async def find() -> str:
            self._left -= 1
            if self._left == 0:
                self.texts += ["cut>", "rest"]
            else:
                self.texts.append("more")
            cuts = [number for number, text in enumerate(self.texts, 1) if text.endswith(">")]
            return str(cuts[-1]) if cuts else ""

        yield find

    async def output(self, unit: str, after: str) -> AsyncGenerator[bytes]:
        number = int(after or 0)
        while number < min(len(self.texts), 30):
            yield f"{self.texts[number]}\n".encode()
            number += 1

    async def history(self, unit: str, numbering: LineNumbering, *, last: str = "") -> Batches:
        texts = self.texts[: int(last) if last else 30]
        for number, text in enumerate(texts, 1):
            if number > int(numbering.position.cursor or 0):
                yield [line(number, text)._replace(continued=text.endswith(">"))]


class OneRecord:
    """A record of one job, and a change feed that tells its last revision."""

    def __init__(self, job: Job, last: Job | None = None) -> None:
        self.job = job
        self._last = last

    async def get(self, job_id: str) -> Job:
        assert job_id == self.job.job_id
        return self.job

    async def ended(self, job: Job) -> Job:
        assert self._last
        return self._last

    def logs(self, directory: Path) -> JobLogs:
        return JobLogs(WaysToRead(), self.get, self.ended, paths_below(directory))


async def texts(batches: AsyncIterator[list[Item]]) -> list[str]:
    return [item.text.decode() async for items in batches for item in items if isinstance(item, Line)]


def ended_job(ago: timedelta = timedelta(hours=1), **fields: object) -> Job:
    usual = {"status": JobState.COMPLETED, "finished_at": now() - ago, "invocation_id": ID}
    return make_job(**(usual | fields))


@pytest.mark.parametrize(
    ("ago", "fields", "closed", "ways"),
    [
        (None, {"status": JobState.RUNNING}, False, ["history"]),
        (timedelta(seconds=1), {"invocation_id": None}, False, ["history"]),
        (timedelta(seconds=1), {}, True, ["rest"]),
        (SETTLING, {}, True, ["history", "unclosed"]),
        (SETTLING, {}, False, ["history", "rest"]),
        (SETTLING_UNCLOSED, {}, False, ["history", "unclosed"]),
        (None, {}, False, ["history", "unclosed"]),
    ],
    ids=["runs", "never-ran", "just-ended", "closed", "not-closed-yet", "never-closed", "no-end"],
)
async def test_the_journal_is_waited_for_while_it_may_still_write(
    ago: timedelta | None, fields: dict[str, object], closed: bool, ways: list[str]
) -> None:
    job = ended_job(**({"finished_at": None if ago is None else now() - ago} | fields))
    assert await texts(read_journal(WaysToRead(closed=closed), job, LineNumbering(Position()))) == ways


@pytest.mark.parametrize(("closed", "ways"), [(True, ["short", "unclosed"]), (False, ["short", "rest"])])
async def test_a_short_log_is_read_at_once_and_completed(closed: bool, ways: list[str]) -> None:
    batches = read_journal(
        WaysToRead(closed=closed), ended_job(SETTLING), LineNumbering(Position()), at_once=True
    )
    assert await texts(batches) == ways


async def archived(directory: Path, job: Job, *lines: Line) -> None:
    async def batches() -> AsyncIterator[list[Item]]:
        yield list(lines)

    paths = paths_below(directory)(job.job_id)
    paths.directory.mkdir()
    await archive.write(paths.log, batches())


async def test_an_archived_log_is_read_from_its_file_and_continued_there(tmp_path: Path) -> None:
    job = ended_job()
    await archived(tmp_path, job, line(1, "one"), line(2, "two"), line(3, "three"))
    logs = OneRecord(job).logs(tmp_path)
    log = await logs.reader(job, Position(1, CURSOR))
    assert await texts(log.history()) == ["two", "three"]
    assert await texts(log.history()) == []
    assert await texts((await logs.reader(job, Position())).follow()) == ["one", "two", "three"]


async def test_the_file_of_a_job_that_is_tried_again_is_not_its_log(tmp_path: Path) -> None:
    job = make_job(status=JobState.RUNNING)
    await archived(tmp_path, job, line(1, "one"))
    log = await OneRecord(job).logs(tmp_path).reader(job, Position())
    assert await texts(log.history()) == ["history"]


async def test_a_log_that_retention_removed_is_not_looked_for_in_the_journal(tmp_path: Path) -> None:
    job = ended_job()
    records = OneRecord(job)
    logs = records.logs(tmp_path)
    log = await logs.reader(job, Position())
    records.job = job.model_copy(update={"removed": Removal(at=now(), rule=RetentionRule.AGE)})
    for read in (logs.reader(job, Position()), texts(log.history())):
        with pytest.raises(AgentError) as caught:
            await read
        assert caught.value.problem is Problem.REMOVED_BY_RETENTION


@pytest.mark.parametrize(
    ("fields", "after", "seen"),
    [
        ({}, Position(), "unborn"),
        ({}, Position(1, CURSOR), "born"),
        ({"status": JobState.RUNNING}, Position(), "born"),
    ],
)
async def test_a_follower_reads_the_journal_first_unless_the_job_has_not_begun(
    tmp_path: Path, fields: dict[str, object], after: Position, seen: str
) -> None:
    job = make_job(**fields)
    log = await OneRecord(job, ended_job(job_id=job.job_id)).logs(tmp_path).reader(job, after)
    assert await texts(log.follow()) == [seen, "ran"]


async def test_a_follower_is_told_where_a_job_ended_without_having_run(tmp_path: Path) -> None:
    job = make_job()
    last = ended_job(job_id=job.job_id, status=JobState.CANCELLED, invocation_id=None)
    log = await OneRecord(job, last).logs(tmp_path).reader(job, Position())
    assert await texts(log.follow()) == ["unborn", "never ran"]


async def test_the_output_is_lines_first_and_then_what_journalctl_prints(tmp_path: Path) -> None:
    job = make_job(status=JobState.RUNNING)
    log = await OneRecord(job).logs(tmp_path).reader(job, Position())
    chunks = [chunk.decode() async for chunk in log.output()]
    assert chunks == [f"history up to {CURSOR}\n", f"output after {CURSOR}"]


@pytest.mark.parametrize("before", [[], ["one"], ["one>", "two", "three"]])
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 7])
async def test_a_line_that_is_cut_while_it_is_read_has_no_line_feed_at_the_cut(
    tmp_path: Path, before: list[str], cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_log, "LONG_LINE", 0)
    job, journal = make_job(status=JobState.RUNNING), CutMeanwhile(before, cut)
    records = OneRecord(job)
    log = await JobLogs(journal, records.get, records.ended, paths_below(tmp_path)).reader(job, Position())
    output = b"".join([chunk async for chunk in log.output()]).decode()
    texts = [f"{text}\n" for text in journal.texts[:30]]
    assert output == "".join(texts).replace(">\n", ">")
