"""Schedules of the installed agent: systemd's own timers, with an agent that is idle or killed."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from .conftest import Client, run, wait_for

STAMPS = Path.home() / ".local/share/systemd/timers"
AGENT = "ml-agent.service"


@pytest.fixture
def made(alice: Client) -> Iterator[list[str]]:
    """The schedules to remove at the end."""
    ids: list[str] = []
    yield ids
    for schedule_id in ids:
        alice.curl(f"/schedules/{schedule_id}", "--request", "DELETE", "--json", "{}")


def create(alice: Client, made: list[str], seconds: float, **fields: Any) -> tuple[str, datetime]:
    """A schedule with one time, so many seconds from now at the earliest."""
    slot = (datetime.now(UTC) + timedelta(seconds=seconds + 1)).replace(microsecond=0)
    body = {"name": "soon", "calendar": f"{slot:%Y-%m-%d %H:%M:%S}", "job": {"script_name": "hello.py"}}
    status, schedule = alice.call("/schedules", "--json", json.dumps(body | fields))
    assert status == 201, schedule
    made.append(schedule["schedule_id"])
    return schedule["schedule_id"], slot


def timer(schedule_id: str) -> str:
    return f"ml-schedule@{schedule_id}.timer"


def shown(unit: str, name: str) -> str:
    return run("systemctl", "--user", "show", "--value", "--property", name, unit).stdout.strip()


def runs_of(alice: Client, schedule_id: str) -> list[dict[str, Any]]:
    status, page = alice.call(f"/schedules/{schedule_id}/runs")
    assert status == 200, page
    return list(page["runs"])


def jobs_of(alice: Client, schedule_id: str) -> list[dict[str, Any]]:
    _, page = alice.call("/jobs?limit=200")
    return [job for job in page["jobs"] if job.get("schedule") == schedule_id]


def judge(alice: Client, schedule_id: str, slot: datetime) -> None:
    """Holds the schedule to one job for its one time."""
    (known,) = wait_for(
        lambda: [run for run in runs_of(alice, schedule_id) if run["status"] == "SUBMITTED"], "its run"
    )
    assert known["slot"] == f"{slot:%Y-%m-%dT%H:%M:%S}.000Z"
    (job,) = jobs_of(alice, schedule_id)
    assert (job["job_id"], job["slot"]) == (known["job_id"], known["slot"])
    assert alice.wait(job["job_id"], "COMPLETED")["owner"] == "alice"
    assert len(runs_of(alice, schedule_id)) == 1


def test_a_timer_starts_an_agent_that_does_not_run(alice: Client, made: list[str]) -> None:
    schedule_id, slot = create(alice, made, 8)
    assert timer(schedule_id) in run("systemctl", "--user", "list-timers", "--all").stdout
    assert shown(timer(schedule_id), "Persistent") == "yes"
    run("systemctl", "--user", "stop", AGENT)
    assert datetime.now(UTC) < slot, "the agent was stopped too late for this test"
    wait_for(lambda: shown(AGENT, "ActiveState") == "active", "the agent to be started by the timer")
    assert datetime.now(UTC) >= slot
    judge(alice, schedule_id, slot)


def test_an_agent_that_is_killed_around_the_time_makes_one_job(alice: Client, made: list[str]) -> None:
    schedule_id, slot = create(alice, made, 6)
    while datetime.now(UTC) < slot - timedelta(seconds=0.3):
        time.sleep(0.05)
    killed = 0
    while datetime.now(UTC) < slot + timedelta(seconds=6):
        if (pid := int(shown(AGENT, "MainPID") or 0)) > 0:
            os.kill(pid, signal.SIGKILL)
            killed += 1
        time.sleep(0.15)
    assert killed > 3
    judge(alice, schedule_id, slot)


def test_times_that_pass_without_timer_and_agent_are_caught_up_once(alice: Client, made: list[str]) -> None:
    """As while the host is off: systemd has forgotten the timer, and the agent begins anew."""
    schedule_id, slot = create(alice, made, 4, name="missed")
    run("systemctl", "--user", "stop", AGENT, timer(schedule_id))
    wait_for(lambda: datetime.now(UTC) > slot + timedelta(seconds=1), "its time to pass")
    judge(alice, schedule_id, slot)  # the first request starts the agent
    assert shown(timer(schedule_id), "ActiveState") == "active"


def test_a_removed_schedule_leaves_neither_timer_nor_stamp(alice: Client, made: list[str]) -> None:
    schedule_id, _ = create(alice, made, 3600)
    file = Path(os.environ["XDG_RUNTIME_DIR"]) / "systemd/user" / timer(schedule_id)
    assert file.exists()
    assert (STAMPS / f"stamp-{timer(schedule_id)}").exists()
    assert alice.ml_job("schedule", "pause", schedule_id).returncode == 0
    assert not file.exists()
    assert timer(schedule_id) not in run("systemctl", "--user", "list-timers", "--all").stdout
    assert alice.ml_job("schedule", "resume", schedule_id).returncode == 0
    assert shown(timer(schedule_id), "ActiveState") == "active"
    assert alice.ml_job("schedule", "remove", schedule_id).returncode == 0
    assert not file.exists()
    assert not (STAMPS / f"stamp-{timer(schedule_id)}").exists()
    assert shown(timer(schedule_id), "LoadState") == "not-found"


def test_the_doctor_compares_timers_with_the_record(alice: Client, made: list[str]) -> None:
    schedule_id, _ = create(alice, made, 3600)

    def finding() -> Any:
        found = json.loads(run("ml-agent", "doctor", "--json").stdout)
        return next(one for one in found if one["subject"] == "schedules")

    assert finding()["level"] == "ok"
    run("systemctl", "--user", "stop", timer(schedule_id))
    assert finding()["level"] == "warn"
    assert f"without a timer: {timer(schedule_id)}" in finding()["seen"]
    run("systemctl", "--user", "restart", AGENT)
    wait_for(lambda: finding()["level"] == "ok", "the agent to mend its timers")
