"""Build the root file system of hosts with debootstrap, once, into a cache.

A built tree depends on nothing but its recipe (this file and the files under `tree/`, or `tree-vm/` for
virtual machines) and is named by its digest. What belongs to this machine or to one host is written into that
host's copy (`clone`).
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import machine
from .errors import HostError
from .instance import locked
from .progress import say

SUITE = "trixie"
PACKAGES = (
    # the system
    "systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd",
    "iproute2", "procps", "ca-certificates",
    # rootless Podman; nftables for netavark's networks
    "podman", "crun", "conmon", "passt", "uidmap", "netavark", "aardvark-dns", "nftables", "catatonit",
    # the agent, and who looks at its work
    "python3", "python3-venv", "git", "openssh-client", "make", "sqlite3", "openssl", "curl",
    # container images where no registry is reachable
    "mmdebstrap", "busybox-static",
)  # fmt: skip

# What a virtual machine needs besides: its kernel, the way in, and what repairs its disk. Not the kernel for
# clouds, which has no 9p to share the machine's folders with.
VM_PACKAGES = ("linux-image-amd64", "initramfs-tools", "udev", "kmod", "e2fsprogs", "openssh-server")

USER = "ml"
UID = 1000

# What readers of manuals and apt need, nobody else: 200 MB of 630.
SUPERFLUOUS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists")

RECIPES = Path(__file__).parent.parent
DEBOOTSTRAP_PHASES = {
    "I: Retrieving": "fetching packages",
    "I: Validating": "fetching packages",
    "I: Extracting": "extracting the base",
    "I: Unpacking": "unpacking",
    "I: Configuring": "configuring",
}


def cache() -> Path:
    """Where built trees are kept: `$XDG_CACHE_HOME/ml-agent-host`, else `/var/cache/ml-agent-host`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "ml-agent-host"


def recipe(*, vm: bool) -> Path:
    """The folder of the files that are added to a tree."""
    return RECIPES / ("tree-vm" if vm else "tree")


def digest(*, vm: bool) -> str:
    """The digest, 16 hexadecimal digits, of all that a built tree is made of."""
    added = recipe(vm=vm)
    sha = hashlib.sha256(added.name.encode() + Path(__file__).read_bytes())
    for path in sorted(path for path in added.rglob("*") if path.is_file()):
        sha.update(f"\0{path.relative_to(added)}\0{path.stat().st_mode:o}\0".encode() + path.read_bytes())
    return sha.hexdigest()[:16]


def build(*, vm: bool) -> Path:
    """The cached tree of the current recipe, built if there is none. Raises HostError.

    An interrupted build leaves a folder `*.partial` that the next one removes.
    """
    with locked(cache()):
        tree = cache() / digest(vm=vm)
        if tree.exists():
            return tree
        for leftover in cache().glob("*.partial"):
            shutil.rmtree(leftover)
        machine.require_tools(machine.TOOLS)
        partial = tree.with_suffix(".partial")
        bootstrap(partial, [*PACKAGES, *(VM_PACKAGES if vm else ())])
        customize(partial, recipe(vm=vm))
        if vm:
            chroot(partial, "update-initramfs", "-u")
            chroot(partial, "systemctl", "enable", "systemd-networkd.service", "ssh.service")
        partial.rename(tree)
        return tree


def bootstrap(tree: Path, packages: Sequence[str]) -> None:
    """Install the packages into the new folder `tree`. Raises HostError."""
    mirror = machine.mirror()
    source = f" from {mirror}" if mirror else ""
    say(f"building Debian {SUITE}{source}: about a minute, 450 MB in {tree.parent}")
    options = ["--variant=minbase", f"--include={','.join(packages)}"]
    # A mount namespace of its own: an interrupted debootstrap leaves /proc and /sys mounted in the tree, and
    # who then removes the tree must not meet them.
    # Without a mirror, debootstrap takes the one that it knows.
    command = ["unshare", "--mount", "--", "debootstrap", *options, SUITE, str(tree)]
    command += [mirror] if mirror else []
    machine.follow(command, DEBOOTSTRAP_PHASES, {**os.environ, "LC_ALL": "C.UTF-8"})


def customize(tree: Path, added: Path) -> None:
    """Add the service user and the files under `added`; remove what is not needed."""
    chroot(tree, "useradd", "--create-home", f"--uid={UID}", "--shell=/bin/bash", USER)
    for folder in SUPERFLUOUS:
        shutil.rmtree(tree / folder)
        (tree / folder).mkdir()
    shutil.copytree(added, tree, dirs_exist_ok=True)
    # A file of that name is what `loginctl enable-linger` leaves.
    linger = tree / "var/lib/systemd/linger"
    linger.mkdir(parents=True, exist_ok=True)
    (linger / USER).touch()
    # Its existence makes the journal persistent (journald.conf(5), Storage=auto).
    (tree / "var/log/journal").mkdir(exist_ok=True)


def chroot(tree: Path, *command: str) -> None:
    """Run `command` in `tree`. Raises HostError."""
    done = subprocess.run(["chroot", str(tree), *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"{command[0]} failed in the new root file system", done.stderr.strip())
