"""The nodes of a bed, and what their network names mean.

All addresses are of one private network, which ends at the bed's own switch: nothing routes it to the machine
or out of it, and two beds may use it at the same time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DEFAULT_NAME = "bed"
NETWORK = "10.77.0"
PREFIX_LENGTH = 24

AGENT_PORT = 8443
RECORD_PORT = 6379
BROKER_PORT = 5671

# Whoever has a name here can be the WHAT of `partition HOST from WHAT`.
NAMES: Mapping[str, str] = {
    "record": f"{NETWORK}.2",  # Redis, on the node `servers`
    "broker": f"{NETWORK}.3",  # RabbitMQ, on the node `servers`
    "front-1": f"{NETWORK}.4",  # a front, on the node `servers`
    "front-2": f"{NETWORK}.5",  # another front, on the node `h1`
    "h1": f"{NETWORK}.11",  # a host of the fleet: its agent and its member
    "h2": f"{NETWORK}.12",
    "h3": f"{NETWORK}.13",
    "users": f"{NETWORK}.100",  # where clients are: the tests themselves
}
FRONTS = ("front-1", "front-2")
FRONT_NODES = ("servers", "h1")  # where they run
FRONT_PORTS = {"front-1": 8443, "front-2": 9443}  # an agent has the first one on h1
HOSTS = ("h1", "h2", "h3")


@dataclass(frozen=True)
class Node:
    """A place in the network: a namespace with the addresses of `names` and, if it boots, a host in it."""

    name: str
    names: Sequence[str]
    boots: bool = True

    @property
    def addresses(self) -> list[str]:
        """All its addresses."""
        return [NAMES[name] for name in self.names]


SERVERS = Node("servers", ("record", "broker", "front-1"))
USERS = Node("users", ("users",), boots=False)
NODES = (SERVERS, Node("h1", ("h1", "front-2")), Node("h2", ("h2",)), Node("h3", ("h3",)), USERS)
BOOTING = tuple(node for node in NODES if node.boots)


def node(name: str) -> Node:
    """The node of that name. Raises KeyError."""
    return {each.name: each for each in NODES}[name]


def hosts_file(bed: str) -> str:
    """The hosts(5) file of every node of a bed, with the host names that its hosts have."""
    lines = [f"{address} {name}\n" for name, address in NAMES.items()]
    lines += [f"{each.addresses[0]} {bed}-{each.name}\n" for each in BOOTING]
    return "".join(lines)


def addresses_of(what: str) -> list[str]:
    """What `partition HOST from WHAT` cuts a host off from; `fronts` is every front. Raises KeyError."""
    return [NAMES[front] for front in FRONTS] if what == "fronts" else [NAMES[what]]
