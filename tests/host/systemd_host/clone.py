"""A host's own root file system: a copy of a built tree, and what this machine adds to it."""

import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from secrets import token_hex

from . import machine
from .errors import HostError

BUILD_DROP_IN = "/etc/containers/systemd/users/build.d/50-machine.conf"


def copy(tree: Path, root: Path, name: str, *, shared: Collection[Path] = ()) -> None:
    """Make the root file system `root` of the host called `name` from the built `tree`. Raises HostError.

    Of the folders `shared` in the tree, it gets hard links: nobody may write into these files in place.
    """
    partial = root.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    replicate(tree, partial, {tree / each for each in shared})
    write(partial, "/etc/hostname", f"{name}\n")
    write(partial, "/etc/machine-id", f"{token_hex(16)}\n")
    partial.rename(root)


def replicate(source: Path, target: Path, shared: Collection[Path]) -> None:
    """Copy a folder, but for the folders `shared` in it, whose files are linked. Raises HostError."""
    if not any(source in each.parents for each in shared):
        how = "--link" if source in shared else "--reflink=auto"
        command = ["cp", "--archive", how, str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HostError(f"cannot copy the root file system to {target}", done.stderr.strip())
        return
    target.mkdir()
    for each in source.iterdir():
        replicate(each, target / each.name, shared)
    status = source.stat()
    os.chown(target, status.st_uid, status.st_gid)
    shutil.copystat(source, target)


def adopt(root: Path, *, names: str = "") -> None:
    """Write this machine's certificates, pip configuration, variables and network names into `root`.

    A container's is written before every boot, so that a change of the machine's configuration needs no new
    host; a virtual machine keeps what its disk was made with. With `names`, the text of a hosts(5) file, the
    host has a network of its own, in which the machine's names and resolvers mean nothing.
    """
    bundle = machine.ca_bundle()
    if bundle:
        write(root, machine.CA_BUNDLE, bundle.read_text())
    # The sources of that bundle, for update-ca-certificates(8).
    for certificate in Path(machine.LOCAL_CAS).glob("*.crt"):
        write(root, f"{machine.LOCAL_CAS}/{certificate.name}", certificate.read_text())
    write(root, machine.PIP_CONF, machine.pip_configuration())
    # podman-systemd.unit(5): what every image build gets. images/*/Containerfile know the two secrets.
    secrets = {"ca-certificates": machine.CA_BUNDLE, "pip.conf": machine.PIP_CONF}
    lines = [f"Secret=id={name},src={path}\n" for name, path in secrets.items() if (root / path[1:]).exists()]
    write(root, BUILD_DROP_IN, "".join(["[Build]\n", *lines]))
    # environment.d(5): what user services see; `host run` passes the same.
    variables = "".join(f'{name}="{value}"\n' for name, value in sorted(machine.environment().items()))
    write(root, "/etc/environment.d/50-machine.conf", variables)
    known = names or machine.read("/etc/hosts")
    write(root, "/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{known}")
    write(root, "/etc/resolv.conf", "" if names else machine.read("/etc/resolv.conf"))


def write(root: Path, path: str, text: str) -> None:
    """Write the file `path` of `root`; a link there is replaced, since its target means another root."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.write_text(text)
