"""Real jobs on three real hosts, while processes, broker, record and links die at random.

    python -m tests.fleet.host.soak [--jobs 300] [--minutes 10] [--seed N] [--name BED]

Runs as root on the machine, with an installed bed. Users submit through both fronts, and follow the logs of
a third of their jobs. In the end, what they were told is held to what the hosts have: exit records, nonces,
journals. Exit status 1 where a job was lost, began twice, ended in another way than its exit record says, or
where a followed log was not whole.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from agent.cli.failure import Failure
from tests.faults.client import Clients, Told, all_of

from . import layout, network
from .findings import gathered, judge
from .handle import Fleet
from .users import USERS, connected

SCRIPTS = (*["short.py"] * 6, *["steady.py"] * 3, "fail.py")
FOLLOWED = 3  # one job of so many has its log followed from the start
PATIENCE = 300.0  # seconds for one job, from its submission to its end, whatever happens meanwhile
AT_A_TIME = 60  # jobs that have not ended
PAUSE = (2.0, 8.0)  # seconds between two faults
CUT = (2.0, 15.0)  # seconds that a partition lasts
QUIET = 0.85  # of the time passes until the last submission

Fault = Callable[[], Coroutine[Any, Any, None]]


@dataclass
class Chaos:
    """Makes one fault after the other, and counts them."""

    fleet: Fleet
    dice: random.Random
    made: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Until it is cancelled. Links that are cut then are healed."""
        while True:
            await asyncio.sleep(self.dice.uniform(*PAUSE))
            name, fault = self.dice.choice(self._faults())
            self.made[name] += 1
            await fault()

    def _faults(self) -> list[tuple[str, Fault]]:
        host = self.dice.choice(layout.HOSTS)
        front = self.dice.choice(list(layout.FRONT_NODES))
        return [
            ("agent killed", lambda: self._kill(host, "agent")),
            ("member killed", lambda: self._kill(host, "member")),
            ("front killed", lambda: self._kill(front, "front")),
            ("record killed", lambda: self._kill("servers", "record")),
            ("broker killed", lambda: self._kill("servers", "broker")),
            ("host cut off", lambda: self._cut(host, None)),
            ("host cut off from the broker", lambda: self._cut(host, "broker")),
            ("host cut off from fronts", lambda: self._cut(host, "fronts")),
        ]

    async def _kill(self, node: str, what: str) -> None:
        await asyncio.to_thread(self.fleet.verb, "kill", node, what)

    async def _cut(self, host: str, what: str | None) -> None:
        self.fleet.partition(host, what)
        try:
            await asyncio.sleep(self.dice.uniform(*CUT))
        finally:
            self.fleet.heal(host)


async def soak(fleet: Fleet, *, jobs: int, seconds: float, seed: int) -> bool:
    """Runs it, prints what came of it, and says whether every promise was kept."""
    dice, chaos = random.Random(seed), Chaos(fleet, random.Random(seed))
    told = [Told(dice.choice(USERS), dice.choice(SCRIPTS)) for _ in range(jobs)]
    began = time.monotonic()
    print(f"{jobs} jobs in {seconds:.0f} s, seed {seed}")
    async with connected(fleet, patience=PATIENCE) as clients, making(chaos):
        pace = seconds * QUIET / jobs
        work = [
            whole_way(clients, each, began + number * pace, followed=number % FOLLOWED == 0)
            for number, each in enumerate(told)
        ]
        await all_of(work, at_a_time=AT_A_TIME)
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
    print(f"{sum(chaos.made.values())} faults in {time.monotonic() - began:.0f} s:")
    for name, count in sorted(chaos.made.items()):
        print(f"  {name:<32}{count:>4}")
    fleet.repair()
    return judge(told, await gathered(fleet))


@contextlib.asynccontextmanager
async def making(chaos: Chaos) -> AsyncIterator[None]:
    """Faults are made while the body runs; one that cannot be made ends it."""
    task = asyncio.create_task(chaos.run())
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def whole_way(clients: Clients, told: Told, at: float, *, followed: bool) -> None:
    """Submits at that moment, follows if asked to, and waits for the end; who gives up has no end."""
    await asyncio.sleep(at - time.monotonic())
    with contextlib.suppress(Failure, TimeoutError):
        await clients.submit(told)
        if followed:
            await clients.follow(told)
        async with asyncio.timeout(PATIENCE):
            await clients.wait(told)
        await clients.read_log(told)


def main(words: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--name", default=layout.DEFAULT_NAME, help="which bed")
    chosen = parser.parse_args(words)
    fleet = Fleet(chosen.name)
    fleet.repair()
    with network.inside(chosen.name, layout.USERS.name):
        kept = asyncio.run(soak(fleet, jobs=chosen.jobs, seconds=chosen.minutes * 60, seed=chosen.seed))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
