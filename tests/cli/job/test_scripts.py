"""`ml-job scripts`."""

import json

import pytest

from tests.support.ml_job import ml_job
from tests.support.stand_in_agent import StandIn


def test_scripts_are_listed_with_their_parameters(agent: StandIn) -> None:
    assert ml_job("scripts", "--ref", "v1").stdout == "train.py\tdepth\tTrains.\n"
    assert agent.paths() == ["/scripts?ref=v1"]


def test_one_script_is_shown_with_what_each_parameter_takes(agent: StandIn) -> None:
    assert "depth\tinteger\t3\t≥ 1, ≤ 1000000\t" in ml_job("scripts", "train.py").stdout
    assert json.loads(ml_job("scripts", "train.py", "--json").stdout)["script_name"] == "train.py"


def test_an_unknown_script_is_refused_with_the_nearest_name(agent: StandIn) -> None:
    result = ml_job("scripts", "tran.py")
    assert result.exit_code == 2
    assert "Did you mean train.py?" in result.stderr


def test_what_is_left_out_is_told_beside_the_table(agent: StandIn) -> None:
    agent.left_out = [{"path": f"a {number:03}.py", "reason": "is a link"} for number in range(130)]
    result = ml_job("scripts")
    assert result.stdout == "train.py\tdepth\tTrains.\n"
    told = result.stderr.splitlines()
    assert told[0] == "ml-job: left out: a 000.py is a link"
    assert told[-1] == "ml-job: left out: 110 more; --json names up to 100"
    assert len(told) == 21
    assert json.loads(ml_job("scripts", "--json").stdout)["left_out_count"] == 130


def test_a_script_that_is_left_out_says_why(agent: StandIn) -> None:
    agent.left_out = [{"path": "shared.py", "reason": "is a submodule"}]
    result = ml_job("scripts", "shared.py")
    assert result.exit_code == 2
    assert "shared.py at commit" in result.stderr
    assert "is a submodule." in result.stderr
    assert "There is no script" not in result.stderr


@pytest.mark.parametrize("command", [("scripts",), ("submit", "train.py")])
def test_an_empty_ref_is_refused_and_runs_nothing(agent: StandIn, command: tuple[str, ...]) -> None:
    result = ml_job(*command, "--ref", "")
    assert result.exit_code == 2
    assert "leave it out to run the current commit" in " ".join(result.stderr.replace("│", "").split())
    assert agent.requests == []
