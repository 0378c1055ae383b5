"""Measures what a trial of a sweep costs the agent beside a plain job: `python -m tests.bench.trials`.

An agent of the bench's own on the host runs the same script as plain jobs, as a grid, and by TPE with the
median pruner, in turn. The figure is the CPU of its service, children included (cgroup-v2, `cpu.stat`), from
before the submission until every log is archived. Nobody asks meanwhile.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agent.cli.job.http import Api
from agent.config import user_file
from agent.config_base import HttpSettings
from agent.config_files import load
from tests.faults.site import SERVICE, USERS, Site
from tests.faults.sweep_faults import REQUEST

from . import report
from .contender import BenchError, at_a_time
from .report import Series

AT_ONCE = 6
SIDE = 10  # values of each of two hyperparameters
IDLE_SECONDS = 600
SETTLING = 2.0  # seconds before a figure is taken

Submit = Callable[[Api, int], Awaitable[list[str]]]


async def plain(api: Api, count: int) -> list[str]:
    """So many jobs of their own; the paths of what was accepted."""
    accepted: list[str] = []

    async def one(number: int) -> None:
        values = {"x": str(number % SIDE), "y": str(number // SIDE)}
        job = await api.post("/jobs", {"script_name": "sweep.py", "hyperparameters": values})
        accepted.append(f"/jobs/{job['job_id']}")

    await at_a_time(AT_ONCE, [lambda number=number: one(number) for number in range(count)])  # type: ignore[misc]
    return accepted


def sweep(**fields: Any) -> Submit:
    """One sweep of so many trials."""

    async def submit(api: Api, count: int) -> list[str]:
        wanted = REQUEST | {"at_once": AT_ONCE, "trials": count} | fields
        known = await api.post("/sweeps", {name: each for name, each in wanted.items() if each is not None})
        return [f"/sweeps/{known['sweep_id']}"]

    return submit


GRID = {"values": [str(value) for value in range(SIDE)]}
KINDS: dict[str, Submit] = {
    "plain jobs": plain,
    "trials of a grid": sweep(strategy="grid", pruner=None, space={"x": GRID, "y": GRID}),
    "trials by random": sweep(strategy="random", pruner=None),
    "trials by tpe, median pruner": sweep(),
}


class Meter:
    """The CPU of the agent's service, as long as one process of it runs."""

    def __init__(self, pid: int, group: str) -> None:
        self.pid = pid
        self._file = Path("/sys/fs/cgroup") / group.lstrip("/") / "cpu.stat"

    @classmethod
    async def of(cls, site: Site) -> "Meter":
        """The meter of the agent that runs now."""
        return cls(await site.main_pid(), await site.shown(SERVICE, "ControlGroup"))

    def seconds(self) -> float:
        """What the service has used so far."""
        fields = dict(line.split() for line in self._file.read_text("ascii").splitlines())
        return int(fields["usage_usec"]) / 1e6


async def archived(site: Site, before: int, count: int, *, seconds: float) -> None:
    """Returns when so many more logs than before are archived. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while logs(site) < before + count:  # noqa: ASYNC110 (nobody says so)
            await asyncio.sleep(1)
    await asyncio.sleep(SETTLING)


def logs(site: Site) -> int:
    """How many logs the agent has archived."""
    return sum(1 for _ in site.state.glob("jobs/*/log*"))


async def measure(site: Site, kind: str, count: int) -> float:
    """Milliseconds of the agent's CPU a job, of so many. Raises `BenchError` where one has not ended well."""
    async with Api(site.profile(USERS[0])) as api:
        await api.get("/scripts")
        await asyncio.sleep(SETTLING)
        meter, before = await Meter.of(site), logs(site)
        used = meter.seconds()
        accepted = await KINDS[kind](api, count)
        await archived(site, before, count, seconds=60 + 10 * count)
        used = meter.seconds() - used
        if await site.main_pid() != meter.pid:
            raise BenchError("the agent was started again meanwhile")
        ended = [await api.get(path) for path in accepted]
    bad = next((each for each in ended if each["status"] != "COMPLETED"), None)
    if bad is not None:
        raise BenchError(f"not COMPLETED: {bad}")
    return 1000 * used / count


async def bench(rounds: int, count: int, kinds: list[str]) -> list[Series]:
    """All kinds in turn, after a short warm-up of each."""
    installed = load().http if user_file().exists() else HttpSettings()
    site = Site(20_000 + installed.port, idle_seconds=IDLE_SECONDS)
    series = {kind: Series(kind) for kind in kinds}
    await site.make()
    try:
        for number in range(rounds + 1):
            for kind in kinds:
                began = time.monotonic()
                value = await measure(site, kind, count if number else AT_ONCE)
                took = time.monotonic() - began
                print(f"round {number}, {kind}: {value:.1f} ms, {took:.0f} s", file=sys.stderr, flush=True)
                if number:
                    series[kind].values.append(value)
    finally:
        await site.remove()
    return list(series.values())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.trials", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=60, help="of each kind and round, at most 100")
    parser.add_argument("--only", action="append", choices=[*KINDS], help="these kinds; all by default")
    given = parser.parse_args()
    measured = asyncio.run(bench(given.rounds, given.jobs, given.only or [*KINDS]))
    print(report.table("CPU of the agent", "ms/job", measured, [measured[0].name]))


if __name__ == "__main__":
    main()
