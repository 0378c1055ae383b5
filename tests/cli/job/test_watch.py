"""`ml-job watch`, `top`, and what a followed log shows of a job's progress."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from agent.cli.job import watch
from agent.cli.job.gauges import TICKS, bar, sparkline
from agent.cli.job.stream import Event
from agent.cli.job.watch import JobList
from agent.cli.terminal import ERASE
from agent.model.metric import Progress
from tests.cli.job.test_main import Home, agent, at_a_terminal, home, host_pki, ml_job
from tests.support.stand_in_agent import CREATED, JOB_ID, StandIn, cut, event, job, line

__all__ = ["Home", "agent", "home", "host_pki"]  # fixtures

OTHER, THIRD = "bcdefghijklm", "cdefghijklmn"
# Watching ends by itself only where it is refused.
REVOKED = event(
    "error", {"type": "urn:x:certificate-refused", "title": "x", "status": 403, "detail": "It was revoked."}
)
SNAPSHOT = [
    event("reset", {"why": "No Last-Event-ID was sent."}),
    event("job", job(status="RUNNING", started_at=CREATED)),
    event("job", job(OTHER, status="PENDING", queue={"position": 1, "waits_for": "2 CPUs"})),
    event("current", {"jobs": 2}, "7-00000000"),
]


def test_a_pipe_gets_what_there_is_and_then_a_row_for_each_change(agent: StandIn) -> None:
    change = event("job", job(OTHER, status="CANCELLED", reason="cancelled"), "8-00000000")
    agent.streams = [
        [*SNAPSHOT, event("queue", {"job_id": OTHER, "position": 1, "waits_for": "x"}), change, REVOKED]
    ]
    result = ml_job("watch")
    rows = [row.split("\t")[:2] for row in result.stdout.splitlines()]
    assert rows == [[JOB_ID, "RUNNING"], [OTHER, "PENDING"], [OTHER, "CANCELLED"]]
    assert (result.exit_code, "It was revoked." in result.stderr) == (2, True)
    assert agent.paths() == ["/events?ended=15"]


def test_a_program_gets_each_event_as_it_is(agent: StandIn) -> None:
    agent.streams = [[*SNAPSHOT, event("of-a-later-version", {"any": 1}), REVOKED]]
    events = [json.loads(row) for row in ml_job("watch", "--json", "--ended", "3").stdout.splitlines()]
    assert [each["event"] for each in events] == ["reset", "job", "job", "current", "of-a-later-version"]
    assert events[1]["data"] == job(status="RUNNING", started_at=CREATED)
    assert agent.paths() == ["/events?ended=3"]


def test_a_lost_connection_is_said_and_continued(agent: StandIn) -> None:
    change = event("job", job(status="COMPLETED"), "8-00000000")
    agent.streams = [[*SNAPSHOT, cut], [change, event("current", {}, "8-00000000"), REVOKED]]
    result = ml_job("watch")
    assert [row.split("\t")[1] for row in result.stdout.splitlines()] == ["RUNNING", "PENDING", "COMPLETED"]
    assert "Continuing" in result.stderr
    assert "Connected again." in result.stderr
    assert agent.requests[1][2]["Last-Event-ID"] == "7-00000000"


def test_a_person_sees_the_list_with_progress(agent: StandIn) -> None:
    said = event("progress", {"job_id": JOB_ID, "done": 3, "total": 4, "time": CREATED})
    agent.streams = [[*SNAPSHOT, said, REVOKED]]
    shown = at_a_terminal("watch")
    last = shown[shown.rindex("PROGRESS") :]
    assert "75 %" in last
    assert "1 in line" in last
    assert last.index(JOB_ID[:8]) < last.index(OTHER[:8])


@pytest.fixture
def dumb(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")


@pytest.mark.usefixtures("dumb")
def test_a_dumb_terminal_gets_a_row_for_each_change(agent: StandIn) -> None:
    change = event("job", job(OTHER, status="CANCELLED", reason="cancelled"), "8-00000000")
    agent.streams = [[*SNAPSHOT, change, REVOKED]]
    rows = [row.split()[:2] for row in at_a_terminal("watch").splitlines()]
    assert rows[:4] == [
        ["ID", "STATUS"],
        [JOB_ID[:8], "RUNNING"],
        [OTHER[:8], "PENDING"],
        [OTHER[:8], "CANCELLED"],
    ]


def take(jobs: JobList, name: str, data: Any) -> Any:
    return jobs.take(Event(name, json.dumps(data).encode()))


def test_a_snapshot_takes_effect_when_it_is_whole() -> None:
    jobs = JobList()
    take(jobs, "reset", {"why": ""})
    take(jobs, "job", job())
    take(jobs, "current", {"jobs": 1})
    take(jobs, "reset", {"why": ""})
    take(jobs, "job", job(OTHER))
    assert list(jobs.jobs) == [JOB_ID]
    # Cut off: the next connection begins anew.
    take(jobs, "reset", {"why": ""})
    take(jobs, "current", {"jobs": 0})
    assert list(jobs.jobs) == []


def test_of_a_snapshot_that_was_cut_off_nothing_is_left(agent: StandIn) -> None:
    # Who sees less for a moment, and then all there is again, goes on where the last whole list was.
    less = [event("reset", {"why": "You may see other jobs than before."}), event("job", job(THIRD)), cut]
    change = event("job", job(OTHER, status="CANCELLED"), "8-00000000")
    agent.streams = [[*SNAPSHOT, *less], [change, event("current", {}, "8-00000000"), REVOKED]]
    shown = at_a_terminal("watch")
    last = shown[shown.rindex("PROGRESS") :]
    assert [each in last for each in (JOB_ID[:8], OTHER[:8], THIRD[:8])] == [True, True, False]
    assert "CANCELLED" in last


def test_a_pipe_gets_what_is_new_of_a_later_snapshot(agent: StandIn) -> None:
    later = [
        event("reset", {"why": "You may see other jobs than before."}),
        event("job", job(status="RUNNING", started_at=CREATED)),
        event("job", job(OTHER, status="CANCELLED", revision=2)),
        event("job", job(THIRD, status="RUNNING", started_at=CREATED)),
        event("current", {"jobs": 3}, "9-00000000"),
    ]
    agent.streams = [[*SNAPSHOT, *later, REVOKED]]
    rows = [row.split("\t")[:2] for row in ml_job("watch").stdout.splitlines()]
    assert rows[2:] == [[OTHER, "CANCELLED"], [THIRD, "RUNNING"]]


def test_jobs_are_in_the_order_of_interest() -> None:
    jobs = JobList()
    for number, (status, more) in enumerate(
        [
            ("COMPLETED", {"finished_at": "2026-01-01T00:00:01.000Z"}),
            ("FAILED", {"finished_at": "2026-01-01T00:00:02.000Z"}),
            ("PENDING", {"queue": {"position": 2, "waits_for": "x"}}),
            ("PENDING", {"queue": {"position": 1, "waits_for": "x"}}),
            ("RUNNING", {"started_at": CREATED}),
        ]
    ):
        take(jobs, "job", job(f"{'abcde'[number]}" * 12, status=status, **more))
    assert [each.job_id[0] for each in (*jobs.running(), *jobs.waiting(), *jobs.ended(9))] == list(
        "edcba"[0:1] + "dc" + "ba"
    )
    assert [each.job_id[0] for each in jobs.ended(1)] == ["b"]
    take(jobs, "queue", {"job_id": "c" * 12, "position": 1, "waits_for": "y"})
    take(jobs, "removed", {"job_id": "d" * 12})
    assert [each.queue.position for each in jobs.waiting() if each.queue] == [1]


def test_progress_is_forgotten_with_the_run() -> None:
    jobs = JobList()
    take(jobs, "job", job(status="RUNNING"))
    take(jobs, "progress", {"job_id": JOB_ID, "done": 1, "total": 2, "time": CREATED})
    assert jobs.progress[JOB_ID].done == 1
    take(jobs, "job", job(status="COMPLETED"))
    assert jobs.progress == {}


# --- top ------------------------------------------------------------------------------------------------


def usage(second: int, cpu: float) -> web.Response:
    at = f"2026-01-01T00:00:0{second}.000Z"
    return web.json_response({"job_id": JOB_ID, "at": at, "cpu_seconds": cpu, "memory_bytes": 2**20})


@pytest.fixture
def busy(agent: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """An agent with a job that used half a CPU between two looks, and is half done."""
    monkeypatch.setattr(watch, "FIRST_LOOK_SECONDS", 0.01)
    agent.jobs = [job(status="RUNNING", started_at=CREATED)]
    agent.answers[f"GET /jobs/{JOB_ID}/usage"] = [usage(1, 10.0), usage(3, 11.0)]
    said = {"job_id": JOB_ID, "complete": False, "progress": {"done": 1, "total": 2, "time": CREATED}}
    agent.answers[f"GET /jobs/{JOB_ID}/metrics"] = [web.json_response(said)]
    return agent


def test_top_for_a_program_is_a_row_for_each_running_job(busy: StandIn) -> None:
    [row] = ml_job("top").stdout.splitlines()
    cells = row.split("\t")
    assert (cells[0], cells[5:]) == (JOB_ID, ["0.500", str(2**20), "0.5000"])
    assert busy.paths()[0].startswith("/jobs?status=RUNNING")


def test_top_as_json(busy: StandIn) -> None:
    [value] = json.loads(ml_job("top", "--json").stdout)
    assert value["job"] == busy.jobs[0]
    assert (value["cpus_used"], value["progress"]["done"]) == (0.5, 1.0)
    assert value["usage"]["memory_bytes"] == 2**20


def test_top_of_nothing(agent: StandIn) -> None:
    result = ml_job("top")
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(ml_job("top", "--json").stdout) == []


def test_a_job_that_has_just_ended_is_no_error(busy: StandIn) -> None:
    busy.answers[f"GET /jobs/{JOB_ID}/usage"] = []
    [row] = ml_job("top").stdout.splitlines()
    assert row.split("\t")[5:] == ["", "", "0.5000"]


@pytest.mark.usefixtures("dumb")
def test_top_on_a_dumb_terminal_is_one_table(busy: StandIn) -> None:
    head, row = at_a_terminal("top").splitlines()
    assert (head.split()[0], row.split()[0]) == ("ID", JOB_ID[:8])
    assert "50 %" in row


def test_top_for_a_person(agent: StandIn) -> None:
    agent.answers[f"GET /jobs/{JOB_ID}/usage"] = [usage(1, 10.0), usage(3, 11.0)]

    async def wait(_: web.Request) -> None:
        await asyncio.sleep(1.6)

    agent.streams = [[*SNAPSHOT, wait, REVOKED]]
    shown = at_a_terminal("top", "--interval", "0.5")
    assert "50 %" in shown
    assert "1.0 MiB" in shown
    assert OTHER[:8] not in shown


# --- a followed log -------------------------------------------------------------------------------------

MARKED = [
    line(1, "begun"),
    line(2, '::progress {"done": 1, "total": 4}'),
    line(3, '::metric {"name": "loss", "value": 0.5, "step": 1}'),
    line(4, '::metric {"name": "loss", "value": 0.25, "step": 2}'),
    line(5, "::progress oops"),
    line(6, "done"),
    event("end", job()),
]


def test_a_person_sees_marks_as_a_bar_and_curves(agent: StandIn) -> None:
    agent.jobs, agent.streams = [job(status="RUNNING")], [MARKED]
    shown = at_a_terminal("logs", "-f", JOB_ID)
    lines = [row.rpartition(ERASE)[2].strip("\r") for row in shown.splitlines()]
    assert "begun" in lines
    assert "::progress oops" in lines
    assert f"━━━━━───────────────  25 %  1 of 4   loss 0.25 {TICKS[-1]}{TICKS[0]}" in lines
    assert "::metric" not in shown


@pytest.mark.usefixtures("dumb")
def test_a_dumb_terminal_gets_marks_as_lines(agent: StandIn) -> None:
    agent.jobs, agent.streams = [job(status="RUNNING")], [[line(1, "\x1b[31mred"), *MARKED[1:]]]
    shown = at_a_terminal("logs", "-f", JOB_ID)
    assert shown.splitlines()[:2] == ["red", '::progress {"done": 1, "total": 4}']
    assert "\x1b" not in shown


def test_a_pipe_gets_the_lines_as_they_are(agent: StandIn) -> None:
    agent.jobs, agent.streams = [job(status="RUNNING")], [MARKED]
    result = ml_job("logs", "-f", JOB_ID)
    assert len(result.stdout.splitlines()) == 6
    assert '::progress {"done": 1, "total": 4}' in result.stdout


@pytest.mark.parametrize(
    ("done", "shown"), [(0, "──────────   0 %"), (5, "━━━━━─────  50 %"), (10, "━━━━━━━━━━ 100 %")]
)
def test_a_bar(done: float, shown: str) -> None:
    assert bar(Progress(done=done, total=10, time=CREATED), 10) == shown  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1], "▁"),
        ([1, 1], "▁▁"),
        ([0, 7], "▁█"),
        ([3, 2, 1, 0], "█▆▃▁"),
        ([-1e308, 1e308], "▁█"),
        ([0, 5e-324], "▁▁"),
        (list(range(8)), "▁▂▃▄▅▆▇█"),
        (list(range(1000)), "▁▂▃▄▅▆▇█"),
    ],
)
def test_a_sparkline(values: list[float], shown: str) -> None:
    assert sparkline(values, 8) == shown
