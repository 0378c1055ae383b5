"""A fleet of many members in one process, over a real Redis and a real RabbitMQ, whose agents run nothing.

Members ask the record itself, so the cost of a front between them is not in these figures.
"""

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import AgentError
from agent.fleet.entries import Claim, NoClaim, Offer
from agent.fleet.member import Member
from agent.fleet.reconciler import Reconciler
from agent.fleet.record import Record
from agent.fleet.tickets import BrokerServer, Publisher, Taker
from agent.model.fleet import Room
from agent.model.host import Resources
from agent.model.job import Job
from tests.support.fleet_members import CountingAgent
from tests.support.fleet_record import GIB, NEED, connected, new_job
from tests.support.rabbit_server import RabbitServer
from tests.support.redis_server import RedisServer

PLACES = 4
USERS = 20
DOCUMENT, REQUEST = "x" * 800, "y" * 300  # as long as those of a usual job
PATIENCE = 120.0  # seconds for what should take a few


class Host(CountingAgent):
    """A host of some places, whose jobs take as long as the site says."""

    def __init__(self, name: str, site: "Site") -> None:
        super().__init__(name)
        self._site = site

    async def room(self) -> Room:
        places = self._site.places
        capacity = Resources(jobs=places, cpus=places, memory_bytes=places * GIB)
        return (await super().room()).model_copy(update={"capacity": capacity, "free": capacity})

    @property
    def run_time(self) -> float:
        return self._site.run_time()

    async def take(self, claim: Claim, not_after: float) -> Job:
        job = await super().take(claim, not_after)
        self._site.begun[claim.job_id] = time.monotonic()
        return job


@dataclass
class Site:
    """The fleet, what its users ask for, and when things happened, in seconds of the monotonic clock."""

    redis: RedisServer
    rabbit: RabbitServer
    record: Record
    publisher: Publisher
    places: int = PLACES
    run_time: Callable[[], float] = lambda: 0.05
    submitted: dict[str, float] = field(default_factory=dict)
    claimed: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    waiting: Counter[str] = field(default_factory=Counter)  # jobs, by owner
    calls: list[float] = field(default_factory=list)  # seconds of each claim that found a job

    async def claim_next(self, offer: Offer) -> Claim | NoClaim:
        """The record's, timed."""
        began = time.monotonic()
        claim = await self.record.claim_next(offer)
        if isinstance(claim, Claim):
            self.claimed[claim.job_id] = time.monotonic()
            self.waiting[claim.owner] -= 1
            self.calls.append(time.monotonic() - began)
        return claim

    async def submit(self, owner: str, *, announce: bool = True, **fields: Any) -> str:
        """What a front does: the record, then the ticket."""
        began = time.monotonic()
        job = new_job(owner, max_waiting=10**9, document=DOCUMENT, request=REQUEST, **fields)
        self.waiting[owner] += 1
        await self.record.submit(job)
        self.submitted[job.id], self.owners[job.id] = began, owner
        if announce:
            with contextlib.suppress(AgentError):
                await self.publisher.publish(NEED)
        return job.id

    @contextlib.asynccontextmanager
    async def members(self, count: int) -> AsyncIterator[list[Host]]:
        """So many members, each with connections of its own to the broker, and a reconciler."""
        hosts = [Host(f"h{number:04}", self) for number in range(count)]
        broker = BrokerServer(url=self.rabbit.url)
        async with contextlib.AsyncExitStack() as stack:
            tasks = []
            for host in hosts:
                taker = await stack.enter_async_context(Taker.connected(broker))
                tasks.append(asyncio.create_task(Member(host.host, Timed(self), host, taker).run()))
            tasks.append(asyncio.create_task(Reconciler("f1", self.record, self.publisher).run()))
            try:
                await until(lambda: self._joined(count))
                yield hosts
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for host in hosts:
                    await host.close()

    async def _joined(self, count: int) -> bool:
        return len(await self.record.hosts()) >= count


