"""`ml-job secret`: values travel to the agent and are never shown."""

import json
from pathlib import Path

from aiohttp import web

from tests.support.ml_job import at_a_terminal, ml_job
from tests.support.stand_in_agent import JOB_ID, StandIn, problem, secret


def test_a_value_travels_as_the_body_and_is_never_shown(agent: StandIn) -> None:
    value = b"hunter2\xff\n"
    result = ml_job("secret", "set", "api", stdin=value)
    assert result.exit_code == 0
    method, path, headers, body = agent.requests[0]
    assert (method, path, body) == ("PUT", "/secrets/api", value)
    assert headers["Content-Type"] == "application/octet-stream"
    assert result.stdout == (
        f"Rotated: jobs that start from now on get api of alice.\nRunning with the earlier value: {JOB_ID}.\n"
    )
    assert "hunter2" not in result.output


def test_a_typed_value_is_not_shown(agent: StandIn) -> None:
    shown = at_a_terminal("secret", "set", "api", typed=b"hunter2\n")
    assert agent.requests[0][3] == b"hunter2"
    assert "Value (not shown)" in shown
    assert "hunter2" not in shown


def test_a_file_that_others_can_read_is_remarked(agent: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_text("hunter2")
    file.chmod(0o644)
    result = ml_job("secret", "set", "api", "--file", str(file))
    assert agent.requests[0][3] == b"hunter2"
    assert "chmod 600" in result.stderr


def test_a_value_cannot_be_an_argument(agent: StandIn) -> None:
    assert ml_job("secret", "set", "api", "hunter2").exit_code == 2
    assert agent.requests == []


def test_a_missing_file_is_named(agent: StandIn) -> None:
    result = ml_job("secret", "set", "api", "--file", "nowhere")
    assert (result.exit_code, agent.requests) == (2, [])
    assert "nowhere cannot be read" in result.stderr


def test_secrets_are_listed_with_user_and_time(agent: StandIn) -> None:
    time = "2026-01-01T00:00:00.000Z"
    assert ml_job("secret", "list").stdout == f"shared\teverybody\t{time}\napi\talice\t{time}\n"
    assert json.loads(ml_job("secret", "list", "--json").stdout)["secrets"][1]["age_seconds"] == 60


def test_a_fleets_secrets_are_listed_with_the_hosts_that_lack_them(agent: StandIn) -> None:
    secrets = [secret("api"), secret("other") | {"missing_on": ["h1", "h2"]}]
    agent.answers["GET /secrets"] = [web.json_response({"secrets": secrets})]
    rows = [line.split("\t") for line in ml_job("secret", "list").stdout.splitlines()]
    assert [(row[0], row[3]) for row in rows] == [("api", ""), ("other", "h1, h2")]


def test_hosts_that_do_not_have_the_new_value_yet_are_named(agent: StandIn) -> None:
    change = secret("api") | {"rotated": False, "earlier_value_in": [], "missing_on": ["h2"]}
    agent.answers["PUT /secrets/api"] = [web.json_response(change)]
    said = ml_job("secret", "set", "api", stdin="x").stdout
    assert said.splitlines()[1:] == ["Not yet on h2: no job that needs it runs there until it is."]


def test_a_secret_is_removed(agent: StandIn) -> None:
    assert ml_job("secret", "rm", "api").stdout == "Removed api of alice.\n"
    assert agent.paths("DELETE") == ["/secrets/api"]


def test_a_removal_whose_answer_was_lost_succeeds(agent: StandIn) -> None:
    gone = [problem(404, "secret-not-found", "You have no secret api.") for _ in range(3)]
    agent.answers["DELETE /secrets/api"] = [None, gone[0], None, None, None, gone[1], gone[2]]
    assert ml_job("secret", "rm", "api").stdout == "Removed api of alice.\n"
    assert json.loads(ml_job("secret", "rm", "api", "--json").stdout) == {"name": "api", "user": "alice"}
    # What is not there at the first request was never removed.
    result = ml_job("secret", "rm", "api")
    assert (result.exit_code, result.stderr) == (2, "error: You have no secret api.\n")


def test_another_refusal_of_a_repeated_removal_is_an_error(agent: StandIn) -> None:
    revoked = problem(403, "certificate-refused", "It was revoked.")
    agent.answers["DELETE /secrets/api"] = [None, revoked]
    assert ml_job("secret", "rm", "api").exit_code == 2


def test_a_name_cannot_change_the_path(agent: StandIn) -> None:
    ml_job("secret", "rm", "../jobs?x")
    assert agent.paths("DELETE") == ["/secrets/..%2Fjobs%3Fx"]
