"""Which addresses a job may reach."""

import contextlib
import ipaddress
import socket
from dataclasses import dataclass
from http import HTTPStatus

from ..config import EgressSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds tell a machine its credentials: also what a site calls its own network does not lead there.
METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::23",
            "fd00:ec2::254",
            "fd20:ce::254",
        ),
    )
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")

# The public Internet is what IANA has given out of IPv6, and all of IPv4, without what its registries of
# special addresses have. What Python takes for global differs with its version.
UNICAST6 = ipaddress.ip_network("2000::/3")
SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
            "2001::/23",
            "2001:db8::/32",
            "3fff::/20",
        ),
    )
)


@dataclass(frozen=True)
class RefusedError(Exception):
    """What the client asked for is not done; it is told why."""

    status: HTTPStatus
    why: str


@dataclass(frozen=True)
class Policy:
    """What a site's `[egress.<name>]` says. Pure."""

    rules: EgressSettings

    def allows(self, host: str, port: int) -> bool:
        """Whether the site lists the name, or a `*.` above it, with this port."""
        parents = [host, *(f"*{host[place:]}" for place, letter in enumerate(host) if letter == ".")]
        return any(f"{name}:{port}" in self.rules.allow for name in parents)

    def leads_to(self, address: Address) -> bool:
        """Whether an address that a listed name has may be connected to."""
        held = _embedded(address)
        # A translator may have any prefix; the address it leads to stands at the end, as a rule (RFC 6052).
        if held in METADATA or _last_bits(address) in METADATA:
            return False
        return any(held in network for network in self.rules.private) or _is_public(held)

    def names(self, address: Address) -> bool:
        """Whether the site has named this very address, and not only a network that has it."""
        return ipaddress.ip_network(_embedded(address)) in self.rules.private


def _embedded(address: Address) -> Address:
    """The IPv4 address within one of IPv6 that a gateway or the kernel would turn into it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in NAT64:
            return _last_bits(address)
        return address.ipv4_mapped or address.sixtofour or (address.teredo or (address, address))[1]
    return address


def _last_bits(address: Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _is_public(address: Address) -> bool:
    given_out = address.version == 4 or address in UNICAST6
    return given_out and not any(address in network for network in SPECIAL)


def _is_the_hosts(address: Address) -> bool:
    """Whether the host has the address, or the one within it: only its own can be bound to."""
    for each in {address, _embedded(address)}:
        family = socket.AF_INET if each.version == 4 else socket.AF_INET6
        with contextlib.suppress(OSError), socket.socket(family) as own:
            own.bind((str(each), 0))
            return True
    return False
