"""Abbreviated job ids, and the warning about a key that others can read."""

import json

import pytest

from tests.support.ml_job import Home, at_a_terminal, ml_job
from tests.support.stand_in_agent import JOB_ID, StandIn, job


def test_an_unambiguous_beginning_is_enough(agent: StandIn) -> None:
    agent.jobs = [job("aaaabbbbcccc"), job()]
    assert json.loads(ml_job("show", "abcd", "--json").stdout)["job_id"] == JOB_ID


def test_an_ambiguous_beginning_is_refused_with_the_candidates(agent: StandIn) -> None:
    agent.jobs = [job("abcdbbbbcccc"), job()]
    result = ml_job("cancel", "abcd")
    assert result.exit_code == 2
    assert f"abcdbbbbcccc, {JOB_ID}" in result.stderr
    assert agent.paths("POST") == []


def test_last_is_the_users_newest_job(agent: StandIn) -> None:
    agent.jobs = [job(), job("aaaabbbbcccc")]
    assert json.loads(ml_job("show", "@last", "--json").stdout)["job_id"] == JOB_ID
    assert agent.paths()[0] == "/jobs?owner=alice&limit=1"


@pytest.mark.parametrize("text", ["abc", "ABCDEF", "../jobs", "abcdefghijklm", "ab1d", ""])
def test_anything_else_is_refused_before_a_request_is_sent(agent: StandIn, text: str) -> None:
    assert ml_job("show", text).exit_code == 2
    assert agent.requests == []


def test_a_beginning_without_a_job_is_refused(agent: StandIn) -> None:
    result = ml_job("show", "zzzz")
    assert result.exit_code == 2
    assert "begins with zzzz" in result.stderr


def test_a_person_is_warned_of_a_key_that_others_can_read(agent: StandIn, home: Home) -> None:
    key = home.path / "alice.key"
    assert "chmod" not in at_a_terminal("list")
    key.chmod(0o640)
    assert at_a_terminal("list").count("alice.key can be read by other accounts") == 1
    assert ml_job("list").stderr == ""
