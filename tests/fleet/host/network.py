"""The network of a bed: a namespace for each node, cabled to a switch that has a namespace, too.

Names are those of `ip netns`: BED-switch and BED-NODE. The machine's own network is left alone, and no route
leads there.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator

from tests.host.systemd_host.enter import CLONE_NEWNET, setns
from tests.host.systemd_host.errors import HostError
from tests.host.systemd_host.nspawn import NETWORKS

from .layout import NODES, PREFIX_LENGTH, Node, addresses_of

SWITCH = "switch"
BRIDGE = "bridge"
DEVICE = "eth0"
# A locally administered address that no device has: the switch brings what is sent there to nobody.
NOBODY = "02:00:00:00:00:01"


def create(bed: str) -> None:
    """Make what is missing of a bed's network, and heal it. Raises HostError."""
    if not exists(bed, SWITCH):
        ip("netns", "add", f"{bed}-{SWITCH}")
        ip("link", "add", "name", BRIDGE, "type", "bridge", at=(bed, SWITCH))
        ip("link", "set", BRIDGE, "up", at=(bed, SWITCH))
    for node in NODES:
        if not exists(bed, node.name):
            ip("netns", "add", f"{bed}-{node.name}")
            cable(bed, node)
        heal(bed, node.name)


def cable(bed: str, node: Node) -> None:
    """Give a node's namespace a device that leads to the switch, and its addresses."""
    there = f"{bed}-{node.name}"
    pair = ["name", node.name, "type", "veth", "peer", "name", DEVICE, "netns", there]
    ip("link", "add", *pair, at=(bed, SWITCH))
    ip("link", "set", node.name, "up", at=(bed, SWITCH))
    for address in node.addresses:
        ip("addr", "add", f"{address}/{PREFIX_LENGTH}", "dev", DEVICE, at=(bed, node.name))
    for device in ("lo", DEVICE):
        ip("link", "set", device, "up", at=(bed, node.name))


def partition(bed: str, host: str, what: str | None = None) -> None:
    """Cut a node off, silently: packets are lost, and no connection is refused or closed.

    Without `what`, its cable leads to nobody. With `what` (`layout.addresses_of`), only what the node sends
    there is lost: nothing that needs an answer works between the two. Raises KeyError, HostError.
    """
    if what is None:
        ip("link", "set", host, "nomaster", at=(bed, SWITCH))
        return
    for address in addresses_of(what):
        entry = [address, "lladdr", NOBODY, "dev", DEVICE, "nud", "permanent"]
        ip("neigh", "replace", *entry, at=(bed, host))


def heal(bed: str, host: str) -> None:
    """Undo every `partition` of a node. Raises HostError."""
    ip("link", "set", host, "master", BRIDGE, at=(bed, SWITCH))
    ip("neigh", "flush", "dev", DEVICE, "nud", "permanent", at=(bed, host))


def remove(bed: str) -> None:
    """Remove all of a bed's network; what is not there is removed already. Raises HostError."""
    for name in (*(node.name for node in NODES), SWITCH):
        if exists(bed, name):
            ip("netns", "delete", f"{bed}-{name}")
    # ip(8) mounts this folder when it makes the first name, and would leave the mount behind.
    if NETWORKS.is_dir() and not any(NETWORKS.iterdir()):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(["umount", str(NETWORKS)], check=True, capture_output=True)
            NETWORKS.rmdir()


def exists(bed: str, name: str) -> bool:
    """Whether there is a namespace of that name; a file of that name alone is none."""
    path = NETWORKS / f"{bed}-{name}"
    if not path.exists():
        return False
    # ip(8) makes the file before it mounts the namespace there, and may have been killed in between.
    if path.stat().st_dev == NETWORKS.stat().st_dev:
        path.unlink()
        return False
    return True


@contextlib.contextmanager
def inside(bed: str, name: str) -> Iterator[None]:
    """Move the calling thread, and threads that it makes, into a node's network for a while."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(NETWORKS / f"{bed}-{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(there, CLONE_NEWNET)
        yield
    finally:
        setns(own, CLONE_NEWNET)
        os.close(there)
        os.close(own)


def ip(*words: str, at: tuple[str, str] | None = None) -> str:
    """ip(8), in the namespace of a bed's node if one is given; its output. Raises HostError."""
    place = ["-netns", "-".join(at)] if at else []
    done = subprocess.run(["ip", *place, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"ip {' '.join([*place, *words])} failed", done.stderr.strip())
    return done.stdout
