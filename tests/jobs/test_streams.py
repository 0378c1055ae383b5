"""stdout and stderr of a job are a stream each, against real systemd, Podman and journald."""

import json

import pytest

from agent.logs.journal import Journal
from agent.logs.lines import Line, LineNumbering, Position
from agent.logs.metrics import Collector
from agent.logs.metrics_reader import collected
from agent.model.job import Job
from agent.model.log import LogSource, LogStream
from tests.support.job_host import Host
from tests.support.waiting import run

pytestmark = [pytest.mark.host, pytest.mark.timeout(120)]


async def job_lines(job: Job, collector: Collector) -> list[Line]:
    batches = collected(Journal().rest(job.unit, LineNumbering(Position())), collector)
    items = [item async for items in batches for item in items]
    return [item for item in items if isinstance(item, Line) and item.source is LogSource.JOB]


async def test_a_bar_on_stderr_runs_into_no_line_of_stdout(host: Host) -> None:
    job = await host.submit("bar.py")
    await host.end_of(job)
    collector = Collector()
    lines = await job_lines(job, collector)
    printed = [line.text.decode() for line in lines if line.stream is LogStream.STDOUT]
    assert [text for text in printed if not text.startswith("::metric")] == [f"epoch {n} done" for n in "123"]
    assert [point.value for point in collector.series()[0].points] == [1, 2, 3]
    drawn = [line.text.decode() for line in lines if line.stream is LogStream.STDERR]
    assert drawn == ["".join(f"\rfitting {n}|" for n in "123")]


async def test_lines_of_both_streams_belong_to_the_unit(host: Host) -> None:
    job = await host.submit("bar.py")
    ended = await host.end_of(job)
    await job_lines(job, Collector())
    shown = await run(
        *("journalctl", "--user", "--quiet", "--output=json", "--all", "_TRANSPORT=stdout"),
        f"SYSLOG_IDENTIFIER={job.unit.removesuffix('.service')}",
    )
    entries = [json.loads(line) for line in shown.splitlines()]
    assert {entry["PRIORITY"] for entry in entries} == {"5", "6"}
    assert {entry["_SYSTEMD_USER_UNIT"] for entry in entries} == {job.unit}
    assert {entry["_SYSTEMD_INVOCATION_ID"] for entry in entries} == {ended.invocation_id}
