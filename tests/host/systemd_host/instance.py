"""One host by its name: where its files are and what is remembered of it."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import HostError

STATE = Path("/var/lib/ml-agent-host")
DEFAULT_NAME = "ml-host"
DEFAULT_VM_NAME = "ml-vm"
DEFAULT_PORT = 8443
DEFAULT_SSH_PORT = 8222

# A machine name is a host name and a file name.
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class Host:
    """A created host. `recipe` is the digest of the tree it was copied from, `port` the agent's TCP port.

    `ssh_port` is the machine's TCP port that leads to a virtual machine's sshd; a container has none.
    `network` is a container's own network namespace, as `ip netns` names it; without one, a container shares
    the machine's.
    """

    name: str
    port: int
    recipe: str
    ssh_port: int | None = None
    network: str | None = None

    @property
    def is_vm(self) -> bool:
        """Whether it is a virtual machine; else it is a container."""
        return self.ssh_port is not None

    @property
    def folder(self) -> Path:
        """Everything that belongs to the host, except its control groups."""
        return STATE / self.name

    @property
    def root(self) -> Path:
        """A container's root file system, a plain directory tree."""
        return self.folder / "root"

    @property
    def console(self) -> Path:
        """What the host printed on its console since `up`."""
        return self.folder / "console.log"

    @property
    def names(self) -> Path:
        """The hosts(5) file of a network of its own; without this file, the machine's is copied."""
        return self.folder / "hosts"

    def save(self) -> None:
        """Remember the host; the file appears complete or not at all."""
        path = self.folder / "host.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        partial.replace(path)


def check_name(name: str) -> str:
    """Return `name` if it can name a host, else raise HostError."""
    if not NAME.fullmatch(name):
        raise HostError(f"--name {name!r} is no host name", "use lower-case letters, digits and dashes")
    return name


def load(name: str) -> Host | None:
    """The host of that name, or None if it was not created."""
    try:
        return Host(**json.loads((STATE / check_name(name) / "host.json").read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise HostError(f"the record of host {name} is damaged", f"host destroy --name {name}") from error


def existing(name: str) -> Host:
    """The host of that name. Raises HostError, with the names that there are, if it was not created."""
    host = load(name)
    if host is None:
        known = ", ".join(other.name for other in every()) or "none"
        raise HostError(f"there is no host {name}", f"there are: {known}; `host up --name {name}` makes it")
    return host


def every() -> list[Host]:
    """All created hosts."""
    return [host for path in sorted(STATE.glob("*/host.json")) if (host := load(path.parent.name))]


def choose_port(name: str, wanted: int | None) -> int:
    """`wanted`, or the first port from 8443 that no other host has. Raises HostError if `wanted` is taken."""
    taken = {host.port: host.name for host in every() if host.name != name and host.network is None}
    if wanted is None:
        return next(port for port in range(DEFAULT_PORT, 65536) if port not in taken)
    if wanted in taken:
        raise HostError(f"--port {wanted} is host {taken[wanted]}'s", "hosts share a network; choose another")
    return wanted


def choose_ssh_port() -> int:
    """The first port below the agents' that no virtual machine has."""
    taken = {host.ssh_port for host in every()}
    return next(port for port in range(DEFAULT_SSH_PORT, DEFAULT_PORT) if port not in taken)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock of `folder`, which is created if need be."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A host destroyed while we waited leaves us the lock of a folder that is no more.
            if not os.fstat(descriptor).st_nlink:
                continue
            yield
            return
        finally:
            os.close(descriptor)
