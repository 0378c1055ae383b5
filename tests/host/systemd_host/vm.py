"""Boot a host as a virtual machine with QEMU: every cgroup controller, a clock of its own, and a power cord.

The processor is emulated (TCG), since not every machine lends its own: five to ten times slower.
"""

import contextlib
import os
import subprocess
from pathlib import Path

from . import checkout, disk, machine, ssh
from .cgroups import ControlGroups
from .errors import HostError
from .instance import Host
from .nspawn import console_tail, wait_for
from .ssh import run as run  # part of what an engine does

BOOT_TIMEOUT = 420.0
POWEROFF_TIMEOUT = 120.0

MEMORY = "3G"

# The features that are missing make kernels fail under TCG (cx16), or cost time and serve nothing here.
PROCESSOR = ["-accel", "tcg,thread=multi", "-cpu", "max,-cx16,-svm,-pku,-la57", "-smp", "2"]

# QEMU's user-mode network gives the machine this address (tree-vm/etc/systemd/network).
ADDRESS = "10.0.2.15"


def create(host: Host, tree: Path) -> None:
    """Make the machine's disk, kernel and keys from the built `tree`. Raises HostError."""
    machine.require_tools(machine.VM_TOOLS)
    disk.make(host, tree)


def command(host: Host) -> list[str]:
    """The QEMU command line that boots `host`."""
    forwards = {host.ssh_port: 22, host.port: host.port}
    network = ["user", "id=net", *(f"hostfwd=tcp:127.0.0.1:{a}-{ADDRESS}:{b}" for a, b in forwards.items())]
    shared = [
        word
        for tag, folder in disk.shares().items()
        for word in ("-virtfs", f"local,path={folder},mount_tag={tag},security_model=none,readonly=on")
    ]
    return [
        "qemu-system-x86_64", "-name", host.name, "-nodefaults", "-no-user-config", "-display", "none",
        *PROCESSOR, "-m", MEMORY,
        # A flush of the guest's reaches the file; what the guest has not flushed may be lost with QEMU.
        "-drive", f"file={disk.image(host)},format=raw,if=virtio,cache=writeback,discard=unmap",
        "-netdev", ",".join(network), "-device", "virtio-net-pci,netdev=net",
        "-device", "virtio-rng-pci", *shared,
        "-serial", f"file:{host.console}",
        "-kernel", str(disk.kernel(host)), "-initrd", str(disk.initrd(host)),
        "-append", "root=/dev/vda rw console=ttyS0 mitigations=off systemd.show_status=yes",
    ]  # fmt: skip


def boot(host: Host) -> None:
    """Start `host` in a session and control groups of its own, so that it outlives the caller's shell."""
    groups = ControlGroups(host.name)
    groups.kill()
    groups.create()
    host.console.unlink(missing_ok=True)
    with open(host.folder / "qemu.log", "wb") as log:
        subprocess.Popen(
            command(host),
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=groups.enter,
            cwd="/",
        )


def wait_until_ready(host: Host, *, since: str = "") -> None:
    """Wait until systemd has booted and the service user's manager answers.

    `since` is the id of a boot that is not the awaited one (before a reboot). Raises HostError with the end
    of the console if the machine does not come up.
    """
    groups = ControlGroups(host.name)

    def ready() -> bool:
        if not groups.processes():
            log = machine.read(host.folder / "qemu.log").strip()
            raise HostError(f"host {host.name} did not boot", f"{log}\n{console_tail(host)}")
        return boot_id(host) not in {"", since} and answers(host, user="root") and answers(host, user="ml")

    def late() -> HostError:
        return HostError(f"host {host.name} is not ready after {BOOT_TIMEOUT:.0f} s", console_tail(host))

    wait_for(ready, BOOT_TIMEOUT, late)


def boot_id(host: Host) -> str:
    """The id that the kernel made for this boot, empty while nobody answers."""
    return ssh.capture(host, ["cat", "/proc/sys/kernel/random/boot_id"], root=True).strip()


def answers(host: Host, *, user: str) -> bool:
    """Whether the system manager (`root`) or the service user's manager has started all it should."""
    arguments = ["systemctl", *(["--user"] if user != "root" else []), "is-system-running"]
    return ssh.capture(host, arguments, root=user == "root").strip() in {"running", "degraded"}


def is_running(host: Host) -> bool:
    """Whether the machine has power."""
    return bool(ControlGroups(host.name).processes())


def is_up(host: Host, *, root: bool) -> bool:
    """Whether a command can be run as root, or as the service user with its bus."""
    return is_running(host) and ssh.answers(host, root=root)


def place_checkout(host: Host) -> None:
    """Replace the host's copy of this checkout. Raises HostError."""
    folder, target = host.folder / "checkout", checkout.INSIDE
    checkout.export(folder)
    replace = f"rm -rf {target}.partial && mkdir {target}.partial && tar -x -C {target}.partial"
    replace += f" && rm -rf {target} && mv {target}.partial {target}"
    ssh.feed(host, replace, ["tar", "-c", "--numeric-owner", "-C", str(folder), "."])


def reboot(host: Host) -> None:
    """Reboot as `systemctl reboot` does and wait until the host is ready again. Raises HostError."""
    before = boot_id(host)
    ssh.capture(host, ["systemctl", "reboot"], root=True)
    wait_until_ready(host, since=before)


def power_off(host: Host) -> None:
    """Shut the host down, by force after a time, and remove what its boot made outside its folder."""
    groups = ControlGroups(host.name)
    if groups.processes():
        ssh.capture(host, ["systemctl", "poweroff"], root=True)
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: not groups.processes(), POWEROFF_TIMEOUT, TimeoutError)
    cut_power(host)


def cut_power(host: Host) -> None:
    """SIGKILL of QEMU: what the guest had not flushed to its disk is gone."""
    groups = ControlGroups(host.name)
    groups.kill()
    groups.remove()
