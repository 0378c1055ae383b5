"""`ml-job top` and `host`: usage and progress of the running jobs, and the host's capacity."""

import json

import pytest
from aiohttp import web

from agent.cli.job import top
from tests.support.ml_job import Terminal, at_a_terminal, ml_job
from tests.support.sample_events import OTHER, REVOKED, SNAPSHOT
from tests.support.stand_in_agent import CREATED, JOB_ID, StandIn, job

HOST = {
    "versions": {"agent": "0.1.0", "systemd": "257"},
    "capacity": {"jobs": 4, "cpus": 8.0, "memory_bytes": 16 * 2**30},
    "in_use": {"jobs": 1, "cpus": 1.5, "memory_bytes": 2**30},
    "waiting": 7,
    "running": 1,
    "users": [{"user": "alice", "waiting": 7, "running": 1, "recent_use_seconds": 12.5}],
}


def usage(second: int, cpu: float) -> web.Response:
    at = f"2026-01-01T00:00:0{second}.000Z"
    return web.json_response({"job_id": JOB_ID, "at": at, "cpu_seconds": cpu, "memory_bytes": 2**20})


@pytest.fixture
def busy(agent: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """An agent with a job that used half a CPU between two samples, and is half done."""
    monkeypatch.setattr(top, "FIRST_SAMPLE_SECONDS", 0.01)
    agent.jobs = [job(status="RUNNING", started_at=CREATED)]
    agent.answers[f"GET /jobs/{JOB_ID}/usage"] = [usage(1, 10.0), usage(3, 11.0)]
    said = {"job_id": JOB_ID, "complete": False, "progress": {"done": 1, "total": 2, "time": CREATED}}
    agent.answers[f"GET /jobs/{JOB_ID}/metrics"] = [web.json_response(said)]
    return agent


def test_a_program_gets_a_row_for_each_running_job(busy: StandIn) -> None:
    [row] = ml_job("top").stdout.splitlines()
    cells = row.split("\t")
    assert (cells[0], cells[5:]) == (JOB_ID, ["0.500", str(2**20), "0.5000"])
    assert busy.paths()[0].startswith("/jobs?status=RUNNING")


def test_json_has_the_job_its_usage_and_its_progress(busy: StandIn) -> None:
    [value] = json.loads(ml_job("top", "--json").stdout)
    assert value["job"] == busy.jobs[0]
    assert (value["cpus_used"], value["progress"]["done"]) == (0.5, 1.0)
    assert value["usage"]["memory_bytes"] == 2**20


def test_without_running_jobs_nothing_is_printed(agent: StandIn) -> None:
    result = ml_job("top")
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(ml_job("top", "--json").stdout) == []


def test_a_job_that_has_just_ended_has_no_usage(busy: StandIn) -> None:
    busy.answers[f"GET /jobs/{JOB_ID}/usage"] = []
    [row] = ml_job("top").stdout.splitlines()
    assert row.split("\t")[5:] == ["", "", "0.5000"]


@pytest.mark.usefixtures("dumb")
def test_a_dumb_terminal_gets_one_table(busy: StandIn) -> None:
    head, row = at_a_terminal("top").splitlines()
    assert (head.split()[0], row.split()[0]) == ("ID", JOB_ID[:8])
    assert "50 %" in row


def test_a_person_sees_usage_as_it_changes(agent: StandIn) -> None:
    agent.answers[f"GET /jobs/{JOB_ID}/usage"] = [usage(1, 10.0), usage(3, 11.0)]
    terminal = Terminal()
    agent.streams = [[*SNAPSHOT, terminal.shows("50 %"), REVOKED]]
    shown = terminal.run("top", "--interval", "0.5")
    assert "50 %" in shown
    assert "1.0 MiB" in shown
    assert OTHER[:8] not in shown


def test_the_hosts_of_a_fleet_are_shown(agent: StandIn) -> None:
    seen = "2026-01-01T12:00:00.000Z"
    amounts = {"capacity": HOST["capacity"], "in_use": HOST["in_use"], "seen_at": seen}
    hosts = [
        {"name": "h1", "reachable": True, "draining": False} | amounts,
        {"name": "h2", "reachable": True, "draining": True} | amounts,
        {"name": "h3", "reachable": False, "draining": False} | amounts,
        {"name": "h4", "reachable": False, "draining": False, "forgotten": True} | amounts,
    ]
    agent.answers["GET /host"] = [web.json_response(HOST | {"hosts": hosts})]
    rows = [line.split("\t") for line in ml_job("host").stdout.splitlines()[5:9]]
    assert [row[:2] for row in rows] == [
        ["h1", "ready"],
        ["h2", "draining"],
        ["h3", f"unreachable, last seen {seen}"],
        ["h4", f"forgotten, last seen {seen}"],
    ]
    assert rows[0][2:] == ["1 of 4", "1.5 of 8", "1073741824 of 17179869184"]


def test_the_host_of_each_job_of_a_fleet_is_listed(agent: StandIn) -> None:
    agent.jobs = [job(host="h2"), job(OTHER)]
    rows = [line.split("\t") for line in ml_job("list").stdout.splitlines()]
    assert [row[-1] for row in rows] == ["h2", ""]
    agent.jobs = [job()]
    assert len(ml_job("list").stdout.split("\t")) == len(rows[0]) - 1


def test_capacity_use_and_queue_are_shown(agent: StandIn) -> None:
    agent.answers["GET /host"] = [web.json_response(HOST)]
    assert ml_job("host").stdout.splitlines() == [
        "versions\tagent 0.1.0, systemd 257",
        "running\t1 of 4",
        "CPUs\t1.5 of 8",
        "memory\t1.0 GiB of 16.0 GiB",
        "waiting\t7",
        "alice\t7\t1\t12.5",
    ]


@pytest.mark.parametrize(
    ("drain", "words"),
    [
        ({"begins_at": "2020-01-01T00:00:00Z"}, "until its operator resumes it"),
        (
            {"begins_at": "2020-01-01T00:00:00Z", "ends_at": "2099-01-01T00:00:00Z", "reason": "disk"},
            "until 2099-01-01T00:00:00.000Z: disk",
        ),
        (
            {"begins_at": "2098-01-01T00:00:00Z", "ends_at": "2099-01-01T00:00:00Z", "reason": "disk"},
            "from 2098-01-01T00:00:00.000Z until 2099-01-01T00:00:00.000Z: disk",
        ),
    ],
)
def test_a_drain_says_from_when_until_when_and_why(agent: StandIn, drain: dict[str, str], words: str) -> None:
    agent.answers["GET /host"] = [web.json_response(HOST | {"drain": drain})]
    assert f"drained\t{words}" in ml_job("host").stdout.splitlines()