class Timed:
    """The record, whose claims the site times."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.claim_next = site.claim_next

    def __getattr__(self, name: str) -> Any:
        return getattr(self._site.record, name)


@contextlib.asynccontextmanager
async def site(directory: Path) -> AsyncIterator[Site]:
    """Servers of its own, and an empty record."""
    directory.mkdir()
    with (
        RedisServer.running(directory / "redis") as redis,
        RabbitServer.running(directory / "rabbit") as rabbit,
    ):
        broker = BrokerServer(url=rabbit.url)
        async with connected(redis) as record, Publisher.connected(broker) as publisher:
            await record.load()
            await publisher.declare([NEED])
            yield Site(redis, rabbit, record, publisher)


async def until(met: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Waits until something is so, at most so many seconds."""
    async with asyncio.timeout(seconds):
        while True:
            answer = met()
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(0.05)


def cpu(group: int) -> float:
    """Seconds of CPU time of a process and of those in its group, since each began."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if group in (int(entry.name), int(fields[2])):
                    ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def row(name: str, *values: object) -> str:
    """A row of the table."""
    return f"{name:<56}" + "".join(f" {value:>10}" for value in values)


def of_milliseconds(name: str, seconds: list[float]) -> str:
    """A row with the median and the 99th percentile, in milliseconds."""
    ordered = sorted(seconds) or [float("nan")]
    middle, high = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return row(name, f"{middle * 1e3:.1f}", f"{high * 1e3:.1f}")


# The rows


async def steady(site: Site, rate: float, seconds: float) -> list[str]:
    """Jobs that come one by one, at a rate: from the submission to the claim, and what that costs."""
    users = itertools.cycle(f"u{number:02}" for number in range(USERS))
    groups = {"Redis": site.redis.group, "RabbitMQ": site.rabbit.group}
    before = {name: cpu(group) for name, group in groups.items()} | {"Python": time.process_time()}
    count, began = int(rate * seconds), time.monotonic()
    tasks = []
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(site.submit(next(users))))
    jobs = await asyncio.gather(*tasks)
    await until(lambda: site.begun.keys() >= set(jobs))
    after = {name: cpu(group) for name, group in groups.items()} | {"Python": time.process_time()}
    spent = {name: (after[name] - before[name]) / count * 1e3 for name in before}
    return [
        of_milliseconds(f"submitted to claimed, {rate:g} jobs/s, ms", [wait(site, job) for job in jobs]),
        of_milliseconds("a claim, as a member sees it, ms", site.calls[-count:]),
        *(row(f"CPU a job: {name}, ms", f"{value:.1f}") for name, value in spent.items()),
        row("CPU a job: all, ms", f"{sum(spent.values()):.1f}"),
    ]


def wait(site: Site, job_id: str) -> float:
    """Seconds from a submission to the claim."""
    return site.claimed[job_id] - site.submitted[job_id]


async def submissions(site: Site, count: int, at_once: int = 16) -> list[str]:
    """Durable submissions a second, with their tickets."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await site.submit(f"u{number % USERS:02}")

    began = time.monotonic()
    await asyncio.gather(*(some() for _ in range(at_once)))
    return [row(f"submissions a second, {at_once} at once", f"{count / (time.monotonic() - began):.0f}")]


async def burst(site: Site, members: int) -> list[str]:
    """Places that become free at once, and users who all have enough waiting jobs."""
    free = members * site.places
    site.run_time = lambda: PATIENCE
    for number in range(2 * free):
        await site.submit(f"b{number % USERS:02}", announce=False)
    async with site.members(members):
        await until(lambda: len(site.begun) >= free)
        counts = Counter(site.owners[job_id] for job_id in list(site.begun)[:free])
    per_user = [counts[f"b{number:02}"] for number in range(USERS)]
    return [row(f"{free} places at once: jobs of a user, least and most", min(per_user), max(per_user))]


async def shares(site: Site, hosts: list[Host], seconds: float) -> list[str]:
    """How far users are from an equal share of the time of all places, when each always has jobs waiting."""
    chance, running = random.Random(7), time.monotonic()
    used: defaultdict[str, float] = defaultdict(float)
    # A job counts for 10 s at least: of shorter ones, their number would be what is shared. Many hosts would
    # otherwise take more CPU than there is.
    longest = 40.0 * max(1.0, len(hosts) / 100)
    site.run_time = lambda: longest / chance.choice((1, 2, 4))
    weights = {f"s{number:02}": 1 + number % PLACES for number in range(USERS)}  # CPUs of its jobs
    backlog = 3 * len(hosts) * site.places // USERS + 2
    while time.monotonic() < running + seconds:
        lacking = [user for user in weights for _ in range(backlog - site.waiting[user])]
        limits: dict[str, Any] = {"run_time": longest, "longest": longest + 10}
        await asyncio.gather(
            *(site.submit(user, millicpus=1000 * weights[user], **limits) for user in lacking[:50])
        )
        await asyncio.sleep(0.2)
    now, took = time.monotonic(), {job: each for host in hosts for job, each in host.took.items()}
    for job_id, began in site.begun.items():
        if (user := site.owners[job_id]) in weights:
            used[user] += took.get(job_id, now - began) * weights[user]
    mean = sum(used.values()) / USERS
    errors = [abs(used[user] - mean) / mean for user in weights]
    worst, average = max(errors) * 100, sum(errors) / USERS * 100
    return [row(f"share error over {seconds:g} s, %: worst, mean", f"{worst:.1f}", f"{average:.1f}")]


