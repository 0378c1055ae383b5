"""What a user is told if the agent cannot be reached, is not trusted, or answers nonsense."""

import os
import socket
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from agent.cli.job import http
from agent.identity import tls
from agent.identity.authority import Authority
from tests.support.ml_job import Home, HostKeys, ml_job
from tests.support.stand_in_agent import StandIn, serving


def test_a_port_without_a_listener_is_named(home: Home) -> None:
    result = ml_job("--server", "https://localhost:1", "submit", "train.py")
    assert result.exit_code == 69
    assert "Cannot connect to https://localhost:1" in result.stderr


def test_a_host_whose_agent_does_not_start_is_told_where_to_look(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd's socket does then: it accepts connections, and nobody reads from them."""
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = ml_job("--server", f"https://localhost:{listener.getsockname()[1]}", "list")
    assert result.exit_code == 69
    assert "did not answer in time" in result.stderr
    assert "`ml-agent doctor` on its host says why" in result.stderr


def test_nothing_is_sent_to_an_untrusted_server(agent: StandIn, home: Home, tmp_path: Path) -> None:
    other = Authority.create(tmp_path, "another authority")
    (home.path / "ca.crt").write_bytes(other.certificate_pem())
    result = ml_job("list")
    assert result.exit_code == 69
    assert "is not trusted" in result.stderr
    assert "current ca.crt" in result.stderr
    assert agent.requests == []


def test_a_server_with_another_name_is_not_trusted(agent: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_JOB_SERVER", os.environ["ML_JOB_SERVER"].replace("localhost", "127.0.0.1"))
    result = ml_job("list")
    assert result.exit_code == 69
    assert "--san" in result.stderr
    assert "is not valid for '127.0.0.1'.\n" in result.stderr


def test_the_users_expired_certificate_is_named(agent: StandIn, home: Home) -> None:
    home.add("alice", home.authority.issue_client("alice", timedelta(seconds=-1)))
    result = ml_job("list")
    assert result.exit_code == 69
    assert "alice.crt expired on" in result.stderr
    assert "ml-agent issue alice" in result.stderr


def test_the_users_certificate_from_another_authority_is_named(
    agent: StandIn, home: Home, tmp_path: Path
) -> None:
    home.add("alice", Authority.create(tmp_path, "another authority").issue_client("alice"))
    result = ml_job("list")
    assert result.exit_code == 69
    assert "was not issued by" in result.stderr


def test_a_server_without_tls_is_refused(home: Home) -> None:
    with serving(StandIn(), None) as url:
        result = ml_job("--server", url, "list")
    assert result.exit_code == 69
    assert "does not speak TLS 1.3" in result.stderr


def test_an_older_tls_version_is_refused(home: Home, host_keys: HostKeys) -> None:
    context = tls.server_context(host_keys.directory)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(StandIn(), context) as url:
        assert ml_job("--server", url, "list").exit_code == 69


@pytest.mark.parametrize(("status", "exit_code"), [(404, 2), (500, 1), (302, 2)])
def test_an_error_without_a_problem_document_is_reported_by_its_status(
    agent: StandIn, status: int, exit_code: int
) -> None:
    agent.answers["GET /jobs"] = [web.Response(status=status, text="<html>")]
    result = ml_job("list")
    assert result.exit_code == exit_code
    assert f"answered {status}" in result.stderr
