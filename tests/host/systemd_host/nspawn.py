"""Boot a host's root file system with systemd-nspawn, with systemd as PID 1, and stop it."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from . import checkout, clone, enter, machine
from .cgroups import ControlGroups
from .enter import run as run  # part of what an engine does
from .errors import HostError
from .instance import Host
from .rootfs import UID

BOOT_TIMEOUT = 90.0
POWEROFF_TIMEOUT = 60.0
POLL = 0.05

# Device nodes of the host's own, mode 0666 (mknod(1) numbers from the kernel's devices.txt): on many machines
# those in /dev belong to root alone, and rootless pasta and fuse-overlayfs then fail.
DEVICES = {"/dev/fuse": (10, 229), "/dev/net/tun": (10, 200)}

# Pure cgroup v2 inside, and a writable /proc/sys, without which crun starts no container.
NSPAWN_ENVIRONMENT = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"}

# The host shares the machine's kernel: what would set, load or empty something there stays off.
MASKED = (
    "systemd-sysctl.service", "systemd-modules-load.service", "systemd-binfmt.service",
    "systemd-pstore.service", "proc-sys-fs-binfmt_misc.automount", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "fstrim.timer", "console-getty.service",
)  # fmt: skip

# systemd-nspawn --keep-unit ends with status 133 when the host reboots, for its supervisor to start it again.
SUPERVISOR = 'while "$@"; test $? -eq 133; do :; done'

# Where `ip netns` keeps its names.
NETWORKS = Path("/run/netns")

# systemd-nspawn keeps these after its end: folders named after the machine, and a lock of its root.
NSPAWN_RUNTIME = Path("/run/systemd/nspawn")


def command(host: Host) -> list[str]:
    """The systemd-nspawn command line that boots `host`."""
    binds = [f"--bind={host.folder / 'dev' / Path(path).name}:{path}" for path in DEVICES]
    binds += [f"--bind-ro={folder}" for folder in machine.pip_folders()]
    network = [f"--network-namespace-path={NETWORKS / host.network}"] if host.network else []
    return [
        "systemd-nspawn", f"--directory={host.root}", f"--machine={host.name}", "--boot",
        "--register=no", "--keep-unit", "--settings=no", "--link-journal=no",
        "--timezone=off", "--resolv-conf=off", "--console=read-only", "--setenv=TERM=dumb",
        "--capability=all", "--system-call-filter=@keyring bpf @mount", *binds, *network,
        "--", "systemd.show_status=yes",
        *(f"systemd.mask={unit}" for unit in MASKED),
    ]  # fmt: skip


def create(host: Host, tree: Path) -> None:
    """Make the host's root file system from the built `tree`. Raises HostError.

    A copy, not an overlay: rootless Podman's own overlays cannot lie on another one, and a copy leaves
    no mounts behind. It takes about a second.
    """
    clone.copy(tree, host.root, host.name)


def place_checkout(host: Host) -> None:
    """Replace the host's copy of this checkout. Raises HostError if this is no git repository."""
    target = host.root / checkout.INSIDE.lstrip("/")
    partial = target.with_suffix(".partial")
    checkout.export(partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def boot(host: Host) -> None:
    """Start `host` in a session and control groups of its own, so that it outlives the caller's shell."""
    clone.adopt(host.root, names=machine.read(host.names))
    for path, (major, minor) in DEVICES.items():
        node = host.folder / "dev" / Path(path).name
        if not node.exists():
            node.parent.mkdir(exist_ok=True)
            os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(major, minor))
            node.chmod(0o666)
    groups = ControlGroups(host.name)
    groups.kill()
    groups.create()
    with open(host.console, "wb") as console:
        subprocess.Popen(
            ["/bin/sh", "-c", SUPERVISOR, "supervisor", *command(host)],
            env={**os.environ, **NSPAWN_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            preexec_fn=groups.enter,
            cwd="/",
        )


def wait_until_ready(host: Host, *, since: int | None = None) -> None:
    """Wait until systemd has booted and the service user's manager answers.

    `since` is a PID 1 that is not the awaited one (before a reboot). Raises HostError with the end of the
    console if the host does not come up.
    """
    groups = ControlGroups(host.name)

    def ready() -> bool:
        if not groups.processes():
            raise HostError(f"host {host.name} did not boot", console_tail(host))
        leader = groups.leader()
        return leader not in {None, since} and answers(host, user="root") and answers(host, user="ml")

    def late() -> HostError:
        return HostError(f"host {host.name} is not ready after {BOOT_TIMEOUT:.0f} s", console_tail(host))

    wait_for(ready, BOOT_TIMEOUT, late)


def answers(host: Host, *, user: str) -> bool:
    """Whether the system manager (`root`) or the service user's manager has started all it should."""
    arguments = ["systemctl", *(["--user"] if user != "root" else []), "is-system-running"]
    state = enter.capture(host, arguments, root=user == "root")
    return state.strip() in {"running", "degraded"}


def is_running(host: Host) -> bool:
    """Whether the host's PID 1 is there."""
    return ControlGroups(host.name).leader() is not None


def is_up(host: Host, *, root: bool) -> bool:
    """Whether a command can be run as root, or as the service user with its bus; cheap."""
    leader = ControlGroups(host.name).leader()
    return leader is not None and (root or Path(f"/proc/{leader}/root/run/user/{UID}/bus").exists())


def reboot(host: Host) -> None:
    """Reboot as `systemctl reboot` does and wait until the host is ready again. Raises HostError."""
    leader = ControlGroups(host.name).leader()
    enter.capture(host, ["systemctl", "reboot"], root=True)
    wait_until_ready(host, since=leader)


def ask_to_power_off(leader: int) -> None:
    """Ask the PID 1 of a host for its shutdown."""
    # SIGRTMIN+4 asks systemd for poweroff.target (systemd(1), Signals).
    with contextlib.suppress(ProcessLookupError):
        os.kill(leader, signal.SIGRTMIN + 4)


def power_off(host: Host, *, timeout: float = POWEROFF_TIMEOUT) -> None:
    """Shut the host down, by force after `timeout` seconds; remove what its boot made outside its folder."""
    groups = ControlGroups(host.name)
    leader = groups.leader()
    if leader is not None and timeout:
        ask_to_power_off(leader)
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: not groups.processes(), timeout, TimeoutError)
    groups.kill()
    groups.remove()
    for kind in ("propagate", "unix-export"):
        shutil.rmtree(NSPAWN_RUNTIME / kind / host.name, ignore_errors=True)
    if host.root.exists():
        root = host.root.stat()
        (NSPAWN_RUNTIME / f"locks/inode-{root.st_dev}:{root.st_ino}").unlink(missing_ok=True)


def wait_for(predicate: Callable[[], bool], timeout: float, failure: Callable[[], Exception]) -> None:
    """Return when `predicate` holds; raise `failure()` if it does not in `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            raise failure()
        time.sleep(POLL)


def console_tail(host: Host) -> str:
    """The last lines of the host's console, for an error message."""
    lines = machine.read(host.console).splitlines()
    return "\n".join([f"{host.console} ends with:", *lines[-20:]])
