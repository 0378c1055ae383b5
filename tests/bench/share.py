"""Measures what a sweep of 1,000 trials costs another user: `python -m tests.bench.share`.

An agent of the bench's own on the host accepts such sweeps, which must take a second at most. While one runs,
another user submits a single job. No more jobs of the first user may start before it than where that user has
ten plain jobs instead. Exit status 1 where either is not so.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from agent.cli.job.http import Api
from agent.config import user_file
from agent.config_base import HttpSettings
from agent.config_files import load
from agent.model.job import Job
from tests.faults.site import MAX_RUNNING, USERS, Site
from tests.faults.sweep_faults import REQUEST
from tests.support.waiting import until

TRIALS = 1000
TEN = 10
MOST_SECONDS = 1.0  # to accept them
PATIENCE = 120.0  # seconds for each wait
JOB = {"script_name": "sweep.py", "hyperparameters": {"x": "1", "y": "2"}}
SWEEP = REQUEST | {"strategy": "random", "pruner": None, "trials": TRIALS, "at_once": TEN}
ENDED = ("COMPLETED", "FAILED", "CANCELLED")


async def accept(api: Api) -> tuple[str, float]:
    """A sweep's path, and the seconds until it was accepted."""
    began = time.perf_counter()
    known = await api.post("/sweeps", {name: each for name, each in SWEEP.items() if each is not None})
    return f"/sweeps/{known['sweep_id']}", time.perf_counter() - began


async def occupy(api: Api, *, sweep: bool) -> list[str]:
    """Has a user fill the host, with a sweep or with ten jobs; the paths of what to cancel."""
    if sweep:
        path, _ = await accept(api)
        return [path]
    return [f"/jobs/{(await api.post('/jobs', JOB))['job_id']}" for _ in range(TEN)]


async def overtaken(first: Api, other: Api, *, sweep: bool) -> tuple[int, float]:
    """How many jobs of the first user start while the other's single job waits, and for how many seconds."""
    paths = await occupy(first, sweep=sweep)

    async def full() -> bool:
        return len(await jobs(first, status="RUNNING")) == MAX_RUNNING

    await until(full, seconds=PATIENCE)
    mine = f"/jobs/{(await other.post('/jobs', JOB))['job_id']}"

    async def begun() -> Job | None:
        known = Job.model_validate(await other.get(mine), extra="ignore")
        return known if known.started_at else None

    job = await until(begun, seconds=PATIENCE)
    assert job
    assert job.started_at
    before = [
        each.job_id
        for each in await jobs(first)
        if each.started_at and job.created_at < each.started_at < job.started_at
    ]
    for path in paths:
        await first.post(f"{path}/cancel")

    async def over() -> bool:
        ends = [(await first.get(path))["status"] in ENDED for path in paths]
        return all(ends) and (await other.get(mine))["status"] in ENDED

    await until(over, seconds=PATIENCE)
    return len(before), (job.started_at - job.created_at).total_seconds()


async def jobs(api: Api, **filters: str) -> list[Job]:
    """The user's newest jobs."""
    return [
        Job.model_validate(each, extra="ignore")
        async for each in api.jobs({"owner": api.profile.identity, **filters}, limit=200)
    ]


async def measure(site: Site, rounds: int) -> bool:
    """Prints the figures; returns whether they are within the bounds."""
    seconds: list[float] = []
    found: dict[bool, list[tuple[int, float]]] = {False: [], True: []}
    async with Api(site.profile(USERS[0])) as first, Api(site.profile(USERS[1])) as other:
        # The first job of an agent that was idle waits for Podman's own service.
        await first.post(f"/jobs/{(await first.post('/jobs', JOB))['job_id']}/cancel")
        for _ in range(rounds):
            path, took = await accept(first)
            seconds.append(took)
            await first.post(f"{path}/cancel")
            for sweep in (False, True):
                found[sweep].append(await overtaken(first, other, sweep=sweep))
    print(f"{TRIALS} trials accepted in {told(seconds)} s, at most {MOST_SECONDS:g}")
    print(f"another user's job, beside {'jobs started before it':>32}{'seconds':>26}")
    for sweep, name in ((False, "ten plain jobs"), (True, f"a sweep of {TRIALS} trials")):
        counts, waits = zip(*found[sweep], strict=True)
        print(f"  {name:<30}{max(counts):>18}{told(waits):>34}")
    most = {sweep: max(count for count, _ in each) for sweep, each in found.items()}
    return max(seconds) <= MOST_SECONDS and most[True] <= most[False]


def told(values: Sequence[float]) -> str:
    """The median and the largest."""
    return f"{statistics.median(values):.2f} (max {max(values):.2f})"


async def bench(rounds: int) -> bool:
    """Measures on a site of its own, which is gone afterwards."""
    installed = load().http if user_file().exists() else HttpSettings()
    site = Site(20_000 + installed.port, idle_seconds=600)
    await site.make()
    try:
        return await measure(site, rounds)
    finally:
        await site.remove()


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.share", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    given: Any = parser.parse_args()
    return 0 if asyncio.run(bench(given.rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
