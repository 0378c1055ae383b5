"""A bed: its network and its hosts, made, booted, installed and removed together."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.host.systemd_host import checkout, enter, instance, nspawn
from tests.host.systemd_host.cgroups import ControlGroups
from tests.host.systemd_host.clone import copy
from tests.host.systemd_host.errors import HostError
from tests.host.systemd_host.instance import Host
from tests.host.systemd_host.progress import say
from tests.host.systemd_host.rootfs import UID, USER

from . import layout, network, template
from .layout import BOOTING, FRONT_NODES, HOSTS, SERVERS, Node

PROGRAM = Path(__file__).with_name("fleet")
INSIDE = f"{checkout.INSIDE}/tests/fleet/host/inside"
SECOND_FRONT = FRONT_NODES[1]
AS_ACCOUNT = (f"{INSIDE}/as-account.sh", "bash")

# What `kill HOST WHAT` ends: the unit, and whether it is one of the account's.
UNITS = {
    "agent": ("ml-agent.service", True),
    "member": ("ml-fleet-member.service", True),
    "front": ("ml-fleet.service", True),
    "record": ("redis-server.service", False),
    "broker": ("rabbitmq-server.service", False),
}


def host_of(bed: str, node: str) -> Host:
    """The host of a node. Raises HostError where it was not made."""
    return instance.existing(f"{bed}-{node}")


def up(bed: str) -> None:
    """Make what is missing of a bed and boot what is down. Raises HostError."""
    began = time.monotonic()
    tree = template.build()
    with instance.locked(instance.STATE / bed):
        network.create(bed)
        hosts = [made(bed, node, tree) for node in BOOTING]
        down = [host for host in hosts if not nspawn.is_running(host)]
        for host in down:
            nspawn.boot(host)
        for host in down:
            nspawn.wait_until_ready(host)
    if down:
        say(f"{len(down)} hosts of {bed} are up after {time.monotonic() - began:.1f} s")


def made(bed: str, node: Node, tree: Path) -> Host:
    """The host of a node, copied from the template if it is not there. Raises HostError."""
    name = f"{bed}-{node.name}"
    host = instance.load(instance.check_name(name))
    if host is None:
        host = Host(name, layout.AGENT_PORT, tree.name, network=name)
        host.folder.mkdir(parents=True, exist_ok=True)
        copy(tree, host.root, name, shared=template.SHARED)
        host.names.write_text(layout.hosts_file(bed))
        host.save()
    if host.recipe != tree.name:
        say(f"{name} was made from another template; `fleet destroy --name {bed}` renews it")
    return host


def install(bed: str) -> None:
    """Put this checkout into each host, and make a fleet of them with the commands of docs/fleet.md.

    Raises HostError where a node's script fails; the script has said why.
    """
    up(bed)
    began = time.monotonic()
    exported = instance.STATE / bed / "checkout"
    checkout.export(exported)
    for node in BOOTING:
        place(exported, host_of(bed, node.name))
    shutil.rmtree(exported)
    at_once(bed, {SERVERS.name: ["tests/host/install.sh", USER]})
    for host in HOSTS:
        share_programs(host_of(bed, SERVERS.name), host_of(bed, host))
    hosts_scripts = {host: [*AS_ACCOUNT, f"{INSIDE}/host.sh", host, layout.NAMES[host]] for host in HOSTS}
    at_once(bed, {SERVERS.name: [f"{INSIDE}/servers.sh"], **hosts_scripts})
    admit(bed)
    copy_front(host_of(bed, SERVERS.name), host_of(bed, SECOND_FRONT))
    at_once(bed, {node.name: [*AS_ACCOUNT, f"{INSIDE}/start.sh", node.name] for node in BOOTING})
    say(f"{bed} is installed after {time.monotonic() - began:.1f} s")


def share_programs(source: Host, target: Host) -> None:
    """Give a host the programs of another one: the same installation, by links."""
    programs, partial = Path("opt/ml-agent"), target.root / "opt/ml-agent.partial"
    shutil.rmtree(partial, ignore_errors=True)
    subprocess.run(["cp", "--archive", "--link", str(source.root / programs), str(partial)], check=True)
    shutil.rmtree(target.root / programs)
    partial.rename(target.root / programs)
    for link in (source.root / "usr/local/bin").iterdir():
        copy = target.root / "usr/local/bin" / link.name
        copy.unlink(missing_ok=True)
        copy.symlink_to(link.readlink())


def copy_front(source: Host, target: Host) -> None:
    """Give a host the state of the first front, without the authority's key, if it has none."""
    state = Path(f"home/{USER}/.local/state/ml-fleet")
    if (target.root / state).exists():
        return
    subprocess.run(["cp", "--archive", str(source.root / state), str(target.root / state)], check=True)
    shutil.rmtree(target.root / state / "servers")
    (target.root / state / "authority/ca.key").unlink()


