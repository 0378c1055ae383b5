"""The command line of `tests/fleet/host/fleet`."""

import argparse
from collections.abc import Callable

from tests.host.systemd_host import machine
from tests.host.systemd_host.cli import carry_out
from tests.host.systemd_host.errors import HostError

from . import bed, layout, network

Action = Callable[[argparse.Namespace], int]


def main() -> int:
    """Run the command line; return the exit status."""
    return carry_out(parser(), run, lambda _: machine.require_tools({"ip": "iproute2"}))


def parser() -> argparse.ArgumentParser:
    """The grammar of the command line; each verb's function is in `verb`."""
    top = argparse.ArgumentParser(prog="fleet", description="A fleet of disposable hosts on one machine.")
    verbs = top.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, action: Action, help_: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=help_, description=action.__doc__)
        added.add_argument("--name", default=layout.DEFAULT_NAME, help="which fleet (default: %(default)s)")
        added.set_defaults(verb=action)
        return added

    def node(added: argparse.ArgumentParser, *, all_: bool = False) -> None:
        known = [each.name for each in (layout.NODES if all_ else layout.BOOTING)]
        added.add_argument("host", metavar="HOST", choices=known, help=", ".join(known))

    verb("up", up, "make and boot what is missing")
    verb("install", install, "install this checkout on every host")
    entered = verb("run", run, "run a command in a host")
    node(entered, all_=True)
    entered.usage = "fleet run HOST [--name NAME] [--root] [--cwd DIR] -- CMD…"
    entered.add_argument("--root", action="store_true", help="as root, not as the service account")
    entered.add_argument("--cwd", metavar="DIR", help="working directory (default: the home directory)")
    cut = verb("partition", partition, "cut a host off, silently")
    node(cut, all_=True)
    cut.add_argument("what", nargs="*", metavar="from WHAT", help=f"fronts, {', '.join(layout.NAMES)}")
    healed = verb("heal", heal, "undo every partition")
    healed.add_argument("host", nargs="?", metavar="HOST", help="of this host only")
    killed = verb("kill", kill, "SIGKILL for a host, or for one of its services")
    node(killed)
    killed.add_argument("what", nargs="?", choices=bed.UNITS, metavar="WHAT", help=", ".join(bed.UNITS))
    verb("down", down, "power all hosts off")
    verb("destroy", destroy, "remove all of the fleet")
    return top


def up(arguments: argparse.Namespace) -> int:
    """Make what is missing of the fleet and boot what is down."""
    bed.up(arguments.name)
    return 0


def install(arguments: argparse.Namespace) -> int:
    """Boot the fleet and install this checkout on every host."""
    bed.install(arguments.name)
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Run a command in a host; on the node `users`, a command of this machine in that network."""
    return bed.run(arguments.name, arguments.host, arguments.command, root=arguments.root, cwd=arguments.cwd)


def partition(arguments: argparse.Namespace) -> int:
    """Lose all packets of a host, or those that it sends to WHAT."""
    try:
        keyword, what = arguments.what or (None, None)
        if keyword not in {None, "from"}:
            raise ValueError(keyword)
        network.partition(arguments.name, arguments.host, what)
    except (ValueError, KeyError) as error:
        raise HostError(
            f"nothing is called {' '.join(arguments.what)}", "fleet partition HOST [from WHAT]"
        ) from error
    return 0


def heal(arguments: argparse.Namespace) -> int:
    """Undo every partition of a host, or of all."""
    for name in [arguments.host] if arguments.host else [node.name for node in layout.NODES]:
        network.heal(arguments.name, name)
    return 0


def kill(arguments: argparse.Namespace) -> int:
    """SIGKILL for the processes of a service or, as in a power cut, for all of the host's."""
    bed.kill(arguments.name, arguments.host, arguments.what)
    return 0


def down(arguments: argparse.Namespace) -> int:
    """Power all hosts off."""
    bed.down(arguments.name)
    return 0


def destroy(arguments: argparse.Namespace) -> int:
    """Remove everything of the fleet but the template in the cache; done already is done."""
    bed.destroy(arguments.name)
    return 0
