"""`ml-job share` and `ml-job sweep share`; lists of what others share."""

import json

import pytest

from tests.support.ml_job import ml_job
from tests.support.stand_in_agent import JOB_ID, StandIn, job, sweep


@pytest.mark.parametrize("kind", ["job", "sweep"])
@pytest.mark.parametrize(
    ("options", "body", "said"),
    [
        (("--with", "dora", "--with", "bob"), {"users": ["dora", "bob"], "everybody": False}, "dora, bob"),
        (("--everybody",), {"users": [], "everybody": True}, "everybody"),
        (("--stop",), {"users": [], "everybody": False}, "its owner alone"),
        ((), None, "its owner alone"),
    ],
)
def test_a_job_or_a_sweep_is_shared(
    agent: StandIn, kind: str, options: tuple[str, ...], body: object, said: str
) -> None:
    agent.jobs, agent.sweeps = [job()], [sweep()]
    words = ("share",) if kind == "job" else ("sweep", "share")
    assert ml_job(*words, JOB_ID, *options).stdout == f"{kind} {JOB_ID} can be read by {said}\n"
    method, path, _, sent = agent.requests[-1]
    assert (method, path.removesuffix("/readers")) == ("PUT" if body else "GET", f"/{kind}s/{JOB_ID}")
    assert sent == body


def test_lists_of_what_others_share_are_asked_for(agent: StandIn) -> None:
    agent.jobs, agent.sweeps = [job()], [sweep()]
    assert json.loads(ml_job("list", "--shared", "--json").stdout) == agent.jobs
    assert json.loads(ml_job("sweep", "list", "--shared", "--json").stdout) == agent.sweeps
    assert [path.partition("?")[0] for path in agent.paths()] == ["/jobs", "/sweeps"]
    assert all("shared=true" in path for path in agent.paths())
    ml_job("list")
    assert "shared" not in agent.paths()[-1]
