"""Which hosts and addresses a job may reach, according to the site's configuration. Pure."""

import ipaddress
from dataclasses import dataclass

from ..config import EgressSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds give a machine its credentials. No job reaches these, not even through a site's own networks.
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

# The public Internet: all of IPv4 and the part of IPv6 that IANA has allocated, without IANA's registries of
# special addresses. (What Python's ipaddress calls global depends on its version.)
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
class Policy:
    """The rules of one `[egress.<name>]`."""

    rules: EgressSettings

    def allows(self, host: str, port: int) -> bool:
        """Whether the site lists the name with this port, or a `*.` pattern that includes it."""
        parents = [host, *(f"*{host[place:]}" for place, letter in enumerate(host) if letter == ".")]
        return any(f"{name}:{port}" in self.rules.allow for name in parents)

    def permits(self, address: Address) -> bool:
        """Whether a job may connect to this address of a listed name."""
        held = embedded(address)
        # A translator may have any prefix. The IPv4 address is usually at the end (RFC 6052).
        if held in METADATA or _last_bits(address) in METADATA:
            return False
        if any(held in network for network in self.rules.private):
            return True
        allocated = held.version == 4 or held in UNICAST6
        return allocated and not any(held in network for network in SPECIAL)

    def names_exactly(self, address: Address) -> bool:
        """Whether the site names this very address, and not only a network that includes it."""
        return ipaddress.ip_network(embedded(address)) in self.rules.private


def embedded(address: Address) -> Address:
    """The IPv4 address to which a gateway or the kernel would translate an IPv6 address; else the address."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in NAT64:
            return _last_bits(address)
        return address.ipv4_mapped or address.sixtofour or (address.teredo or (address, address))[1]
    return address


def _last_bits(address: Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
