"""`ml-job usage`: what it asks for, and what it shows."""

import json
import re
from pathlib import Path

import pytest

from tests.support.ml_job import Home, at_a_terminal, ml_job
from tests.support.stand_in_agent import StandIn, used


def test_a_program_gets_every_figure(agent: StandIn) -> None:
    unknown = used(user="bob", cpu_seconds=None, measured_attempts=0)
    agent.usage = [used(user="alice"), {name: value for name, value in unknown.items() if value is not None}]
    result = ml_job("usage", "--from", "2026-05-01", "--to", "2026-06-01")
    assert agent.paths() == ["/usage?from=2026-05-01&to=2026-06-01&by=user"]
    rest = ["12.0", "3.25", "2147483648", "5242880"]
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        ["2026-05", "alice", "3", "4", "4", "5400.0", "9000.5", *rest],
        ["2026-05", "bob", "3", "4", "0", "5400.0", "", *rest],
    ]


def test_a_person_sees_hours_in_eighty_columns(agent: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    agent.usage = [used(script_name="train_churn_model.py"), used(measured_attempts=1)]
    shown = re.sub(r"\x1b\[[0-9;]*m", "", at_a_terminal("usage", "--by", "script"))  # without weights
    lines = shown.splitlines()
    assert agent.paths() == ["/usage?by=script"]
    assert "train_churn_model.py" in lines[1]
    assert lines[1].split()[2:] == ["3", "1.50", "2.50", "12.00", "2.0", "GiB", "5.0", "MiB"]
    assert "(others)" in lines[2]
    assert "5 of 8 attempts" in lines[3]
    assert all(len(line) <= 80 for line in lines[:3])


def test_the_table_is_saved_as_the_agent_gives_it(agent: StandIn, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    assert ml_job("usage", "--owner", "bob", "--csv", str(file)).exit_code == 0
    assert agent.paths() == ["/usage?by=user&owner=bob"]
    assert file.read_bytes() == b"month,jobs\r\ntext/csv"
    assert ml_job("usage", "--csv", "-").stdout == "month,jobs\ntext/csv"
    assert ml_job("usage", "--csv", "-", "--json").exit_code == 2


def test_json_is_the_answer_itself(agent: StandIn) -> None:
    agent.usage = [used(label="team=red")]
    answer = json.loads(ml_job("usage", "--by", "label", "--json").stdout)
    assert answer["rows"] == agent.usage
