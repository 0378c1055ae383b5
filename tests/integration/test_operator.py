"""What an operator does with systemctl, journalctl and kill, and what becomes of the jobs."""

import os
import signal

import pytest

from .conftest import Client, run, wait_for


def unit_property(unit: str, name: str) -> str:
    return run("systemctl", "--user", "show", "--value", "--property", name, unit).stdout.strip()


def test_killing_the_agent_leaves_the_job_alone_and_the_next_request_has_its_outcome(alice: Client) -> None:
    job_id = alice.submit("hello.py", lines="4", sleep="1", status="3")["job_id"]
    unit = alice.wait(job_id, "RUNNING")["unit"]
    before = [unit_property(unit, name) for name in ("MainPID", "InvocationID")]
    os.kill(int(unit_property("ml-agent.service", "MainPID")), signal.SIGKILL)
    assert [unit_property(unit, name) for name in ("MainPID", "InvocationID")] == before
    # The next agent, which systemd starts by itself, must not be there when the job ends.
    run("systemctl", "--user", "stop", "ml-agent.service")
    wait_for(lambda: unit_property(unit, "ActiveState") == "failed", "the unit to end")
    job = alice.job(job_id)
    assert (job["status"], job["reason"], job["exit_status"]) == ("FAILED", "exit-code", 3)
    assert job["invocation_id"] == before[1]


def test_systemctl_and_journalctl_show_the_job_while_it_runs_and_after(alice: Client) -> None:
    job_id = alice.submit("hello.py", sleep="1", name="operator")["job_id"]
    unit = alice.wait(job_id, "RUNNING")["unit"]
    status = run("systemctl", "--user", "status", "--no-pager", unit).stdout
    assert f"Training job {job_id}" in status
    assert "active (running)" in status
    alice.wait(job_id, "COMPLETED")
    after = run("systemctl", "--user", "status", "--no-pager", unit)
    assert "inactive (dead)" in after.stdout
    journal = run("journalctl", "--user", "--unit", unit, "--output", "cat", "--no-pager").stdout
    assert "Hello, operator! (3 of 3)" in journal
    assert "Ended: success, exited 0" in journal


def test_a_unit_stopped_by_hand_is_a_job_that_was_stopped(alice: Client) -> None:
    job = alice.submit("hello.py", sleep="60")
    alice.wait(job["job_id"], "RUNNING")
    run("systemctl", "--user", "stop", job["unit"])
    stopped = alice.wait(job["job_id"], "COMPLETED", "FAILED", "CANCELLED")
    assert (stopped["status"], stopped["reason"]) == ("CANCELLED", "stopped")


@pytest.mark.parametrize(
    "commands",
    [
        ["restart"],
        ["kill --signal=KILL"],
        ["stop --no-block", "kill --signal=KILL"],
        ["kill --kill-whom=main --signal=KILL"],
    ],
)
def test_a_unit_that_is_ended_by_hand_has_a_whole_log(alice: Client, commands: list[str]) -> None:
    job = alice.submit("hello.py", lines="1", sleep="60")
    path = f"/jobs/{job['job_id']}/logs?follow=false"
    wait_for(lambda: "Hello" in alice.curl(path).stdout, "the first line")
    for command in commands:
        run("systemctl", "--user", *command.split(), job["unit"])
    alice.wait(job["job_id"], "COMPLETED", "FAILED", "CANCELLED")
    log = alice.curl(path, "--header", "Accept: text/event-stream").stdout
    assert "event: end" in log
    assert "Hello, world! (1 of 1)" in log
    assert "event: gap" not in log


def test_a_finished_unit_that_is_started_by_hand_does_not_run_again(alice: Client) -> None:
    job = alice.submit("hello.py")
    first = alice.wait(job["job_id"], "COMPLETED")
    run("systemctl", "--user", "start", job["unit"])
    log = alice.curl(f"/jobs/{job['job_id']}/logs").stdout
    assert log.count("Hello, world! (1 of 3)") == 1
    assert alice.job(job["job_id"]) == first


def test_limits_are_properties_of_the_unit(alice: Client) -> None:
    submitted = alice.ml_job(
        "submit", "hello.py", "-p", "sleep=1", "--memory", "64M", "--cpus", "0.5", "--time", "5m", "--json"
    )
    assert submitted.returncode == 0, submitted.stderr
    newest = alice.call("/jobs?limit=1")[1]["jobs"][0]
    unit = alice.wait(newest["job_id"], "RUNNING")["unit"]
    assert unit_property(unit, "MemoryMax") == str(64 * 2**20)
    assert unit_property(unit, "CPUQuotaPerSecUSec") == "500ms"
    assert unit_property(unit, "RuntimeMaxUSec") == "5min"
    alice.wait(newest["job_id"], "COMPLETED")


def test_an_agent_without_work_leaves_and_the_next_request_is_answered(alice: Client) -> None:
    alice.curl("/jobs")
    run("systemctl", "--user", "stop", "ml-agent.service")
    assert unit_property("ml-agent.service", "ActiveState") == "inactive"
    assert alice.call("/jobs")[0] == 200
    assert unit_property("ml-agent.service", "ActiveState") == "active"
