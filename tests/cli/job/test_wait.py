"""`ml-job wait`: the exit status, and lost connections."""

import json
from typing import Any

import pytest

from tests.support.ml_job import ml_job
from tests.support.sample_events import END, ENDS
from tests.support.stand_in_agent import JOB_ID, StandIn, cut, event, job


@pytest.mark.parametrize(("final", "status"), ENDS)
def test_wait_exits_with_the_jobs_status(agent: StandIn, final: dict[str, Any], status: int) -> None:
    agent.jobs = [job(status="RUNNING")]
    change = event("job", job(status="RUNNING"), "7.abc")
    agent.streams = [[b": \n\n", change, event("end", job(**final))]]
    result = ml_job("wait", "@last")
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith(f"ml-job: job {JOB_ID} is {final['status']}")
    assert agent.paths()[-1] == f"/jobs/{JOB_ID}/events"


def test_an_ended_job_is_not_waited_for(agent: StandIn) -> None:
    agent.jobs = [job(status="FAILED", reason="exit-code", exit_status=4)]
    result = ml_job("wait", JOB_ID, "--json")
    assert (result.exit_code, json.loads(result.stdout), result.stderr) == (4, agent.jobs[0], "")
    assert agent.paths() == [f"/jobs/{JOB_ID}"]


def test_a_lost_connection_is_continued(agent: StandIn) -> None:
    agent.jobs = [job(status="RUNNING")]
    agent.streams = [[event("job", job(status="RUNNING"), "7.abc"), cut], [END]]
    result = ml_job("wait", JOB_ID)
    assert result.exit_code == 0
    assert "Connected again" in result.stderr
    assert agent.requests[-1][2]["Last-Event-ID"] == "7.abc"


def test_a_missing_job_is_an_error_at_once(agent: StandIn) -> None:
    result = ml_job("wait", JOB_ID)
    assert result.exit_code == 2
    assert "There is no such job." in result.stderr
