"""Faults that need a machine of its own: the clock is changed, memory runs out, jobs want every CPU.

On the virtual machine (`tests/host/host --vm`), whose clock and cgroup controllers are its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

from agent.scheduling.queue import START_AND_STOP_SECONDS
from tests.support.waiting import run, until

from .audit import Verdict, audit, read_record
from .client import Clients, Told, all_of
from .privilege import Root
from .report import Made
from .site import RUN_TIME_SECONDS, SHARE, SPINNING, USERS, Site

START_SECONDS = 300.0  # for a job to begin on an emulated processor
MEASURED_SECONDS = 20.0
TOLERANCE = 0.1


async def clock_changed(site: Site, root: Root, times: int) -> AsyncIterator[Made]:
    """An hour on and, later, an hour back, while jobs wait, run, print, are followed and tried again."""
    tolds: list[Told] = []
    async with Clients.connected(site) as clients:
        for _ in range(times):
            tolds += await _an_hour_and_back(site, root, clients)
        await all_of(map(clients.read_log, tolds), at_a_time=4)
        used = sum([await clients.recent_use(user) for user in USERS])
    verdict = await audit(site.state, tolds, since="-3h")
    _check_times(verdict, site, tolds)
    _check_use(verdict, tolds, used)
    yield Made("clock an hour on, an hour back", 2 * times, verdict)


async def _an_hour_and_back(site: Site, root: Root, clients: Clients) -> list[Told]:
    before, between, after = (_jobs() for _ in range(3))
    async with asyncio.TaskGroup() as group:
        for told in before:
            group.create_task(clients.whole_way(told))
        await _one_runs(site, before)
        await root.run("date", "--set=+1 hour")
        try:
            for told in between:
                group.create_task(clients.whole_way(told))
            await _one_runs(site, between)
        finally:
            await root.run("date", "--set=-1 hour")
        for told in after:
            group.create_task(clients.whole_way(told))
    return [*before, *between, *after]


def _jobs() -> list[Told]:
    """Four that take a while, and two that fail and are to be tried again."""
    lasting = [Told(USERS[n % 2], "steady.py") for n in range(4)]
    return [*lasting, *(Told(user, "fail.py", attempts=2) for user in USERS)]


async def _one_runs(site: Site, tolds: list[Told]) -> None:
    async def runs() -> bool:
        return any(told.job_id and site.nonce(told.job_id).exists() for told in tolds)

    await until(runs, seconds=START_SECONDS)


def _check_times(verdict: Verdict, site: Site, tolds: list[Told]) -> None:
    """No job ended before it began, nor began before it was accepted, whatever the clock said."""
    rows, _ = read_record(site.state)
    for told in tolds:
        job = rows[told.job_id]
        for each in (job, *job["attempts"]):
            found = [job["created_at"], each.get("started_at"), each.get("finished_at")]
            times = [datetime.fromisoformat(time) for time in found if time]
            if times != sorted(times):
                verdict.violated(3, f"{told.job_id}: its times go back: {', '.join(map(str, times))}")


def _check_use(verdict: Verdict, tolds: list[Told], used: float) -> None:
    """A jump of the clock is not time that a user had of the host."""
    most = len(tolds) * SHARE * (RUN_TIME_SECONDS + START_AND_STOP_SECONDS)
    if used > most:
        verdict.violated(3, f"users are charged {used} s of the host for jobs that had {most} s at the most")


async def memory_ran_out(site: Site, times: int) -> AsyncIterator[Made]:
    """Jobs that need more memory than their limit are killed by the kernel; those beside them are not."""
    tolds = [Told(USERS[n % 2], ("greedy.py", "steady.py")[n % 2]) for n in range(2 * times)]
    async with Clients.connected(site) as clients:
        await all_of(map(clients.whole_way, tolds), at_a_time=4)
        await all_of(map(clients.read_log, tolds), at_a_time=4)
    yield Made("out of memory", times, await audit(site.state, tolds))


async def cpus_are_limited(site: Site, times: int) -> AsyncIterator[Made]:
    """Jobs that would take every CPU get what their limit says: by the kernel's own count."""
    verdict = Verdict()
    for _ in range(times):
        tolds = {cpus: Told(USERS[0], script, cancelled=True) for script, cpus in SPINNING.items()}
        async with Clients.connected(site) as clients:
            await all_of(map(clients.submit, tolds.values()), at_a_time=len(tolds))
            for told in tolds.values():
                await _one_runs(site, [told])
            shares = await asyncio.gather(*(_cpus_used(told.job_id) for told in tolds.values()))
            for (cpus, told), used in zip(tolds.items(), shares, strict=True):
                print(f"    a limit of {cpus} CPUs: {used:.3f} used", flush=True)
                if abs(used - cpus) > TOLERANCE * cpus:
                    verdict.violated(
                        3, f"{told.job_id}: may use {cpus} CPUs by its record, and uses {used:.3f}"
                    )
            await all_of(map(clients.cancel, tolds.values()), at_a_time=len(tolds))
            await all_of(map(clients.wait, tolds.values()), at_a_time=len(tolds))
        verdict.add(await audit(site.state, tolds.values()))
    yield Made("a limit on CPUs", times * len(SPINNING), verdict)


async def _cpus_used(job_id: str) -> float:
    """How many CPUs a job's unit uses at present."""
    group = await run(
        "systemctl", "--user", "show", "--value", "--property=ControlGroup", f"ml-job@{job_id}.service"
    )
    statistics = Path(f"/sys/fs/cgroup{group}/cpu.stat")

    def look() -> tuple[float, float]:
        usage = dict(line.split() for line in statistics.read_text().splitlines())["usage_usec"]
        return time.monotonic(), int(usage) / 1e6

    began, before = look()
    await asyncio.sleep(MEASURED_SECONDS)
    ended, after = look()
    return (after - before) / (ended - began)
