"""The tree that a bed's hosts are copied from: Debian, all programs and images, and nothing of one host.

It is in the cache of `tests/host`, named by the digest of what it is made of. It takes a host that is booted
for this, with the machine's network; the beds' own networks lead nowhere.
"""

import hashlib
import shutil
from pathlib import Path

from tests.host.systemd_host import checkout, machine, nspawn, rootfs
from tests.host.systemd_host.errors import HostError
from tests.host.systemd_host.instance import Host, locked
from tests.host.systemd_host.progress import say

INSIDE = Path(__file__).with_name("inside")
# What is installed is locked in these; the agent itself is installed anew in each bed.
MADE_OF = (
    "requirements.txt", "requirements-fleet.txt", "requirements-dev.txt", "images/base/build",
    "images/ml-runner/launch.py", "images/ml-runner/ml_start.py", "images/ml-runner/ml_start.pth",
)  # fmt: skip
OF_THE_TEMPLATE = ("template.sh", "template-account.sh", "image/Containerfile")

# Hosts have hard links of these: nobody writes into a program or a layer of an image in place.
SHARED = (
    Path("usr"),
    Path("opt"),
    Path(f"home/{rootfs.USER}/.local/share/containers/storage/overlay"),
)


def digest() -> str:
    """The digest of all that the tree is made of, 16 hexadecimal digits."""
    sha = hashlib.sha256(rootfs.digest(vm=False).encode())
    paths = [checkout.CHECKOUT / each for each in MADE_OF] + [INSIDE / each for each in OF_THE_TEMPLATE]
    for path in paths:
        sha.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return sha.hexdigest()[:16]


def build() -> Path:
    """The cached tree, built if there is none. Raises HostError."""
    base = rootfs.build(vm=False)
    with locked(rootfs.cache()):
        tree = rootfs.cache() / f"fleet-{digest()}"
        if not tree.exists():
            say("installing a host that beds are copied from: some minutes, once")
            make(base).rename(tree)
        return tree


def make(base: Path) -> Path:
    """Install a host of its own and shut it down; its root file system. Raises HostError."""
    host = Host("fleet-template", port=0, recipe=base.name)
    remove(host)
    host.folder.mkdir(parents=True)
    try:
        nspawn.create(host, base)
        nspawn.boot(host)
        nspawn.wait_until_ready(host)
        nspawn.place_checkout(host)
        script = f"{checkout.INSIDE}/tests/fleet/host/inside/template.sh"
        if nspawn.run(host, [script], root=True, cwd=checkout.INSIDE):
            raise HostError("the template was not installed", "see above")
        nspawn.power_off(host)
        strip(host.root)
        partial = rootfs.cache() / "fleet.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.move(host.root, partial)
    finally:
        remove(host)
    return partial


def strip(root: Path) -> None:
    """Remove what belongs to the template's own boot, and to this machine."""
    shutil.rmtree(root / checkout.INSIDE.lstrip("/"))
    for folder in ("var/log/journal", "var/lib/apt/lists", "var/cache/apt", f"home/{rootfs.USER}/.cache"):
        for each in (root / folder).glob("*"):
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    for path in (machine.PIP_CONF, "/var/lib/systemd/random-seed"):
        (root / path.lstrip("/")).unlink(missing_ok=True)


def remove(host: Host) -> None:
    """Power a host off and remove its files."""
    nspawn.power_off(host)
    shutil.rmtree(host.folder, ignore_errors=True)
