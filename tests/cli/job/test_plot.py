"""`ml-job compare --plot`: the picture, what it shows, and where it cannot be made."""

import importlib.util
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from agent.cli.job import plot
from agent.cli.job.plot import MAX_CURVES, importance, ranked, scaled
from tests.support.ml_job import Home, ml_job
from tests.support.stand_in_agent import JOB_ID, StandIn, compared

OBJECTIVE = {"metric": "auc", "direction": "maximize"}
KINDS = ("gini", "$\\frac{", "<svg>&")


def row(number: int) -> dict[str, Any]:
    metric = {"auc": {"count": 2, "last": number / 30, "min": 0, "max": 1}}
    hyperparameters = {"depth": str(number), "kind": KINDS[number % 3], "same": "1"}
    return compared(f"{'a' * 11}{chr(ord('a') + number)}", hyperparameters=hyperparameters, metrics=metric)


@pytest.fixture
def many(agent: StandIn) -> StandIn:
    """More jobs than curves, of which one has reported nothing."""
    agent.compared = [*(row(number) for number in range(MAX_CURVES + 5)), compared(metrics={})]
    agent.comparison_changes = {"objective": OBJECTIVE, "best": agent.compared[-2]["job_id"]}
    return agent


def test_a_picture_is_what_its_name_says(many: StandIn, home: Home) -> None:
    result = ml_job("compare", JOB_ID, "--maximize", "auc", "--plot", "picture.png")
    assert (result.exit_code, result.stdout) == (0, "")
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_a_drawing_has_the_names_the_values_and_the_best_curves(many: StandIn, home: Home) -> None:
    assert ml_job("compare", JOB_ID, "--maximize", "auc", "--plot", "a.SVG").exit_code == 0
    drawing = Path("a.SVG").read_text()
    texts = {element.text for element in ElementTree.fromstring(drawing).iter() if element.text}
    assert {"depth", "kind", "same", "auc", "step", *KINDS} <= texts
    asked = [path for path in many.paths() if path.endswith("/metrics")]
    best = [each["job_id"] for each in many.compared[-2 : -2 - MAX_CURVES : -1]]
    assert asked == [f"/jobs/{job_id}/metrics" for job_id in best]
    assert f"{best[0]} (the best)" in texts
    assert ml_job("compare", JOB_ID, "--maximize", "auc", "--plot", "b.svg").exit_code == 0
    assert Path("b.svg").read_text() == drawing, "the same jobs make the same picture"


@pytest.mark.parametrize(
    "arguments",
    [("--plot", "a.pdf", "--maximize", "auc"), ("--plot", "a.png", "--json", "--maximize", "auc")],
)
def test_a_picture_of_no_form_is_refused(agent: StandIn, arguments: tuple[str, ...]) -> None:
    assert ml_job("compare", JOB_ID, *arguments).exit_code == 2
    assert agent.requests == []


def test_without_a_metric_that_decides_there_is_no_picture(agent: StandIn, home: Home) -> None:
    agent.compared = [compared()]
    result = ml_job("compare", JOB_ID, "--plot", "a.png")
    assert result.exit_code != 0
    assert "--maximize" in result.stderr
    agent.comparison_changes = {"objective": {"metric": "loss", "direction": "minimize"}}
    result = ml_job("compare", JOB_ID, "--minimize", "loss", "--plot", "a.png")
    assert "None of these jobs has reported loss" in result.stderr
    assert not Path("a.png").exists()


def test_without_matplotlib_a_sentence_says_what_helps(
    agent: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = ml_job("compare", JOB_ID, "--maximize", "auc", "--plot", "a.png")
    assert "needs matplotlib" in result.stderr
    assert "requirements-plot.txt" in result.stderr
    assert agent.requests == []


def test_importance_is_the_share_of_the_order_that_is_explained() -> None:
    rising = [float(number) ** 3 for number in range(20)]
    assert importance([str(number) for number in range(20)], rising) == pytest.approx(1)
    assert importance([str(-number) for number in range(20)], rising) == pytest.approx(1)
    assert importance(["7"] * 20, rising) == 0
    assert importance(["x"] * 10 + ["y"] * 10, rising) == pytest.approx(0.75, abs=0.01)
    assert importance(["x", "y"] * 10, rising) < 0.01
    assert importance(["1", "2"], [3.0, 3.0]) == 0


def test_equal_values_share_a_rank() -> None:
    assert ranked([5.0, 1.0, 5.0, 9.0]) == [1.5, 0.0, 1.5, 3.0]


@pytest.mark.parametrize("texts", [["1", "x"], ["nan", "1"], ["1e308", "-1e308"], ["inf", "1"]])
def test_an_axis_that_has_no_finite_scale_is_one_of_words(texts: list[str]) -> None:
    heights, marks = scaled(texts)
    assert heights == [0.0, 1.0]
    assert marks == [(0.0, texts[0]), (1.0, texts[1])]


def test_an_axis_of_numbers_is_in_their_order() -> None:
    assert scaled(["10", "5", "7.5"]) == ([1.0, 0.0, 0.5], [(0.0, "5"), (1.0, "10")])
    assert scaled(["3"])[0] == [0.0]
    assert plot.FORMATS == ("png", "svg")
