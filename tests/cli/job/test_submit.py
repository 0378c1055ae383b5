"""`ml-job submit` and `rerun`: what is sent, what is printed, and the exit status."""

import json
import signal
import subprocess
from typing import Any

import pytest

from tests.support.ml_job import ML_JOB, ml_job
from tests.support.sample_events import END, ENDS
from tests.support.stand_in_agent import JOB_ID, StandIn, cut, event, hang, job, line, problem


def test_the_options_are_sent_and_the_id_is_printed(agent: StandIn) -> None:
    result = ml_job(
        *("submit", "train.py", "-p", "depth=3", "-p", "note=a=b", "--ref", "v1", "--name", "first"),
        *("--label", "team=risk", "--memory", "2G", "--cpus", "1.5", "--time", "30m"),
        *("--grace", "2m"),
    )
    assert (result.exit_code, result.stdout) == (0, f"{JOB_ID}\n")
    method, path, headers, body = agent.requests[0]
    assert (method, path) == ("POST", "/jobs")
    assert len(headers["Idempotency-Key"]) >= 20
    assert body == {
        "script_name": "train.py",
        "hyperparameters": {"depth": "3", "note": "a=b"},
        "ref": "v1",
        "name": "first",
        "labels": {"team": "risk"},
        "limits": {
            "memory_bytes": 2 * 2**30,
            "cpus": 1.5,
            "run_time_seconds": 1800,
            "grace_seconds": 120,
        },
    }


def test_each_job_to_wait_for_is_sent_by_its_whole_id(agent: StandIn) -> None:
    agent.jobs = [job("abcdefghijkl"), job("mnopqrstuvwx")]
    ml_job("submit", "train.py", "--after", "abcdefgh", "--after", "mnopqrstuvwx")
    method, path, _, body = agent.requests[-1]
    assert (method, path, body["after"]) == ("POST", "/jobs", ["abcdefghijkl", "mnopqrstuvwx"])


def test_each_input_is_an_artifact_of_a_job(agent: StandIn) -> None:
    agent.jobs = [job("abcdefghijkl"), job("mnopqrstuvwx")]
    ml_job("submit", "train.py", "--input", "model=abcdefgh:m/a=b:c.joblib", "--input", "table=@last:t")
    assert agent.requests[-1][3]["inputs"] == {
        "model": {"job_id": "abcdefghijkl", "path": "m/a=b:c.joblib"},
        "table": {"job_id": agent.jobs[0]["job_id"], "path": "t"},
    }


def test_an_input_may_be_an_alias_of_a_model(agent: StandIn) -> None:
    ml_job("submit", "train.py", "--input", "m=model:churn.v2@champion")
    assert agent.requests[-1][3]["inputs"] == {"m": {"model": "churn.v2", "alias": "champion"}}


@pytest.mark.parametrize(
    "text", ["model", "m=abcdefgh", "m=abcdefgh:", "=abcdefgh:m", "m=model:churn", "m=model:@a", "m=model:a@"]
)
def test_an_input_that_names_no_artifact_is_refused_at_once(agent: StandIn, text: str) -> None:
    agent.jobs = [job("abcdefghijkl")]
    assert ml_job("submit", "train.py", "--input", text).exit_code == 2
    assert all(method == "GET" for method, *_ in agent.requests)


def test_options_that_were_not_given_are_not_sent(agent: StandIn) -> None:
    ml_job("submit", "train.py")
    assert agent.requests[0][3] == {"script_name": "train.py", "hyperparameters": {}}


def test_json_is_the_job_as_the_agent_sent_it(agent: StandIn) -> None:
    result = ml_job("submit", "train.py", "--json")
    assert json.loads(result.stdout) == job(status="PENDING")


def test_a_lost_request_is_repeated_with_the_same_key(agent: StandIn) -> None:
    agent.answers["POST /jobs"] = [None, None]
    result = ml_job("submit", "train.py")
    assert (result.exit_code, len(agent.jobs)) == (0, 1)
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in agent.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_two_submissions_have_two_keys(agent: StandIn) -> None:
    ml_job("submit", "train.py")
    ml_job("submit", "train.py")
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in agent.requests}) == 2


def test_each_refused_field_and_the_hint_are_printed(agent: StandIn) -> None:
    errors = [{"field": "hyperparameters.depth", "message": "must be at least 1", "code": "range"}]
    refusal = problem(422, "invalid-request", "The request is not valid.", hint="See it.", errors=errors)
    agent.answers["POST /jobs"] = [refusal]
    result = ml_job("submit", "train.py", "-p", "depth=0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "error: The request is not valid.",
        "  hyperparameters.depth: must be at least 1",
        "hint: See it.",
    ]


