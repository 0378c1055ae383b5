"""The key for a host's secrets: signed by the host, and by no other one."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.errors import AgentError, Problem
from agent.identity import host_key
from agent.identity.authority import Authority
from agent.model.fleet import HostKey, host_server_name
from tests.support.pki import forged, save, yesterday

KEY, OTHER = (base64.b64encode(bytes([each]) * 32).decode() for each in (1, 2))


@pytest.fixture
def fleet() -> Authority:
    return Authority.make("fleet CA")


@pytest.fixture
def signed(tmp_path: Path, fleet: Authority) -> HostKey:
    save(tmp_path, "server", fleet.issue_server(["10.0.0.1", host_server_name("h1")]))
    return host_key.signed(tmp_path, "h1", KEY)


def check(key: HostKey, *authorities: Authority) -> None:
    host_key.check(key, [each.certificate for each in authorities])


def refused() -> pytest.RaisesExc[AgentError]:
    return pytest.raises(AgentError, check=lambda error: error.problem is Problem.FORBIDDEN)


def test_a_host_of_the_fleet_vouches_for_its_key(signed: HostKey, fleet: Authority) -> None:
    assert (signed.host, signed.public_key) == ("h1", KEY)
    check(signed, fleet)
    # While authorities change, both count.
    check(signed, Authority.make("the new one"), fleet)


def test_another_fleets_host_is_refused(signed: HostKey) -> None:
    with refused():
        check(signed, Authority.make("another CA"))


def test_no_part_of_a_signed_key_can_be_exchanged(signed: HostKey, tmp_path: Path, fleet: Authority) -> None:
    save(tmp_path, "server", fleet.issue_server([host_server_name("h2")]))
    other = host_key.signed(tmp_path, "h2", OTHER)
    for part in ("host", "public_key", "certificate", "signature"):
        with refused():
            check(signed.model_copy(update={part: getattr(other, part)}), fleet)


def test_a_host_cannot_vouch_under_another_name(tmp_path: Path, fleet: Authority) -> None:
    save(tmp_path, "server", fleet.issue_server([host_server_name("h2")]))
    with refused():
        check(host_key.signed(tmp_path, "h1", KEY), fleet)


def test_the_certificate_of_a_user_or_a_peer_vouches_for_nobody(tmp_path: Path, fleet: Authority) -> None:
    save(tmp_path, "server", fleet.issue_client("h1"))
    with refused():
        check(host_key.signed(tmp_path, "h1", KEY), fleet)


def test_an_expired_certificate_vouches_for_nobody(tmp_path: Path, fleet: Authority) -> None:
    issued = fleet.issue_server([host_server_name("h1")])
    save(tmp_path, "server", forged(fleet, issued, start=yesterday().replace(year=2020), end=yesterday()))
    with refused():
        check(host_key.signed(tmp_path, "h1", KEY), fleet)


@pytest.mark.parametrize("part", ["certificate", "signature"])
@pytest.mark.parametrize("text", ["", "AAAA", "A", "not base64"])
def test_what_is_damaged_is_refused(signed: HostKey, fleet: Authority, part: str, text: str) -> None:
    with refused():
        check(signed.model_copy(update={part: text}), fleet)


def test_an_authority_is_no_host(fleet: Authority) -> None:
    certificate = base64.b64encode(fleet.certificate.public_bytes(Encoding.DER)).decode()
    with refused():
        check(HostKey(host="h1", public_key=KEY, certificate=certificate, signature="AAAA"), fleet)


def test_a_host_without_a_certificate_cannot_sign(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as caught:
        host_key.signed(tmp_path, "h1", KEY)
    assert caught.value.problem is Problem.CONFIGURATION