def admit(bed: str) -> None:
    """Bring the hosts' requests to the fleet's authority, and its answers back. Raises HostError."""
    exchange = host_of(bed, SERVERS.name).root / "root/requests"
    requests = {host: host_of(bed, host).root / f"home/{USER}/join.request" for host in HOSTS}
    waiting = {host: path for host, path in requests.items() if path.exists()}
    if not waiting:
        return
    exchange.mkdir(exist_ok=True)
    for host, path in waiting.items():
        shutil.copyfile(path, exchange / f"{host}.request")
    at_once(bed, {SERVERS.name: [f"{INSIDE}/admit.sh", "/root/requests"]})
    for host, path in waiting.items():
        answer = path.with_suffix(".answer")
        shutil.copyfile(exchange / f"{host}.answer", answer)
        os.chown(answer, UID, UID)
    shutil.rmtree(exchange)


def place(exported: Path, host: Host) -> None:
    """Replace a host's copy of the checkout by links of an exported one: git and editors write new files."""
    target = host.root / checkout.INSIDE.lstrip("/")
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    subprocess.run(["cp", "--archive", "--link", str(exported), str(partial)], check=True)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def at_once(bed: str, commands: dict[str, list[str]]) -> None:
    """Run a command as root in several nodes at the same time. Raises HostError with those that failed."""
    running = {
        node: subprocess.Popen(run_command(bed, node, command, root=True), stdout=subprocess.DEVNULL)
        for node, command in commands.items()
    }
    failed = [node for node, process in running.items() if process.wait()]
    if failed:
        raise HostError(f"{bed} is not installed", f"failed in {', '.join(failed)}; see above")


def run_command(bed: str, node: str, command: Sequence[str], *, root: bool = False) -> list[str]:
    """The `fleet run` that runs a command in a node's checkout."""
    who = ["--root"] if root else []
    return [str(PROGRAM), "run", node, "--name", bed, "--cwd", checkout.INSIDE, *who, "--", *command]


def run(bed: str, node: str, command: Sequence[str], *, root: bool, cwd: str | None = None) -> int:
    """Run a command in a node, and return its exit status; a node that does not boot has only a network.

    Raises HostError where the host is not up.
    """
    if layout.node(node).boots:
        return nspawn.run(host_of(bed, node), command, root=root, cwd=cwd)
    with network.inside(bed, node):
        return subprocess.run(command, check=False, cwd=cwd).returncode


def kill(bed: str, node: str, what: str | None = None) -> None:
    """SIGKILL for one of `UNITS` on a node or, without `what`, for the whole host, as a power cut would.

    Raises HostError where the host is not up, or has no such unit.
    """
    host = host_of(bed, node)
    if what is None:
        groups = ControlGroups(host.name)
        groups.kill()
        groups.remove()
        return
    unit, of_account = UNITS[what]
    command = ["systemctl", *(["--user"] if of_account else []), "kill", "--signal=KILL", unit]
    answer = enter.capture(host, ["sh", "-c", f"{' '.join(command)} 2>&1 && echo done"], root=not of_account)
    if answer != "done\n":
        raise HostError(f"{unit} of {host.name} was not killed", answer.strip())


def down(bed: str) -> None:
    """Power all hosts of a bed off, together. Its network stays. Raises HostError."""
    for host in hosts(bed):
        if (leader := ControlGroups(host.name).leader()) is not None:
            nspawn.ask_to_power_off(leader)
    for host in hosts(bed):
        nspawn.power_off(host)


def destroy(bed: str) -> None:
    """Remove all of a bed, whatever state it is in; done already is done. Raises HostError."""
    for host in hosts(bed):
        nspawn.power_off(host, timeout=0)
        shutil.rmtree(host.folder, ignore_errors=True)
    network.remove(bed)
    shutil.rmtree(instance.STATE / bed, ignore_errors=True)
    if instance.STATE.exists() and not any(instance.STATE.iterdir()):
        instance.STATE.rmdir()


def hosts(bed: str) -> Iterable[Host]:
    """The hosts that a bed may have; a record of one may be damaged or missing."""
    return [Host(f"{bed}-{node.name}", 0, "") for node in BOOTING]


def bytes_on_disk(bed: str) -> int:
    """What a bed takes of the disk besides its template: blocks of files that are not linked from there."""
    total, seen = 0, set[int]()
    for host in hosts(bed):
        for folder, _, files in os.walk(host.folder):
            for name in files:
                status = os.lstat(os.path.join(folder, name))
                if status.st_ino not in seen:
                    seen.add(status.st_ino)
                    # A file of the template's has one link there and one in each host.
                    total += status.st_blocks * 512 if status.st_nlink <= len(BOOTING) else 0
    return total
