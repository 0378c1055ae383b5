"""`ml-job diff`: what it asks for, and what it shows."""

import json
import re
from typing import Any

from tests.support.ml_job import Home, at_a_terminal, ml_job
from tests.support.stand_in_agent import CREATED, JOB_ID, StandIn

OTHER = "mnopqrstuvwx"
A, B = "a" * 40, "b" * 40


def summary(last: float) -> dict[str, Any]:
    return {"count": 1, "last": last, "since_a_later_version": 1}


def differing() -> dict[str, Any]:
    """What the agent answers for two jobs that differ in everything."""
    logged = {"of": "b", "commit": B, "author": "Ada\x1b[2J", "time": CREATED, "subject": "Deeper trees"}
    return {
        "a": JOB_ID,
        "b": OTHER,
        "script": {"name": "script", "a": "train.py", "b": "other.py"},
        "commit": {"a": A, "b": B, "log": [logged], "diff": "@@ -1 +1 @@\n-depth = 3\n+depth = 9\x07\n"},
        "image": {"name": "image", "a": "sha256:1", "b": "sha256:2"},
        "hyperparameters": [{"name": "depth", "a": "3"}],
        "limits": [{"name": "cpus", "a": "1", "b": "2"}],
        "inputs": [{"name": "after", "b": JOB_ID}],
        "metrics": [
            {"name": "auc", "a": summary(0.5), "b": summary(0.75), "change": 0.25},
            {"name": "same", "a": summary(1), "b": summary(1), "change": 0},
        ],
        "since_a_later_version": 1,
    }


def test_a_program_gets_each_difference_on_a_line_and_the_scripts_diff(agent: StandIn) -> None:
    agent.difference = differing()
    result = ml_job("diff", JOB_ID, OTHER)
    assert agent.paths() == [f"/jobs/{JOB_ID}/diff/{OTHER}"]
    assert result.stdout.splitlines() == [
        "script\ttrain.py → other.py",
        "image\tsha256:1 → sha256:2",
        f"commit\t{A} → {B}",
        f"only in b\t{B} Ada^[[2J, {CREATED}: Deeper trees",
        "parameter\tdepth: 3 → none",
        "limit\tcpus: 1 → 2",
        f"input\tafter: none → {JOB_ID}",
        "metric\tauc: 0.5 → 0.75 (+0.25)",
        "@@ -1 +1 @@",
        "-depth = 3",
        "+depth = 9^G",
    ]


def test_a_person_sees_short_commits_and_nothing_drives_the_terminal(agent: StandIn, home: Home) -> None:
    agent.difference = differing() | {"commit": {"a": A, "b": B, "unknown": "It is gone.", "cut": True}}
    shown = re.sub(r"\x1b\[[0-9;]*m", "", at_a_terminal("diff", JOB_ID, OTHER))
    assert f"{A[:12]} → {B[:12]}" in shown
    assert "It is gone." in shown
    assert "there are more commits" in shown
    agent.difference = differing()
    assert "\x1b[2J" not in at_a_terminal("diff", JOB_ID, OTHER)


def test_jobs_that_do_not_differ_say_so(agent: StandIn) -> None:
    agent.difference = {
        "a": JOB_ID,
        "b": JOB_ID,
        "metrics": [{"name": "auc", "a": summary(1), "b": summary(1)}],
    }
    result = ml_job("diff", JOB_ID, JOB_ID)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "do not differ" in result.stderr


def test_json_is_as_the_agent_sent_it(agent: StandIn) -> None:
    agent.difference = differing()
    assert json.loads(ml_job("diff", JOB_ID, OTHER, "--json").stdout) == differing()
