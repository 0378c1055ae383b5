"""`ml-job sweep`: what it sends, and what it shows."""

import json
from typing import Any

import pytest

from tests.support.ml_job import Home, at_a_terminal, ml_job
from tests.support.stand_in_agent import JOB_ID, StandIn, sweep, trial

SUBMIT = ("sweep", "submit", "train.py", "--maximize", "auc", "--trials", "60")


def sent(agent: StandIn) -> Any:
    return agent.requests[-1][3]


def test_a_sweep_is_submitted_under_a_key_of_its_own(agent: StandIn) -> None:
    space = ("-s", "depth", "-s", "rate=1e-4..1:log", "-s", "leaf=1..9:2:integer", "-s", "kind=gini,entropy")
    result = ml_job(*SUBMIT, *space, "--pruner", "median", "--at-once", "2", "--seed", "7", "-p", "n=5")
    assert result.stdout == f"{JOB_ID}\n"
    ((method, path, headers, body),) = agent.requests
    assert (method, path) == ("POST", "/sweeps")
    assert headers["Idempotency-Key"]
    assert body == {
        "script_name": "train.py",
        "hyperparameters": {"n": "5"},
        "space": {
            "depth": {},
            "rate": {"low": 1e-4, "high": 1, "log": True},
            "leaf": {"low": 1, "high": 9, "step": 2, "type": "integer"},
            "kind": {"values": ["gini", "entropy"]},
        },
        "strategy": "tpe",
        "objective": {"metric": "auc", "direction": "maximize"},
        "trials": 60,
        "at_once": 2,
        "pruner": "median",
        "seed": 7,
    }


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("-s", "=1..2"), "is not of the form NAME"),
        (("-s", "depth="), "is not of the form NAME"),
        (("-s", "depth=1..x"), "'x' is not a number"),
        (("-s", "depth=1..9:lög"), "'lög' is not a number"),
        (("-s", "depth", "-s", "depth=1,2"), "depth is given twice"),
        (("-s", "depth", "--strategy", "guess"), "is not one of grid, random, tpe"),
        (("-s", "depth", "--minimize", "loss"), "give either --maximize METRIC or --minimize METRIC"),
    ],
)
def test_what_is_no_sweep_is_refused_before_it_is_sent(
    agent: StandIn, arguments: tuple[str, ...], why: str
) -> None:
    result = ml_job(*SUBMIT, *arguments)
    assert result.exit_code == 2
    assert why in result.stderr
    assert agent.requests == []


def test_a_person_sees_how_far_a_sweep_is(agent: StandIn) -> None:
    agent.sweeps = [sweep(name="\x1b[2Jfirst")]
    listed = at_a_terminal("sweep", "list")
    assert "3/60" in listed
    assert "0.912346" in listed
    assert "^[[2Jfirst" in listed
    shown = at_a_terminal("sweep", "show", "@last")
    for text in ("maximize auc", "3 of 60, 2 wait or run, 4 at once", "depth=12", "depth=1..64", "━"):
        assert text in shown


def test_a_program_gets_whole_values_separated_by_tabs(agent: StandIn) -> None:
    agent.sweeps = [sweep()]
    when = "2026-01-01T00:00:00.000Z"
    row = f"{JOB_ID}\tRUNNING\ttrain.py\t\talice\t{when}\t3/60\t0.912345678\n"
    assert ml_job("sweep", "list").stdout == row
    facts = ml_job("sweep", "show", JOB_ID).stdout.splitlines()
    assert {"best value\t0.912345678", "varies\tdepth=1..64", "strategy\ttpe, seed 7"} <= set(facts)


def test_trials_are_read_from_every_page_and_sorted_by_value_where_that_is_asked_for(agent: StandIn) -> None:
    agent.sweeps = [sweep()]
    agent.trials = [trial(number, number % 7 / 10) for number in range(130)]
    agent.trials.append(trial(130, status="CANCELLED", reason="pruned"))
    rows = [line.split("\t") for line in ml_job("sweep", "trials", JOB_ID).stdout.splitlines()]
    assert [row[0] for row in rows] == [str(number) for number in range(131)]
    assert rows[3] == ["3", JOB_ID, "COMPLETED", "", "0.3", "3", ""]
    best = [line.split("\t") for line in ml_job("sweep", "trials", JOB_ID, "--best").stdout.splitlines()]
    assert [best[0][4], best[-2][4], best[-1][3]] == ["0.6", "0.0", "pruned"]


@pytest.mark.parametrize("deed", ["cancel", "pause", "resume"])
def test_deeds_say_what_became_of_the_sweep(agent: StandIn, deed: str) -> None:
    agent.sweeps = [sweep(status="PAUSED")]
    result = ml_job("sweep", deed, JOB_ID[:4])
    assert result.stdout == f"sweep {JOB_ID} is PAUSED: 3 of 60 trials, the best 0.912346\n"
    assert agent.paths("POST") == [f"/sweeps/{JOB_ID}/{deed}"]


def test_a_sweep_is_extended_to_a_number_in_all(agent: StandIn) -> None:
    agent.sweeps = [sweep()]
    ml_job("sweep", "extend", JOB_ID, "--trials", "80")
    assert sent(agent) == {"trials": 80}


def test_a_sweep_is_pinned_unpinned_and_run_again(agent: StandIn) -> None:
    agent.sweeps = [sweep(pinned=True)]
    assert "; pinned" in ml_job("sweep", "pin", JOB_ID).stdout
    ml_job("sweep", "unpin", JOB_ID)
    assert (agent.paths("PUT"), agent.paths("DELETE")) == ([f"/sweeps/{JOB_ID}/pin"],) * 2
    options = ("--seed", "8", "--name", "second", "--label", "team=a")
    assert ml_job("sweep", "rerun", JOB_ID, *options).stdout == f"{JOB_ID}\n"
    assert sent(agent) == {"seed": 8, "name": "second", "labels": {"team": "a"}}


def test_states_reasons_and_strategies_of_a_later_agent_are_shown(agent: StandIn) -> None:
    agent.sweeps = [sweep(status="FAILED", reason="bored", strategy="oracle", pruner="gardener")]
    facts = ml_job("sweep", "show", JOB_ID).stdout.splitlines()
    assert {"reason\tbored", "strategy\toracle, seed 7", "pruner\tgardener"} <= set(facts)


def test_json_is_what_the_agent_said(agent: StandIn) -> None:
    agent.sweeps, agent.trials = [sweep()], [trial(0, 0.5)]
    assert json.loads(ml_job("sweep", "show", JOB_ID, "--json").stdout) == agent.sweeps[0]
    assert json.loads(ml_job("sweep", "list", "--json").stdout) == agent.sweeps
    assert json.loads(ml_job("sweep", "trials", JOB_ID, "--json").stdout) == agent.trials


def test_a_sweep_that_is_not_there_is_said_with_the_way_to_find_one(home: Home, agent: StandIn) -> None:
    result = ml_job("sweep", "show", JOB_ID)
    assert result.exit_code != 0
    assert "There is no such sweep." in result.stderr
    assert "`ml-job sweep list` shows ids." in ml_job("sweep", "show", "No!").stderr
    assert "alice has no sweeps yet" in ml_job("sweep", "show", "@last").stderr
