"""Which hosts and addresses the rules of a site allow."""

import ipaddress
from ipaddress import ip_network

import pytest
from pydantic import ValidationError

from agent.config import EgressSettings
from agent.egress.policy import Policy

ALLOWED = Policy(EgressSettings(allow=["db.example.com:443", "*.storage.example.com:8443"]))


@pytest.mark.parametrize(
    ("host", "port", "allowed"),
    [
        ("db.example.com", 443, True),
        ("db.example.com", 80, False),
        ("x.db.example.com", 443, False),
        ("example.com", 443, False),
        ("evildb.example.com", 443, False),
        ("db.example.com.evil.org", 443, False),
        ("a.storage.example.com", 8443, True),
        ("a.b.storage.example.com", 8443, True),
        ("storage.example.com", 8443, False),
        ("evilstorage.example.com", 8443, False),
        ("a.storage.example.com", 443, False),
        ("", 443, False),
    ],
)
def test_a_name_is_allowed_with_the_listed_port_only(host: str, port: int, allowed: bool) -> None:
    assert ALLOWED.allows(host, port) is allowed


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "::1", "0.0.0.0", "::", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "169.254.1.2", "fe80::1", "fd00::1", "fd00:ec2::254", "168.63.129.16"),
        *("224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *("2002:7f00:1::", "2001:0:0:0:0:0:80ff:fffe", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b:1::a00:1"),
        *("fec0::1", "4000::1", "5f00::1", "100::1", "3fff::1", "2001:2::1", "192.88.99.1", "198.18.0.1"),
        *("169.254.170.23", "fd00:ec2::23", "fd20:ce::254", "2600:1:2:3::169.254.169.254"),
    ],
)
def test_private_and_special_addresses_are_not_permitted(address: str) -> None:
    assert not ALLOWED.permits(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"])
def test_addresses_of_the_internet_are_permitted(address: str) -> None:
    assert ALLOWED.permits(ipaddress.ip_address(address))


def test_a_site_may_permit_its_networks_but_not_a_clouds_credentials() -> None:
    networks = ("10.0.0.0/8", "169.254.0.0/16", "fd00::/8", "64:ff9b:1::/48")
    policy = Policy(
        EgressSettings(allow=["db.example.com:443"], private=[ip_network(each) for each in networks])
    )
    for address in ("10.1.2.3", "169.254.7.7", "fd00::1", "64:ff9b:1::a00:1"):
        assert policy.permits(ipaddress.ip_address(address))
    for address in ("169.254.169.254", "169.254.170.23", "fd00:ec2::23", "fd20:ce::254"):
        assert not policy.permits(ipaddress.ip_address(address))
    for address in ("64:ff9b:1::169.254.169.254", "2002:a9fe:a9fe::", "192.168.1.1", "fec0::1"):
        assert not policy.permits(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "target",
    [
        *("", "db.example.com", "db.example.com:", "db.example.com:0", "*:443", "*.*.com:443", "a b:443"),
        *("[::1]:443", "DB.example.com:443", "db.example.com:443/x", "https://db.example.com:443"),
        *("db.example.com:999999", "db.example.com:65536"),
    ],
)
def test_a_target_must_be_a_name_and_a_port(target: str) -> None:
    with pytest.raises(ValidationError):
        EgressSettings(allow=[target])
