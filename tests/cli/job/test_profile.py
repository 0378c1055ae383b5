"""Which identity and which server are used, and what is wrong with a configuration."""

import os

import pytest

from tests.support.ml_job import Home, ml_job
from tests.support.stand_in_agent import StandIn


def test_the_only_identity_is_used(agent: StandIn) -> None:
    assert ml_job("list").exit_code == 0


def test_one_of_several_identities_must_be_chosen(
    agent: StandIn, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.add("bob", home.authority.issue_client("bob"))
    result = ml_job("list")
    assert result.exit_code == 2
    assert "alice, bob" in result.stderr
    assert ml_job("-i", "bob", "list").exit_code == 0
    monkeypatch.setenv("ML_JOB_IDENTITY", "alice")
    assert ml_job("list").exit_code == 0
    monkeypatch.delenv("ML_JOB_IDENTITY")
    (home.path / "config.toml").write_text('identity = "bob"\n')
    assert ml_job("list").exit_code == 0


def test_an_unknown_identity_is_refused_with_the_known_ones(home: Home) -> None:
    result = ml_job("-i", "../alice", "list")
    assert result.exit_code == 2
    assert "Known identities: alice." in result.stderr


def test_without_an_identity_its_place_is_named(home: Home) -> None:
    (home.path / "alice.key").unlink()
    result = ml_job("list")
    assert result.exit_code == 2
    assert "ml-agent issue USER" in result.stderr


def test_a_key_of_another_certificate_is_refused(home: Home) -> None:
    (home.path / "alice.key").write_bytes(home.authority.issue_client("alice").key_pem())
    result = ml_job("list")
    assert result.exit_code == 2
    assert "alice.key cannot be used" in result.stderr


def test_the_configuration_may_name_the_server(
    agent: StandIn, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.path / "config.toml").write_text(f'server = "{os.environ["ML_JOB_SERVER"]}/"\n')
    monkeypatch.delenv("ML_JOB_SERVER")
    assert ml_job("list").exit_code == 0


def test_a_byte_order_mark_before_the_configuration_is_taken(
    agent: StandIn, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'server = "{os.environ["ML_JOB_SERVER"]}/"\n'
    (home.path / "config.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    monkeypatch.delenv("ML_JOB_SERVER")
    assert ml_job("list").exit_code == 0


@pytest.mark.parametrize("text", ["sever = 'x'", "server = 1", "server =", "server = 'http://host'"])
def test_an_error_in_the_configuration_names_its_file_or_value(home: Home, text: str) -> None:
    (home.path / "config.toml").write_text(text)
    result = ml_job("list")
    assert result.exit_code == 2
    assert "config.toml" in result.stderr or "http://host" in result.stderr