async def large(site: Site, seconds: float = 3.0) -> list[str]:
    """A job as large as a host, among small ones that would take every place that becomes free."""
    site.run_time = lambda: seconds
    small: dict[str, Any] = {"run_time": seconds, "longest": seconds + 10}
    everybody = asyncio.create_task(_crowd(site, small))
    try:
        await until(lambda: any(site.owners[job].startswith("c") for job in site.begun))
        await asyncio.sleep(seconds)
        job_id = await site.submit("whale", millicpus=1000 * site.places, **small)
        await until(lambda: job_id in site.begun)
    finally:
        everybody.cancel()
        await asyncio.gather(everybody, return_exceptions=True)
        site.run_time = lambda: 0.01
        await until(lambda: site.claimed.keys() >= site.submitted.keys())
    name = f"a job as large as a host begins after, s (others run {seconds:g} s)"
    return [row(name, f"{wait(site, job_id):.1f}")]


async def _crowd(site: Site, fields: dict[str, Any]) -> None:
    numbers = itertools.count()
    while True:
        for _ in range(20):
            await site.submit(f"c{next(numbers) % USERS:02}", **fields)
        await until(lambda: len(site.submitted) - len(site.claimed) < 200)


async def broker_returns(site: Site) -> list[str]:
    """Jobs that are submitted while the broker is away, and then while it has no queues."""
    site.run_time = lambda: 0.05
    await asyncio.to_thread(site.rabbit.kill)
    jobs = [await site.submit(f"r{number % USERS:02}") for number in range(50)]
    await asyncio.to_thread(site.rabbit.start)
    back = time.monotonic()
    await until(lambda: site.claimed.keys() >= set(jobs))
    away = max(site.claimed[job] for job in jobs) - back
    await asyncio.to_thread(site.rabbit.ctl, "delete_queue", f"fleet.{NEED}")
    gone = time.monotonic()
    jobs = [await site.submit(f"r{number % USERS:02}") for number in range(50)]
    await until(lambda: site.claimed.keys() >= set(jobs))
    lost = max(site.claimed[job] for job in jobs) - gone
    return [
        row("RabbitMQ is back: all pending jobs claimed after, s", f"{away:.1f}"),
        row("its queues are deleted: all jobs claimed after, s", f"{lost:.1f}"),
    ]


async def idle_broker(site: Site, seconds: float) -> list[str]:
    """What the servers take while nobody asks for anything."""
    before = cpu(site.rabbit.group), cpu(site.redis.group)
    await asyncio.sleep(seconds)
    after = cpu(site.rabbit.group), cpu(site.redis.group)
    shares = (f"{(now - then) / seconds * 100:.1f}" for now, then in zip(after, before, strict=True))
    return [row("idle, % of a core: RabbitMQ, Redis", *shares)]


async def table(
    directory: Path, members: int, rate: float, seconds: float, minutes: float
) -> AsyncIterator[str]:
    """The rows, as they are measured."""
    yield f"{members} members of {PLACES} places, {USERS} users"
    yield row("", "median", "99 %")
    async with site(directory / "burst") as fleet:
        for line in await burst(fleet, max(1, 100 // PLACES)) + await submissions(fleet, int(20 * seconds)):
            yield line
    async with site(directory / "steady") as fleet, fleet.members(members) as hosts:
        for measured in (
            idle_broker(fleet, min(seconds, 10.0)),
            steady(fleet, rate, seconds),
            broker_returns(fleet),
            large(fleet),
            shares(fleet, hosts, 60 * minutes),
        ):
            for line in await measured:
                yield line
