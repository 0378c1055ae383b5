"""Makes the faults one after the other and prints a table; exit status 1 where a promise was broken.

    python -m tests.faults [--quick] [--only WORD]

Runs as root inside the disposable host (`make faults`), and becomes the service account at once.
"""

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable

from agent.config import user_file
from agent.config_base import HttpSettings
from agent.config_files import load

from . import agent_faults, host_faults, machine_faults, power, reboot, stream_faults, sweep_faults
from .audit import Verdict
from .privilege import Root, become
from .report import HEAD, Made, failed, sentences
from .site import Site

ACCOUNT = "ml"
Fault = Callable[[Site, Root], AsyncIterator[Made]]


def plan(*, quick: bool) -> dict[str, Fault]:
    """The faults by name. Quick: each is made, but only a few times."""

    def times(full: int, few: int) -> int:
        return few if quick else full

    agent, host = agent_faults, host_faults
    return {
        "steps": lambda site, _: agent.killed_at_each_step(site, times(20, 1)),
        "random": lambda site, _: agent.killed_at_random(site, kills=times(300, 12), jobs=times(200, 20)),
        "sweep": lambda site, _: sweep_faults.killed_while_it_sweeps(
            site, trials=times(60, 12), kills=times(40, 6)
        ),
        "restart": lambda site, _: agent.restarted_under_load(site, times(100, 5)),
        "idle": lambda site, _: agent.left_when_idle(site, times(5, 1)),
        "bus": lambda site, _: host.bus_restarted(site, times(10, 2)),
        "reexec": lambda site, _: host.manager_reexecuted(site, times(50, 5)),
        "stop": lambda site, _: host.stopped_by_hand(site, times(20, 2)),
        "journald": lambda site, root: host.journald_killed(site, root, times(20, 2)),
        "rotation": lambda site, root: host.journal_rotated(site, root, times(20, 2)),
        "forgotten": lambda site, root: host.log_forgotten(site, root, times(5, 1)),
        "stream": lambda site, root: stream_faults.followed_through_faults(
            site,
            root,
            lines=times(1_000_000, 40_000),
            cuts=times(200, 12),
            kills=times(20, 2),
            rotations=times(20, 2),
        ),
        "full": lambda site, root: host.disk_full(site, root, times(5, 1)),
        "runtime": lambda site, root: host.runtime_directory_full(site, root, times(5, 1)),
    }


def machine_plan() -> dict[str, Fault]:
    """The faults that need a machine of its own."""
    return {
        "clock": lambda site, root: machine_faults.clock_changed(site, root, 2),
        "memory": lambda site, _: machine_faults.memory_ran_out(site, 4),
        "cpus": lambda site, _: machine_faults.cpus_are_limited(site, 2),
    }


async def make(site: Site, root: Root, faults: dict[str, Fault]) -> list[Made]:
    """All of them, each on a site of its own; rows are printed as they come."""
    made: list[Made] = []
    print(HEAD, flush=True)
    for name, fault in faults.items():
        await site.make()
        began = time.monotonic()
        try:
            async for each in fault(site, root):
                print(each.row, *sentences(each), sep="\n", flush=True)
                made.append(each)
        except Exception:
            print(f"{name}: the fault could not be made, or the host did not recover from it")
            traceback.print_exc()
            made.append(Made(name, 0, Verdict()))
        finally:
            await site.remove()
        print(f"faults: {name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return made


async def around(
    site: Site, part: str, before: Callable[[], Awaitable[None]], after: Callable[[], AsyncIterator[Made]]
) -> list[Made]:
    """One side of a reboot or a power cut; the site is there on both."""
    if part == "before":
        await site.make()
        await before()
        return []
    try:
        made = [each async for each in after()]
        for each in made:
            print(each.row, *sentences(each), sep="\n", flush=True)
        return made
    finally:
        await site.remove()


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="each fault only a few times")
    parser.add_argument("--only", metavar="WORD", action="append", help="only the faults of these names")
    parser.add_argument("--reboot", choices=["before", "after"], help="what surrounds a reboot from outside")
    parser.add_argument("--machine", action="store_true", help="the faults that need a virtual machine")
    parser.add_argument("--power", choices=["before", "after"], help="what surrounds a power cut")
    options = parser.parse_args()
    root = become(ACCOUNT)
    # Beside the installed agent's: hosts share the machine's network, and each has ports of its own.
    installed = load().http if user_file().exists() else HttpSettings()
    site = Site(10_000 + installed.port, machine=options.machine)
    if options.reboot:
        work = around(site, options.reboot, lambda: reboot.before(site), lambda: reboot.after(site))
        return 1 if failed(asyncio.run(work)) else 0
    if options.power:
        work = around(site, options.power, lambda: power.before(site, root), lambda: power.after(site))
        return 1 if failed(asyncio.run(work)) else 0
    faults = machine_plan() if options.machine else plan(quick=options.quick)
    chosen = {name: fault for name, fault in faults.items() if not options.only or name in options.only}
    made = asyncio.run(make(site, root, chosen))
    return 1 if failed(made) else 0


if __name__ == "__main__":
    sys.exit(main())
