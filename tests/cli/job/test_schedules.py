"""`ml-job schedule`: what it sends, and what it shows."""

import json
from typing import Any

import pytest

from tests.support.ml_job import Home, at_a_terminal, ml_job
from tests.support.stand_in_agent import JOB_ID, StandIn, job, schedule, schedule_run, sweep

CREATE = ("schedule", "create", "Mon..Fri 02:00", "train.py")


def sent(agent: StandIn) -> Any:
    return agent.requests[-1][3]


def test_a_job_is_scheduled_under_a_key_of_its_own(agent: StandIn) -> None:
    options = (
        "--time-zone",
        "Europe/Rome",
        "--overlap",
        "queue",
        "--delay",
        "10m",
        "-p",
        "n=5",
        "--memory",
        "1G",
    )
    result = ml_job(*CREATE, *options)
    assert result.stdout == f"{JOB_ID}\n"
    ((method, path, headers, body),) = agent.requests
    assert (method, path) == ("POST", "/schedules")
    assert headers["Idempotency-Key"]
    assert body == {
        "name": "train.py",
        "calendar": "Mon..Fri 02:00",
        "time_zone": "Europe/Rome",
        "overlap": "queue",
        "randomized_delay_seconds": 600,
        "job": {
            "script_name": "train.py",
            "hyperparameters": {"n": "5"},
            "limits": {"memory_bytes": 2**30},
        },
    }


def test_a_space_makes_it_a_sweep(agent: StandIn) -> None:
    ml_job(
        *CREATE, "--name", "weekly", "-s", "depth=1..9", "--maximize", "auc", "--trials", "9", "--seed", "7"
    )
    assert sent(agent) == {
        "name": "weekly",
        "calendar": "Mon..Fri 02:00",
        "time_zone": "UTC",
        "overlap": "skip",
        "randomized_delay_seconds": 0,
        "sweep": {
            "script_name": "train.py",
            "hyperparameters": {},
            "space": {"depth": {"low": 1, "high": 9}},
            "strategy": "tpe",
            "objective": {"metric": "auc", "direction": "maximize"},
            "trials": 9,
            "seed": 7,
        },
    }


def test_a_preview_makes_nothing(agent: StandIn) -> None:
    result = ml_job(*CREATE, "--preview")
    assert result.stdout.splitlines() == [
        "calendar\tMon..Fri *-*-* 02:00:00 Europe/Rome",
        "next\t2026-06-02T00:00:00Z",
        "next\t2026-06-03T00:00:00Z",
    ]
    assert [path for _, path, _, _ in agent.requests] == ["/schedules/preview"]
    assert json.loads(ml_job(*CREATE, "--preview", "--json").stdout)["later"] == 1


@pytest.mark.parametrize(("answer", "made"), [(b"y\n", True), (b"n\n", False), (b"\x04", False)])
def test_a_person_sees_the_next_times_and_is_asked(
    agent: StandIn, home: Home, answer: bytes, *, made: bool
) -> None:
    shown = at_a_terminal(*CREATE, typed=answer)
    assert "2026-06-02T00:00:00Z" in shown
    assert "Make this schedule?" in shown
    assert ("Made schedule" in shown) is made
    paths = [path for _, path, _, _ in agent.requests]
    assert paths == ["/schedules/preview", "/schedules"] if made else ["/schedules/preview"]


def test_wrong_words_are_refused_before_anything_is_sent(agent: StandIn) -> None:
    for arguments, why in (
        (("--overlap", "both"), "is not one of skip, queue, replace"),
        (("--delay", "soon"), "soon"),
        (("-s", "depth=1..9"), "give either --maximize METRIC or --minimize METRIC"),
    ):
        result = ml_job(*CREATE, *arguments)
        assert result.exit_code == 2
        assert why in result.stderr
    assert agent.requests == []


def test_lists_and_sheets_for_programs(agent: StandIn) -> None:
    agent.schedules = [schedule()]
    agent.runs = [schedule_run("SKIPPED", reason="overlap", message="Job x has not ended."), schedule_run()]
    assert ml_job("schedule", "list").stdout == (
        f"{JOB_ID}\tACTIVE\tnightly\tMon..Fri *-*-* 02:00:00 Europe/Rome\ttrain.py\talice"
        "\t2026-06-02T00:00:00Z\t2026-06-01T00:00:00Z SUBMITTED\n"
    )
    assert ml_job("schedule", "runs", JOB_ID).stdout.splitlines() == [
        "2026-06-01T00:00:00Z\tSKIPPED\t\toverlap\tJob x has not ended.",
        f"2026-06-01T00:00:00Z\tSUBMITTED\t{JOB_ID}\t\t",
    ]
    sheet = dict(line.split("\t", 1) for line in ml_job("schedule", "show", "@last").stdout.splitlines())
    assert sheet["submits"] == "a job of train.py"
    assert sheet["delay"] == "up to 10 min, at random"
    assert sheet["last run"] == f"2026-06-01T00:00:00Z SUBMITTED {JOB_ID}"
    assert json.loads(ml_job("schedule", "list", "--json").stdout) == agent.schedules


@pytest.mark.parametrize("what", ["pause", "resume"])
def test_a_change_says_what_the_schedule_does_now(agent: StandIn, what: str) -> None:
    agent.schedules = [schedule(status="PAUSED", next=[]) if what == "pause" else schedule()]
    result = ml_job("schedule", what, JOB_ID)
    assert agent.requests[-1][:2] == ("POST", f"/schedules/{JOB_ID}/{what}")
    said = "PAUSED" if what == "pause" else "ACTIVE, next at 2026-06-02T00:00:00Z"
    assert result.stdout == f"Schedule {JOB_ID} is {said}\n"


def test_removing_says_so(agent: StandIn) -> None:
    agent.schedules = [schedule()]
    result = ml_job("schedule", "remove", JOB_ID)
    assert agent.requests[-1][:2] == ("DELETE", f"/schedules/{JOB_ID}")
    assert result.stdout == f"Schedule {JOB_ID} is removed\n"


def test_a_run_by_hand_prints_the_job_or_fails_with_the_reason(agent: StandIn) -> None:
    agent.schedules = [schedule()]
    result = ml_job("schedule", "run", JOB_ID)
    assert (result.stdout, result.exit_code) == (f"{JOB_ID}\n", 0)
    agent.runs = [schedule_run("SKIPPED", reason="overlap", message="Job x has not ended.")]
    result = ml_job("schedule", "run", JOB_ID)
    assert (result.stdout, result.exit_code) == ("SKIPPED overlap Job x has not ended.\n", 1)


def test_jobs_and_sweeps_name_their_schedule(agent: StandIn) -> None:
    of_schedule = {"schedule": "zzzzzzzzzzzz", "slot": "2026-06-01T00:00:00.000Z"}
    agent.jobs, agent.sweeps = [job(**of_schedule)], [sweep(**of_schedule)]
    for command in (("show", JOB_ID), ("sweep", "show", JOB_ID)):
        sheet = dict(line.split("\t", 1) for line in ml_job(*command).stdout.splitlines())
        assert sheet["schedule"] == "zzzzzzzzzzzz, for 2026-06-01T00:00:00.000Z"
    agent.jobs = [job(sweep="yyyyyyyyyyyy", trial=3)]
    assert "sweep\tyyyyyyyyyyyy, trial 3\n" in ml_job("show", JOB_ID).stdout