@pytest.mark.parametrize("parameters", [["depth"], ["=3"], ["depth=1", "depth=2"]])
def test_a_parameter_is_a_pair_and_given_once(agent: StandIn, parameters: list[str]) -> None:
    options = [text for parameter in parameters for text in ("-p", parameter)]
    assert ml_job("submit", "train.py", *options).exit_code == 2
    assert agent.requests == []


def test_a_priority_is_sent_if_one_is_given(agent: StandIn) -> None:
    ml_job("submit", "train.py", "--priority", "-2")
    ml_job("submit", "train.py")
    bodies = [body for method, _, _, body in agent.requests if method == "POST"]
    assert [body.get("priority") for body in bodies] == [-2, None]


@pytest.mark.parametrize(("final", "status"), ENDS)
def test_following_exits_with_the_jobs_status(agent: StandIn, final: dict[str, Any], status: int) -> None:
    agent.streams = [[line(1, "one"), event("end", job(**final))]]
    result = ml_job("submit", "train.py", "--follow")
    assert (result.exit_code, result.stdout) == (status, "one\n")
    assert f"job {JOB_ID} is {final['status']}" in result.stderr


def test_following_as_json_prints_every_event(agent: StandIn) -> None:
    agent.streams = [[line(1, "one"), event("gap", {"after": 1, "count": 2, "time": "…"}, "g"), END]]
    result = ml_job("submit", "train.py", "--follow", "--json")
    events = [json.loads(text) for text in result.stdout.splitlines()]
    assert [each["event"] for each in events] == ["state", "line", "gap", "end"]
    assert events[0]["data"]["job_id"] == JOB_ID
    assert events[1]["data"]["text"] == "one"
    assert events[3]["data"] == job()


def test_an_interrupt_while_following_does_not_affect_the_job(agent: StandIn) -> None:
    agent.streams = [[line(1, "one"), hang]]
    process = subprocess.Popen(
        [*ML_JOB, "submit", "train.py", "--follow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "one\n"
    process.send_signal(signal.SIGINT)
    _, remarks = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"detached, the job goes on; `ml-job logs -f {JOB_ID}`" in remarks
    assert f"`ml-job cancel {JOB_ID}` ends it" in remarks
    assert "Traceback" not in remarks
    assert agent.paths("POST") == ["/jobs"]


def test_following_prints_a_state_once_however_often_it_is_sent(agent: StandIn) -> None:
    state = event("state", job(status="PENDING"))
    agent.streams = [[state, cut], [state, line(1, "one"), END]]
    remarks = ml_job("submit", "train.py", "--follow").stderr
    assert remarks.count("is PENDING") == 1


def test_a_rerun_sends_only_changes_and_prints_the_new_jobs_id(agent: StandIn) -> None:
    named = ("--name", "second", "--label", "team=a")
    result = ml_job("rerun", "k" * 12, "-p", "depth=4", "--memory", "1G", *named)
    assert (result.exit_code, result.stdout) == (0, f"{JOB_ID}\n")
    method, path, headers, body = agent.requests[0]
    assert (method, path) == ("POST", f"/jobs/{'k' * 12}/rerun")
    assert len(headers["Idempotency-Key"]) >= 20
    labelled = {"name": "second", "labels": {"team": "a"}}
    assert body == {"hyperparameters": {"depth": "4"}, "limits": {"memory_bytes": 2**30}, **labelled}


def test_a_rerun_without_changes_sends_none(agent: StandIn) -> None:
    ml_job("rerun", "k" * 12)
    assert agent.requests[0][3] == {}


def test_the_number_of_attempts_and_the_reasons_to_retry_are_sent(agent: StandIn) -> None:
    options = ("--max-attempts", "3", "--retry-on", "timeout", "--retry-on", "interrupted")
    ml_job("rerun", "k" * 12, *options)
    ml_job("submit", "train.py", *options)
    wanted = {"max_attempts": 3, "retry_on": ["timeout", "interrupted"]}
    assert agent.requests[0][3] == wanted
    assert agent.requests[1][3] == {"script_name": "train.py", "hyperparameters": {}, **wanted}


def test_a_cancelled_job_cannot_be_retried(agent: StandIn) -> None:
    result = ml_job("submit", "train.py", "--max-attempts", "3", "--retry-on", "stopped")
    assert result.exit_code == 2
    assert "'stopped' is not one of exit-code, " in result.stderr
    assert agent.requests == []


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1m1h", "1.5.5h"])
@pytest.mark.usefixtures("home")
def test_a_malformed_duration_is_refused(text: str) -> None:
    assert ml_job("submit", "train.py", "--time", text).exit_code == 2
