"""`ml-job compare` and `metrics`: what they ask for, and what they show."""

import json
import re
from pathlib import Path

import pytest

from tests.support.ml_job import Home, at_a_terminal, ml_job
from tests.support.stand_in_agent import JOB_ID, StandIn, compared, sweep

OTHER = "mnopqrstuvwx"
OBJECTIVE = {"metric": "auc", "direction": "maximize"}


def plain(shown: str) -> str:
    """Without colours and weights."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


@pytest.fixture
def two(agent: StandIn) -> StandIn:
    """Two jobs that differ in one parameter; the second one is the better."""
    better = {"auc": {"count": 3, "last": 0.9, "min": 0.5, "max": 0.95, "best": 0.95}}
    agent.compared = [
        compared(hyperparameters={"depth": "3", "seed": "7"}),
        compared(OTHER, hyperparameters={"depth": "12", "seed": "7"}, metrics=better, cpu_seconds=12.25),
    ]
    agent.comparison_changes = {"objective": OBJECTIVE, "best": OTHER}
    return agent


def test_a_program_gets_all_columns_in_full(two: StandIn) -> None:
    result = ml_job("compare", JOB_ID, OTHER, "--maximize", "auc")
    assert two.paths() == [f"/comparison?job={JOB_ID}&job={OTHER}&maximize=auc"]
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        [JOB_ID, "COMPLETED", "61.5", "", "", "3", "7", "0.75", "0.5", "0.875", "3"],
        [OTHER, "COMPLETED", "61.5", "12.25", "", "12", "7", "0.9", "0.5", "0.95", "3"],
    ]


def test_a_person_sees_the_best_and_what_differs(two: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = plain(at_a_terminal("compare", JOB_ID, OTHER))
    lines = shown.splitlines()
    assert lines[0].split() == ["JOB", "STATUS", "auc", "depth", "TIME", "CPU", "MEMORY"]
    assert "0.9 *" in shown
    assert "0.75 *" not in shown
    assert "the same in all: seed=7" in shown


@pytest.mark.parametrize("width", [80, 40, 20])
def test_no_line_is_wider_than_the_terminal_and_the_best_stays(
    two: StandIn, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    more = {f"metric{number}": {"count": 1, "last": number} for number in range(9)}
    two.compared = [each | {"metrics": each["metrics"] | more} for each in two.compared]
    shown = plain(at_a_terminal("compare", JOB_ID, OTHER))
    table = [line for line in shown.splitlines() if line.startswith(("JOB", JOB_ID[:8], OTHER[:8]))]
    assert len(table) == 3
    assert all(len(line) <= width for line in table)
    assert "columns have no room here" in " ".join(shown.split())
    assert ("0.9 *" in shown) == (width >= 40)


def test_a_sweep_is_compared_by_its_own_objective(two: StandIn) -> None:
    two.sweeps = [sweep()]
    ml_job("compare", "--sweep", "@last", "--json")
    assert two.paths()[-1] == f"/comparison?sweep={JOB_ID}"


@pytest.mark.parametrize(
    ("option", "media_type"), [("--csv", "text/csv"), ("--parquet", "application/vnd.apache.parquet")]
)
def test_a_file_is_what_the_agent_sent(two: StandIn, home: Home, option: str, media_type: str) -> None:
    expected = b"job_id\r\n" + media_type.encode()
    file = Path("table")
    file.write_bytes(b"an earlier one")
    assert ml_job("compare", JOB_ID, option, str(file)).exit_code == 0
    assert file.read_bytes() == expected
    assert ml_job("compare", JOB_ID, option, "-").stdout_bytes == expected


def test_json_is_as_the_agent_sent_it(two: StandIn) -> None:
    value = json.loads(ml_job("compare", JOB_ID, "--json").stdout)
    assert value["jobs"] == two.compared
    assert value["since_a_later_version"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (JOB_ID, "--sweep", JOB_ID),
        (JOB_ID, "--maximize", "a", "--minimize", "a"),
        (JOB_ID, "--csv", "a", "--json"),
    ],
)
def test_a_question_without_a_meaning_is_refused(agent: StandIn, arguments: tuple[str, ...]) -> None:
    assert ml_job("compare", *arguments).exit_code == 2
    assert agent.requests == []


def test_metrics_of_one_job(agent: StandIn, home: Home) -> None:
    assert ml_job("metrics", JOB_ID).stdout == "auc\t2\t0.75\t0.5\t0.75\n"
    shown = plain(at_a_terminal("metrics", JOB_ID))
    assert shown.splitlines()[0].split() == ["METRIC", "COUNT", "LAST", "MIN", "MAX", "CURVE"]
    assert "▁█" in shown
    assert json.loads(ml_job("metrics", JOB_ID, "--json").stdout)["series"][0]["name"] == "auc"


def test_a_job_without_metrics_says_so(agent: StandIn, home: Home) -> None:
    agent.metrics_changes = {
        "series": [],
        "ignored": {"count": 1, "line": 4, "reason": "value: must be a number"},
    }
    shown = plain(at_a_terminal("metrics", JOB_ID))
    assert "has reported no metrics" in shown
    assert "line 4: value: must be a number" in shown
