"""A virtual machine's disk: one ext4 file system in a sparse file, and the key that opens the machine."""

import shutil
import subprocess
from pathlib import Path

from . import clone, machine
from .errors import HostError
from .instance import Host
from .rootfs import UID, USER

SIZE = "8G"

# Whose home directories get the key.
HOMES = {"/root": 0, f"/home/{USER}": UID}


def image(host: Host) -> Path:
    """The disk."""
    return host.folder / "disk.img"


def key(host: Host) -> Path:
    """The private key that opens the machine; made for it, and gone with it."""
    return host.folder / "ssh-key"


def kernel(host: Host) -> Path:
    """What QEMU starts; beside it, the initial RAM disk."""
    return host.folder / "vmlinuz"


def initrd(host: Host) -> Path:
    """The kernel's initial RAM disk."""
    return host.folder / "initrd.img"


def make(host: Host, tree: Path) -> None:
    """Make all of these from the built `tree`. Raises HostError."""
    root = host.folder / "disk.root"
    shutil.rmtree(root, ignore_errors=True)
    clone.copy(tree, root, host.name)
    clone.adopt(root)
    make_key(host, root)
    share_folders(root)
    # Debian keeps links to the newest kernel in /.
    shutil.copyfile(root / "vmlinuz", kernel(host))
    shutil.copyfile(root / "initrd.img", initrd(host))
    partial = image(host).with_suffix(".partial")
    partial.unlink(missing_ok=True)
    # Initialised now: the kernel would otherwise do it in the background, on the emulated processor.
    options = ["-E", "lazy_itable_init=0,lazy_journal_init=0,discard", "-J", "size=64", "-m", "0"]
    execute("mke2fs", "-q", "-t", "ext4", *options, "-d", str(root), str(partial), SIZE)
    partial.rename(image(host))
    shutil.rmtree(root)


def make_key(host: Host, root: Path) -> None:
    """Make the key that opens the machine to root and the service user."""
    key(host).unlink(missing_ok=True)
    execute("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", str(key(host)))
    public = key(host).with_suffix(".pub").read_text()
    for home, owner in HOMES.items():
        folder = root / home[1:] / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "authorized_keys").write_text(public)
        for path in (folder, folder / "authorized_keys"):
            shutil.chown(path, owner, owner)


def shares() -> dict[str, Path]:
    """The machine's folders of Python packages, by the tag under which the machine offers them."""
    return {f"pip{number}": folder for number, folder in enumerate(machine.pip_folders())}


def share_folders(root: Path) -> None:
    """Mount them where the machine has them; pip's configuration names them by that path."""
    # Without them pip still has its index: the boot does not depend on it.
    options = "ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose,nofail"
    with (root / "etc/fstab").open("a") as table:
        table.writelines(f"{tag} {folder} 9p {options} 0 0\n" for tag, folder in shares().items())


def execute(*command: str) -> None:
    """Run a command. Raises HostError with what it said."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"{command[0]} failed with status {done.returncode}", done.stderr.strip())
