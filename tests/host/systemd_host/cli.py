"""The command line of `tests/host/host`."""

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from . import checkout, engine, enter, instance, machine, nspawn, rootfs, vm
from .errors import HostError
from .instance import Host
from .progress import say

Action = Callable[[argparse.Namespace], int]


def main() -> int:
    """Run the command line; return the exit status."""
    return carry_out(parser(), run, prepare)


def carry_out(
    grammar: argparse.ArgumentParser, run: Action, prepare: Callable[[argparse.Namespace], None]
) -> int:
    """Run the verb of the command line, prepared; return the exit status.

    Only the verb `run` takes a command, and has exit statuses of its own.
    """
    options, command = split(sys.argv[1:])
    arguments = grammar.parse_args(options)
    if (arguments.verb is run) != bool(command):
        grammar.error("`run` needs a command after `--`, the other verbs take none")
    arguments.command = command
    # So that a build or a boot that is told to end cleans up.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        machine.require_root()
        prepare(arguments)
        instance.check_name(arguments.name)
        return int(arguments.verb(arguments))
    except HostError as error:
        print(f"{grammar.prog}: {error}", file=sys.stderr)
        return enter.CANNOT_ENTER if arguments.verb is run else 1
    except KeyboardInterrupt:
        print(f"{grammar.prog}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def prepare(arguments: argparse.Namespace) -> None:
    """The usual name where none is given."""
    if arguments.name is None:
        arguments.name = instance.DEFAULT_VM_NAME if arguments.vm else instance.DEFAULT_NAME


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Options before the first `--` and the command after it, which argparse must not see."""
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end + 1 :]


def parser() -> argparse.ArgumentParser:
    """The grammar of the command line; each verb's function is in `verb`."""
    top = argparse.ArgumentParser(prog="host", description="A disposable Debian host with systemd as PID 1.")
    verbs = top.add_subparsers(required=True, metavar="VERB")
    common = argparse.ArgumentParser(add_help=False)
    names = f"{instance.DEFAULT_NAME}, {instance.DEFAULT_VM_NAME} with --vm"
    common.add_argument("--name", help=f"which host (default: {names})")
    common.add_argument("--vm", action="store_true", help="a virtual machine; remembered once it is made")
    port = argparse.ArgumentParser(add_help=False)
    port.add_argument("--port", type=int, help="the agent's TCP port (default: 8443 or the next one free)")

    def verb(name: str, action: Action, help_: str, *, takes_port: bool = False) -> argparse.ArgumentParser:
        parents = [common, port] if takes_port else [common]
        added = verbs.add_parser(name, parents=parents, help=help_, description=action.__doc__)
        added.set_defaults(verb=action)
        return added

    verb("build", build, "make the root file system")
    verb("up", up, "boot and wait until ready", takes_port=True)
    installed = verb("install", install, "install this checkout", takes_port=True)
    installed.add_argument(
        "--system-only", action="store_true", help="root's part alone: no account, no images"
    )
    entered = verb("run", run, "run a command inside")
    entered.usage = "host run [--name NAME] [--root] [--cwd DIR] -- CMD…"
    entered.add_argument("--root", action="store_true", help=f"as root, not as {rootfs.USER}")
    entered.add_argument("--cwd", metavar="DIR", help="working directory (default: the home directory)")
    verb("reboot", reboot, "reboot and wait until ready")
    off = verb("down", down, "power off")
    off.add_argument("--power-cut", action="store_true", help="a virtual machine: pull the plug")
    gone = verb("destroy", destroy, "power off and remove all of the host")
    gone.add_argument("--cache", action="store_true", help="remove the built root file systems too")
    return top


def build(arguments: argparse.Namespace) -> int:
    """Make the cached root file system and the host of it, if they are not there."""
    create(arguments, port=None)
    return 0


def up(arguments: argparse.Namespace) -> int:
    """Boot the host if it is not running."""
    ensure_up(arguments, port=arguments.port)
    return 0


def install(arguments: argparse.Namespace) -> int:
    """Copy this checkout into the host and run the administrator's steps there."""
    host = ensure_up(arguments, port=arguments.port)
    its = engine.of(host)
    its.place_checkout(host)
    steps = ["tests/host/install.sh", rootfs.USER, *([] if arguments.system_only else [str(host.port)])]
    return its.run(host, steps, root=True, cwd=checkout.INSIDE)


def run(arguments: argparse.Namespace) -> int:
    """Run a command in the host, booting it if need be."""
    host = instance.load(arguments.name)
    if host is None or not engine.of(host).is_up(host, root=arguments.root):
        host = ensure_up(arguments, port=None)
    return engine.of(host).run(host, arguments.command, root=arguments.root, cwd=arguments.cwd)


def reboot(arguments: argparse.Namespace) -> int:
    """Reboot the host and wait until it is ready."""
    host = instance.existing(arguments.name)
    with instance.locked(host.folder):
        engine.of(host).reboot(host)
    return 0


def down(arguments: argparse.Namespace) -> int:
    """Power the host off."""
    host = instance.existing(arguments.name)
    if arguments.power_cut and not host.is_vm:
        raise HostError(f"{host.name} is a container: it has no power to cut", "make a host with --vm")
    with instance.locked(host.folder):
        if arguments.power_cut:
            vm.cut_power(host)
        else:
            engine.of(host).power_off(host)
    return 0


def destroy(arguments: argparse.Namespace) -> int:
    """Remove everything of the host; done already is done."""
    folder = instance.STATE / arguments.name
    if folder.exists():
        with instance.locked(folder):
            # Its record may be damaged. A virtual machine, whose PID 1 is not seen from here, is killed.
            nspawn.power_off(Host(arguments.name, 0, ""))
            shutil.rmtree(folder)
        if not any(instance.STATE.iterdir()):
            instance.STATE.rmdir()
    if arguments.cache:
        shutil.rmtree(rootfs.cache(), ignore_errors=True)
    return 0


def create(arguments: argparse.Namespace, *, port: int | None) -> Host:
    """The host of that name, built if it does not exist; `port` is remembered if given. Raises HostError."""
    name = arguments.name
    with instance.locked(instance.STATE / name):
        host = instance.load(name)
        if host is None:
            tree = rootfs.build(vm=arguments.vm)
            with instance.locked(instance.STATE):  # until its ports are on record, no other host chooses
                ssh_port = instance.choose_ssh_port() if arguments.vm else None
                host = Host(name, instance.choose_port(name, port), tree.name, ssh_port)
                engine.of(host).create(host, tree)
                host.save()
        elif arguments.vm and not host.is_vm:
            raise HostError(f"host {name} is a container, not a virtual machine", "choose another --name")
        elif port not in {None, host.port}:
            host = replace(host, port=instance.choose_port(name, port))
            host.save()
        if host.recipe != rootfs.digest(vm=host.is_vm):
            say(f"{name} was made by another version of the recipe; `host destroy --name {name}` renews it")
        return host


def ensure_up(arguments: argparse.Namespace, *, port: int | None) -> Host:
    """The host of that name, created and booted if need be. Raises HostError."""
    host = create(arguments, port=port)
    its = engine.of(host)
    with instance.locked(host.folder):
        if its.is_up(host, root=False):
            return host
        started = time.monotonic()
        if not its.is_running(host):
            its.boot(host)
        its.wait_until_ready(host)
        say(f"{host.name} is up after {time.monotonic() - started:.1f} s")
        return host
