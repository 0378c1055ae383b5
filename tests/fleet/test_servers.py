"""Which files a program of the fleet shows to which server."""

import ssl
from pathlib import Path

import pytest

from agent.config_fleet import BrokerSettings, FleetSettings, FrontSettings, MemberSettings, RecordSettings
from agent.errors import AgentError, Problem
from agent.fleet.servers import broker_server, peer_context, record_server
from agent.identity.authority import Authority
from agent.model.fleet import host_server_name
from tests.support.pki import save

CA, OTHER = Path("/fleet/ca.crt"), Path("/other/ca.crt")


def settings(directory: Path = Path("/fleet"), **parts: object) -> FleetSettings:
    front = FrontSettings(name="f1", certificate=directory / "front.crt", key=directory / "front.key")
    member = MemberSettings(
        fronts=["https://f1"],
        agent_url="https://h1",
        certificate=directory / "member.crt",
        key=directory / "member.key",
    )
    usual = {
        "host": "h1",
        "authority": directory / "ca.crt",
        "record": RecordSettings(url="rediss://front@redis"),
        "broker": BrokerSettings(url="amqps://mq/?auth=EXTERNAL"),
        "front": front,
        "member": member,
    }
    return FleetSettings(**{**usual, **parts})


def test_a_server_is_shown_the_programs_certificate() -> None:
    fleet = settings()
    assert fleet.front is not None
    assert fleet.member is not None
    record = record_server(fleet)
    assert (record.authority, record.certificate, record.key) == (
        CA,
        Path("/fleet/front.crt"),
        Path("/fleet/front.key"),
    )
    broker = broker_server(fleet, fleet.member)
    assert (broker.authority, broker.certificate) == (CA, Path("/fleet/member.crt"))
    assert broker_server(fleet, fleet.front).certificate == Path("/fleet/front.crt")


def test_a_server_may_have_files_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    fleet = settings(
        record=RecordSettings(
            url="rediss://front@redis",
            password_file=tmp_path / "password",
            authority=OTHER,
            certificate=Path("/r.crt"),
            key=Path("/r.key"),
            replicas=1,
        )
    )
    record = record_server(fleet)
    assert (record.authority, record.certificate, record.key) == (OTHER, Path("/r.crt"), Path("/r.key"))
    assert (record.password, record.replicas) == ("secret", 1)
    assert "secret" not in repr(record)


def test_a_password_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    fleet = settings(record=RecordSettings(url="redis://r", password_file=tmp_path / "absent"))
    with pytest.raises(AgentError, match="absent") as caught:
        record_server(fleet)
    assert caught.value.problem is Problem.CONFIGURATION


def test_a_peer_must_be_of_the_fleets_authority(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "the fleet")
    save(tmp_path, "member", authority.issue_server([host_server_name("h1")]))
    fleet = settings(tmp_path)
    assert fleet.member is not None
    context = peer_context(fleet, fleet.member)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert [each["subject"] for each in context.get_ca_certs()] == [((("commonName", "the fleet"),),)]


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    Authority.create(tmp_path, "the fleet")
    fleet = settings(tmp_path)
    assert fleet.member is not None
    with pytest.raises(AgentError, match=r"member\.crt for the fleet cannot be used") as caught:
        peer_context(fleet, fleet.member)
    assert caught.value.problem is Problem.CONFIGURATION
