"""A host joins: what is copied has no secret, and works for that host alone."""

import json
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from agent.cli.failure import EXIT_FAILURE, EXIT_REFUSED
from agent.cli.fleet.files import FleetFiles
from agent.config_files import load
from agent.fleet.servers import broker_server, peer_context
from agent.identity.authority import server_names
from agent.identity.key_files import certificates, key_file
from agent.identity.tls import server_context
from agent.model.fleet import host_server_name
from tests.support.ml_agent import Ended, Run

from .conftest import Switch

URL = "https://h1.example.com:8443"


class Site:
    """The front's account and those of hosts."""

    def __init__(self, account: Switch, run: Run, agent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self._account = account
        self._run = run
        self._agent = agent
        self._monkeypatch = monkeypatch
        self.front = account("front")
        self.files = FleetFiles(self.front / ".local/state/ml-fleet")
        assert run("init", "--san", "localhost", "--redis", "localhost").status == 0

    def host(self, name: str) -> Path:
        """Goes to a host's account, which has an agent."""
        home = self._account(name)
        if not (home / ".config").exists():
            assert self._agent("init", "--scripts", str(home / "repository")).status == 0
            with (home / ".config/ml-agent/config.toml").open("a") as file:
                file.write('[networks]\nlan = "pasta"\n')
        return home

    def on(self, where: str, *arguments: str, given: str = "") -> Ended:
        """Runs `ml-fleet` in an account."""
        self._account(where)
        self._monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(given.encode())))
        return self._run(*arguments)

    def request(self, name: str) -> Ended:
        self.host(name)
        return self.on(name, "join", name, "--url", URL)

    def joined(self, name: str) -> Path:
        """A host that has joined: its home."""
        asked = self.request(name)
        assert asked.status == 0, asked.err
        answer = self.on("front", "admit", given=asked.out)
        assert answer.status == 0, answer.err
        taken = self.on(name, "join", "--answer", "-", given=answer.out)
        assert taken.status == 0, taken.err
        return self.host(name)


@pytest.fixture
def site(
    account: Switch,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Site:
    from agent.cli.fleet import main
    from tests.support import ml_agent

    return Site(
        account,
        ml_agent.runner(monkeypatch, capsys, main.main),
        ml_agent.runner(monkeypatch, capsys),
        monkeypatch,
    )


def test_a_host_that_has_joined_has_what_its_programs_need(site: Site) -> None:
    home = site.joined("h1")
    settings = load()
    assert settings.fleet is not None
    assert settings.fleet.member is not None
    assert (settings.fleet.host, settings.fleet.member.agent_url) == ("h1", URL)
    assert settings.fleet.member.fronts == ["https://localhost:8443"]
    assert broker_server(settings.fleet, settings.fleet.member).url.startswith("amqps://localhost:5671/")
    peer_context(settings.fleet, settings.fleet.member)
    pki = home / ".local/state/ml-agent/pki"
    server_context(pki)
    assert server_names(certificates(pki / "fleet/server.crt")[0]) == [host_server_name("h1")]
    assert not list((pki / "fleet").glob("*.next"))


def test_no_key_leaves_the_host(site: Site) -> None:
    asked = site.request("h1")
    answer = site.on("front", "admit", given=asked.out)
    password = site.files.password.read_text().strip()
    for text in (asked.out, answer.out, asked.err, answer.err):
        assert "PRIVATE" not in text
        assert password not in text
    keys = [path for path in site.front.rglob("*") if path.is_file() and "member" in path.name]
    assert keys == []


def test_the_broker_knows_a_host_that_was_admitted(site: Site) -> None:
    site.joined("h1")
    site.joined("h2")
    plan = site.files.read_plan()
    assert (plan.hosts, plan.networks) == (["h1", "h2"], ["lan", "none"])
    known = json.loads((site.files.server("rabbitmq", "localhost") / "definitions.json").read_text())
    rights = {each["user"]: each for each in known["permissions"]}
    assert [queue["name"] for queue in known["queues"]] == ["fleet.lan", "fleet.none"]
    assert rights.keys() == {"front-front-1", "member-h1", "member-h2"}
    member = rights["member-h1"]
    assert (member["configure"], member["write"], member["read"]) == ("^$", "^$", r"^fleet\..*$")


def test_a_host_may_ask_again_with_the_same_keys(site: Site) -> None:
    first, second = (json.loads(site.request("h1").out) for _ in range(2))
    assert first.keys() == second.keys()
    answer = site.on("front", "admit", given=json.dumps(first))
    site.request("h1")
    assert site.on("h1", "join", "--answer", "-", given=answer.out).status == 0


def test_certificates_are_renewed_by_joining_again(site: Site) -> None:
    home = site.joined("h1")
    pki, configuration = home / ".local/state/ml-agent/pki/fleet", home / ".config/ml-agent/config.toml"
    before, text = certificates(pki / "member.crt")[0], configuration.read_text()
    site.joined("h1")
    after = certificates(pki / "member.crt")[0]
    assert after.serial_number != before.serial_number
    assert key_file(pki, "member", after) == pki / "member.key"
    assert configuration.read_text() == text


def test_an_answer_for_another_host_changes_nothing(site: Site) -> None:
    site.request("h1")
    answer = site.on("front", "admit", given=site.request("h2").out)
    refused = site.on("h1", "join", "--answer", "-", given=answer.out)
    assert refused.status == 78
    assert "does not belong to a request of this host" in refused.err
    assert not (site.host("h1") / ".local/state/ml-agent/pki/fleet/ca.crt").exists()
    assert load().fleet is None


@pytest.mark.parametrize(
    "change",
    [
        {"host": "h1\n"},
        {"host": "../h1"},
        {"url": "http://h1"},
        {"url": 'https://h1"\nx = 1'},
        {"member": "no request"},
        {"kind": "ml-fleet join answer"},
        {"more": 1},
    ],
)
def test_a_request_that_is_none_is_refused(site: Site, change: dict[str, Any]) -> None:
    asked = json.loads(site.request("h1").out) | change
    refused = site.on("front", "admit", given=json.dumps(asked))
    assert refused.status == EXIT_FAILURE
    assert refused.out == ""
    assert site.files.read_plan().hosts == []


@pytest.mark.parametrize(
    "arguments", [["H1", "--url", URL], ["1", "--url", URL], ["h1", "--url", "http://h1"], ["h1"]]
)
def test_a_wrong_use_says_what_is_right(site: Site, arguments: list[str]) -> None:
    site.host("h1")
    assert site.on("h1", "join", *arguments).status == EXIT_REFUSED


def test_an_answer_has_name_and_url_itself(site: Site) -> None:
    site.host("h1")
    assert site.on("h1", "join", "h1", "--answer", "-").status == EXIT_REFUSED


def test_only_a_fronts_machine_admits(site: Site) -> None:
    asked = site.request("h1")
    refused = site.on("h1", "admit", given=asked.out)
    assert refused.status == 78
    assert "no front of a fleet on this machine" in refused.err
