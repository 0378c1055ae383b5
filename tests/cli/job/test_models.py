"""`ml-job model`, against an agent that answers by script."""

import json
from pathlib import Path

import pytest

from agent.cli.failure import EXIT_REFUSED
from tests.support.ml_job import Home, at_a_terminal, ml_job
from tests.support.stand_in_agent import CREATED, JOB_ID, StandIn, alias, job, model, problem

PATH = "/models/churn/aliases/champion"


@pytest.fixture
def models(agent: StandIn) -> StandIn:
    agent.models, agent.files = [model()], {"trained": b"trained"}
    return agent


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ((), {}),
        (("--if", "b" * 12), {"If-Match": f'"{"b" * 12}"'}),
        (("--new",), {"If-None-Match": "*"}),
    ],
)
def test_an_alias_is_set_on_a_condition(
    models: StandIn, options: tuple[str, ...], header: dict[str, str]
) -> None:
    models.jobs = [job()]
    result = ml_job("model", "set", "churn", "champion", "@last", "out/model.joblib", *options)
    assert result.stdout == (
        f"churn champion points at out/model.joblib of job {JOB_ID}, version {'b' * 12}\n"
    )
    method, path, headers, body = models.requests[-1]
    assert (method, path, body) == ("PUT", PATH, {"job_id": JOB_ID, "path": "out/model.joblib"})
    sent = {name: headers[name] for name in ("If-Match", "If-None-Match") if name in headers}
    assert sent == header


def test_who_was_slower_is_told_so(models: StandIn) -> None:
    models.answers[f"PUT {PATH}"] = [problem(412, "precondition-failed", "Somebody else was faster.")]
    result = ml_job("model", "set", "churn", "champion", JOB_ID, "model.joblib", "--new")
    assert (result.exit_code, "Somebody else was faster." in result.stderr) == (EXIT_REFUSED, True)


def test_models_are_listed_and_shown(models: StandIn) -> None:
    models.models.append(model("second", readers={"users": [], "everybody": True}, aliases=[]))
    assert ml_job("model", "list").stdout == "churn\talice\tchampion\tbob\nsecond\talice\t\teverybody\n"
    facts = ml_job("model", "show", "churn").stdout.splitlines()
    assert {"model\tchurn", "readers\tbob", f"champion\tout/model.joblib of job {JOB_ID}"} <= set(facts)
    assert f"sha-256\t{alias()['sha256']}" in facts
    assert f"moved\t{CREATED} by alice, move 2, version {'b' * 12}" in facts
    moves = ml_job("model", "history", "churn", "champion").stdout.split("\t")
    assert moves[:5] == ["champion", "2", "b" * 12, JOB_ID, "out/model.joblib"]


def test_nothing_in_a_model_drives_the_terminal(models: StandIn) -> None:
    models.models = [model(aliases=[alias(path="\x1b[2Jm", moved_by="\x1b[2Jb")], owner="\x1b[2Jo")]
    for words in (
        ("list",),
        ("show", "churn"),
        ("history", "churn", "champion"),
        ("rm", "churn", "champion"),
    ):
        assert "\x1b[2J" not in at_a_terminal("model", *words)


def test_what_an_alias_points_at_is_fetched_and_verified(models: StandIn, home: Home) -> None:
    assert ml_job("model", "get", "churn", "champion").stdout == "model.joblib\n"
    assert Path("model.joblib").read_bytes() == b"trained"
    assert ml_job("model", "get", "churn", "champion").exit_code == 0  # it is there already
    Path("model.joblib").write_bytes(b"mine")
    refused = ml_job("model", "get", "churn", "champion")
    assert (refused.exit_code, "other files in the place" in refused.stderr) == (EXIT_REFUSED, True)
    assert ml_job("model", "get", "churn", "champion", "--force").exit_code == 0
    assert ml_job("model", "get", "churn", "champion", "-o", "out/").stdout == "out/model.joblib\n"
    models.files["trained"] = b"trainee"
    damaged = ml_job("model", "get", "churn", "champion", "-o", "third")
    assert (damaged.exit_code, "does not match" in damaged.stderr) == (1, True)
    assert not Path("third").exists()


def test_a_name_leads_nowhere_else(models: StandIn) -> None:
    models.models = [model(aliases=[alias(path="../../.bashrc")])]
    assert "Hidden files" in ml_job("model", "get", "churn", "champion", "-o", ".").stderr
    ml_job("model", "show", "../host")
    assert models.paths()[-1] == "/models/..%2Fhost"


@pytest.mark.parametrize("lost", ["", "alias-not-found", "model-not-found"])
def test_an_alias_is_removed_also_where_the_answer_is_lost(models: StandIn, lost: str) -> None:
    if lost:
        models.answers[f"DELETE {PATH}"] = [None, problem(404, lost, "It is gone.")]
    result = ml_job("model", "rm", "churn", "champion", "--if", "b" * 12)
    assert result.stdout == "Removed the alias champion of churn.\n"
    assert models.requests[-1][2]["If-Match"] == f'"{"b" * 12}"'


@pytest.mark.parametrize(
    ("options", "body", "said"),
    [
        (("--with", "dora", "--with", "bob"), {"users": ["dora", "bob"], "everybody": False}, "dora, bob"),
        (("--everybody",), {"users": [], "everybody": True}, "everybody"),
        (("--stop",), {"users": [], "everybody": False}, "its owner alone"),
        ((), None, "bob"),
    ],
)
def test_a_model_is_shared(models: StandIn, options: tuple[str, ...], body: object, said: str) -> None:
    assert ml_job("model", "share", "churn", *options).stdout == f"churn can be read by {said}\n"
    assert models.requests[-1][3] == body


def test_one_way_of_sharing_at_a_time(models: StandIn) -> None:
    refused = ml_job("model", "share", "churn", "--everybody", "--stop")
    assert (refused.exit_code, "give one of" in refused.stderr) == (2, True)
    assert models.requests == []


def test_json_is_what_the_agent_said(models: StandIn) -> None:
    for words, expected in (
        (("list",), models.models),
        (("show", "churn"), models.models[0]),
        (("history", "churn", "champion"), {"moves": [alias()]}),
        (("set", "churn", "champion", JOB_ID, "x"), alias()),
        (("rm", "churn", "champion"), alias()),
    ):
        assert json.loads(ml_job("model", *words, "--json").stdout) == expected
