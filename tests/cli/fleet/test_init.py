"""`ml-fleet init`: what it makes, and that it may be repeated."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.cli.failure import EXIT_CONFIGURATION, EXIT_FAILURE
from agent.cli.fleet.files import FleetFiles
from agent.config_files import load
from agent.fleet.servers import broker_server, peer_context, record_server
from agent.fleet.tickets import QUEUE_ARGUMENTS
from agent.identity.authority import server_names
from agent.identity.key_files import certificates
from agent.identity.subject import Subject, identify
from agent.identity.tls import server_context
from agent.model.certificate import Role
from agent.model.fleet import FRONT_SERVER_NAME
from tests.support.ml_agent import Run, certificates_of, issue

OPTIONS = ("--san", "front.example.com", "--redis", "localhost", "--network", "warehouse")


@pytest.fixture
def files(home: Path) -> FleetFiles:
    return FleetFiles(home / ".local/state/ml-fleet")


def test_a_front_is_ready_for_its_settings(run: Run, home: Path, files: FleetFiles) -> None:
    done = run("init", *OPTIONS)
    assert done.status == 0, done.err
    settings = load()
    assert settings.fleet is not None
    assert settings.fleet.front is not None
    assert settings.state_directory == files.directory
    assert settings.fleet.host is None
    front = settings.fleet.front
    assert (front.name, front.http.port, settings.http.port) == ("front-1", 8443, 8443)
    record, broker = record_server(settings.fleet), broker_server(settings.fleet, front)
    assert (record.url, broker.url) == (
        "rediss://front@localhost:6379",
        "amqps://front.example.com:5671/?auth=EXTERNAL",
    )
    assert record.password
    assert record.password not in done.out + done.err
    peer_context(settings.fleet, front)
    server_context(files.pki)
    certificate = certificates(front.certificate)[0]
    der = certificate.public_bytes(Encoding.DER)
    assert identify(der) == Subject("front-1", identify(der).serial, role=Role.FRONT)
    assert server_names(certificates(files.pki / "fleet/server.crt")[0]) == [FRONT_SERVER_NAME]
    assert "front.example.com" in server_names(certificates(files.pki / "server.crt")[0])


def test_nothing_secret_is_readable_by_others(run: Run, files: FleetFiles) -> None:
    run("init", *OPTIONS)
    assert stat.S_IMODE(files.directory.stat().st_mode) == 0o700
    for directory, _, names in os.walk(files.directory):
        for name in names:
            if name.endswith((".key", ".password", ".acl", "redis.conf")):
                assert stat.S_IMODE(Path(directory, name).stat().st_mode) == 0o600, name


def test_a_repetition_changes_nothing_but_what_is_new(run: Run, files: FleetFiles) -> None:
    run("init", *OPTIONS)
    before = {path: path.read_bytes() for path in files.directory.rglob("*") if path.is_file()}
    again = run("init")
    assert again.status == 0
    assert "made" not in again.out
    assert {path: path.read_bytes() for path in before} == before
    added = run("init", "--network", "lan", "--redis", "localhost", "--redis", "replica.example.com")
    assert added.status == 0, added.err
    plan = files.read_plan()
    assert (plan.networks, plan.redis) == (["lan", "none", "warehouse"], ["localhost", "replica.example.com"])
    replica = (files.server("redis", "replica.example.com") / "redis.conf").read_text()
    assert "replicaof localhost 6379" in replica
    assert "replicaof" not in (files.server("redis", "localhost") / "redis.conf").read_text()


def test_another_broker_is_refused(run: Run) -> None:
    run("init", *OPTIONS)
    refused = run("init", "--rabbitmq", "other.example.com")
    assert refused.status == EXIT_CONFIGURATION
    assert "RabbitMQ front.example.com" in refused.err


def test_a_replica_is_promoted(run: Run, files: FleetFiles) -> None:
    run("init", *OPTIONS, "--redis", "r2.example.com")
    refused = run("promote", "r3.example.com")
    assert (refused.status, "they are: r2.example.com" in refused.err) == (EXIT_FAILURE, True)
    done = run("promote", "r2.example.com")
    assert done.status == 0, done.err
    fleet = load().fleet
    assert fleet is not None
    assert fleet.record is not None
    assert fleet.record.url == "rediss://front@r2.example.com:6379"
    assert files.read_plan().redis == ["r2.example.com"]
    assert "replicaof" not in (files.server("redis", "r2.example.com") / "redis.conf").read_text()
    assert run("init").status == 0


def test_redis_keeps_the_rules(run: Run, files: FleetFiles) -> None:
    run("init", *OPTIONS)
    directory = files.server("redis", "localhost")
    text = (directory / "redis.conf").read_text()
    for rule in (
        "port 0",
        "tls-auth-clients yes",
        "appendonly yes",
        "appendfsync always",
        "maxmemory-policy noeviction",
    ):
        assert f"\n{rule}\n" in text
    assert "@" not in text
    acl = (directory / "users.acl").read_text()
    assert acl.startswith("user default off ")
    assert "@FRONT" not in acl
    assert files.password.read_text().strip() not in acl


def test_rabbitmq_knows_queues_and_users(run: Run, files: FleetFiles) -> None:
    run("init", *OPTIONS)
    directory = files.server("rabbitmq", "front.example.com")
    known = json.loads((directory / "definitions.json").read_text())
    assert {queue["name"]: queue["arguments"] for queue in known["queues"]} == {
        "fleet.none": QUEUE_ARGUMENTS,
        "fleet.warehouse": QUEUE_ARGUMENTS,
    }
    assert [(user["name"], user["password_hash"]) for user in known["users"]] == [("front-front-1", "")]
    text = (directory / "rabbitmq.conf").read_text()
    assert "auth_mechanisms.1 = EXTERNAL\n" in text
    assert "fail_if_no_peer_cert = true\n" in text


@pytest.mark.parametrize("server", ["redis-localhost", "rabbitmq-front.example.com"])
def test_the_scripts_for_the_servers_are_shell(run: Run, files: FleetFiles, server: str) -> None:
    run("init", *OPTIONS)
    subprocess.run(["sh", "-n", files.directory / "servers" / server / "install"], check=True)


def test_users_of_the_front_are_those_of_the_account(
    run: Run, agent: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("init", *OPTIONS)
    monkeypatch.chdir(home)
    issue(agent, "alice")
    assert [each["user"] for each in certificates_of(agent)] == ["alice"]
    invited = agent("invite", "bob")
    assert "ml-job://front.example.com:8443/enrol?" in invited.out


def test_beside_an_agent_the_front_has_a_port_of_its_own(run: Run, agent: Run, home: Path) -> None:
    assert agent("init", "--scripts", str(home / "repository")).status == 0
    refused = run("init", *OPTIONS)
    assert refused.status == EXIT_CONFIGURATION
    assert "--port" in refused.err
    before = (home / ".config/ml-agent/config.toml").read_text()
    assert "[fleet" not in before
    done = run("init", *OPTIONS, "--port", "9443")
    assert done.status == 0, done.err
    settings = load()
    assert settings.fleet is not None
    assert settings.fleet.front is not None
    assert (settings.http.port, settings.fleet.front.http.port) == (8443, 9443)
    assert settings.state_directory == home / ".local/state/ml-agent"
    assert (settings.fleet.front.state_directory / "pki/ca.crt").exists()
