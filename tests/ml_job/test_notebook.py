"""The example of docs/notebooks.md, run as a notebook runs it: cell by cell, while an event loop runs."""

import ast
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.support.stand_in_agent import (
    CREATED,
    StandIn,
    alias,
    event,
    job,
    line,
    model,
    problem,
    sweep,
    trial,
)

PAGE = Path(__file__).parents[2] / "docs/notebooks.md"
POINT = {"step": 0, "value": 0.91, "time": CREATED}
END = event("end", job(status="COMPLETED"))


async def run_cell(source: str, names: dict[str, Any]) -> None:
    """As Jupyter does: a cell may await."""
    code = compile(source, str(PAGE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result


async def test_the_example_runs(
    agent: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.metrics_changes = {"series": [{"name": "roc_auc", "count": 1, "every": 1, "points": [POINT]}]}
    agent.files = {"churn_model.joblib": b"a model", "trained": b"a champion"}
    agent.models = [model(aliases=[alias(content=b"a champion")])]
    agent.sweeps = [sweep(status="COMPLETED")]
    agent.trials = [trial(0, 0.9)]
    lines = [line(1, "from systemd", source="system"), line(2, "from the job"), END]
    agent.streams = [[END], lines, lines]
    joblib = types.ModuleType("joblib")
    joblib.load = lambda place: place.read_bytes()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "joblib", joblib)
    names: dict[str, Any] = {}
    cells = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for number, cell in enumerate(cells):
        if "submit_sweep" in cell:  # which has ended by the first look
            monkeypatch.setattr("tests.support.stand_in_agent.sweep", lambda **_: sweep(status="COMPLETED"))
        if "except ClientError" in cell:
            agent.answers["POST /jobs"] = [problem(422, "invalid-request", "The request is not valid.")]
        await run_cell(cell, names)
        if number == 0:
            assert capsys.readouterr().out == "COMPLETED None\nroc_auc 0.91\n"
    assert (names["model"], names["scores"].inputs["model"].alias) == (b"a champion", "champion")
    assert [place.read_bytes() for place in names["files"]] == [b"a model"]
    assert names["rows"] == [{"depth": "3", "value": 0.9}]
    printed = capsys.readouterr().out
    assert printed.count("from the job") == 2
    assert "422 invalid-request The request is not valid." in printed
    assert len(cells) >= 9


def test_the_page_names_every_method() -> None:
    from ml_job import Client

    named = set(re.findall(r"`([a-z_]+)`", PAGE.read_text("utf-8")))
    assert {name for name in vars(Client) if not name.startswith("_") and name != "close"} <= named
