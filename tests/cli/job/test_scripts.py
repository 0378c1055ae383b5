"""`ml-job scripts`."""

import json

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
