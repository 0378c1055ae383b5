"""A fleet of stand-in agents with real members, over real servers, with clients, operators and faults."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import AgentError
from agent.fleet import member as members
from agent.fleet.entries import Ending
from agent.fleet.member import Member
from agent.fleet.reconciler import Reconciler
from agent.fleet.record import Record
from agent.fleet.tickets import BrokerServer, Publisher, Taker
from tests.support.fleet_members import Fragile, Fuse, life, until_blown
from tests.support.fleet_record import NEED, connected, new_job
from tests.support.rabbit_server import RabbitServer
from tests.support.redis_server import RedisServer

from .agents import DurableAgent
from .faults import Link, kill_again_and_again
from .judge import Told, Verdict, judged

log = logging.getLogger("harness")

REPEAT = 0.2  # seconds after which a client repeats what was not answered
CANCELLED_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is done, and how much goes wrong. Times are in seconds.

    At each point a member or a front dies with the probability `share`. One host is cut off for `partition`;
    another one falls asleep between a confirmation and a submission, is forgotten, and wakes up.
    """

    jobs: int
    hosts: int = 6
    at_once: int = 16  # clients
    share: float = 0.05
    kills: int = 0  # of each server
    between: float = 5.0  # at most, between two kills of a server
    partition: float = 0.0
    sleeper: bool = False
    twins: bool = False  # a second member for the first host
    reconciler: bool = True
    settle: float = 60.0
    seed: int = 7


@dataclass
class Fleet:
    """The parts that outlive members and fronts."""

    plan: Plan
    redis: RedisServer
    rabbit: RabbitServer
    record: Record
    agents: list[DurableAgent]
    kind: type[Member] = Member
    told: Told = field(default_factory=Told)
    deaths: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.plan.seed)
        self.broker = BrokerServer(url=self.rabbit.url)
        self.links = [Link() for _ in self.agents]

    # Members and fronts

    async def member(self, agent: DurableAgent, link: Link) -> None:
        """One member after the other on a host."""
        while True:
            fuse = Fuse.by_chance(self.chance, self.plan.share)
            record, own = link.of(self.record), link.of(agent, remote=False)
            await life(self.kind, record, self.broker, own, fuse, over=link.of)
            self.deaths += 1

    async def front(self, name: str) -> None:
        """One front after the other that looks for missing tickets."""
        while True:
            fuse = Fuse.by_chance(self.chance, self.plan.share)
            async with Publisher.connected(self.broker) as publisher:
                looks = Reconciler(name, Fragile(self.record, fuse), Fragile(publisher, fuse))
                await until_blown(looks.run(), fuse)

    async def submission(self, number: int, publisher: Publisher) -> None:
        """A client that submits a job, and repeats that until it is accepted."""
        key = f"k{number}"
        fields: dict[str, Any] = {"key": key, "fingerprint": key, "max_waiting": 10**6}
        if number % 3 == 0:
            fields |= {"max_attempts": 3, "again": True}
        while key not in self.told.accepted:
            fuse = Fuse.by_chance(self.chance, self.plan.share)
            work = self._accept(key, number, fields, Fragile(self.record, fuse), Fragile(publisher, fuse))
            try:
                await until_blown(work, fuse)
            except AgentError:
                await asyncio.sleep(REPEAT)
        if self.chance.random() < CANCELLED_SHARE:
            await self.cancellation(self.told.accepted[key])

    async def _accept(
        self, key: str, number: int, fields: dict[str, Any], record: Any, publisher: Any
    ) -> None:
        """What a front does: the record, the answer, and the ticket behind it."""
        job_id, _ = await record.submit(new_job(f"u{number % 7}", **fields))
        self.told.accepted[key] = job_id
        with contextlib.suppress(AgentError):
            await publisher.publish(NEED)

    async def cancellation(self, job_id: str) -> None:
        """A client cancels a job. Its host hears of it from the record alone, as where a front has died."""
        with contextlib.suppress(AgentError):
            if (await self.record.cancel(job_id))[0] is Ending.ENDED:
                self.told.cancelled.add(job_id)

    async def clients(self) -> None:
        """All submissions, so many at once."""
        numbers = iter(range(self.plan.jobs))

        async def some(publisher: Publisher) -> None:
            for number in numbers:
                await self.submission(number, publisher)

        async with Publisher.connected(self.broker) as publisher:
            await asyncio.gather(*(some(publisher) for _ in range(self.plan.at_once)))

    # Operators and faults

    async def cut_off(self, agent: DurableAgent, link: Link) -> None:
        """A host is cut off from everything, and comes back: nobody forgets it."""
        log.info("%s is cut off", agent.host)
        link.up = False
        await asyncio.sleep(self.plan.partition)
        link.up = True

    async def sleeps(self, agent: DurableAgent, link: Link) -> None:
        """A member falls asleep before a submission, is forgotten, and wakes up."""
        link.sleeps_before = "take"
        await link.asleep.wait()
        log.info("the member of %s sleeps", agent.host)
        while not await self._forget(agent.host):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await asyncio.sleep(1.0)
        link.awake.set()

    async def _forget(self, host: str) -> bool:
        """Gives the host up when its silence exceeds the deadline of what it has confirmed."""
        with contextlib.suppress(AgentError):
            before = await self.record.jobs_on(host)
            answer = await self.record.forget(host, silence=self.silence)
            if isinstance(answer, tuple):
                for job_id in set(answer[1]) & before.keys():
                    self.told.forgotten[host, job_id, int(before[job_id]["attempt"])] = time.time()
                return True
        return False

    @property
    def silence(self) -> float:
        """After how much of it a host may be forgotten: what `ml-fleet forget` asks for."""
        return members.LEASE + 1.0

    # A run

    def _faults(self) -> list[Coroutine[Any, Any, None]]:
        plan, faults = self.plan, []
        for server in (self.redis, self.rabbit):
            faults.append(kill_again_and_again(server, plan.kills, self.chance, plan.between))
        if plan.partition:
            faults.append(self.cut_off(self.agents[-1], self.links[-1]))
        if plan.sleeper:
            faults.append(self.sleeps(self.agents[-2], self.links[-2]))
        return faults

    def _parts(self) -> list[Coroutine[Any, Any, None]]:
        parts = [self.member(agent, link) for agent, link in zip(self.agents, self.links, strict=True)]
        if self.plan.twins:
            parts.append(self.member(self.agents[0], self.links[0]))
        if self.plan.reconciler:
            parts += [self.front("f1"), self.front("f2")]
        return parts

    async def run(self) -> Verdict:
        """Submits everything while everything goes wrong, and judges when that is over."""
        async with working(self._parts()):
            await asyncio.gather(self.clients(), *self._faults())
            await self._settled()
            return await judged(self.record, self.told, [s for agent in self.agents for s in agent.starts()])

    async def _settled(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.plan.settle):
                while (await self.record.newest(ended=0))[1]:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def working(parts: list[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Parts that work beside the body. One that ends by itself is an error."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    wrong = [end for end in ends if not isinstance(end, asyncio.CancelledError)]
    if wrong:
        raise AssertionError(f"a part of the fleet has ended: {wrong}")


@contextlib.asynccontextmanager
async def fleet(
    plan: Plan, redis: RedisServer, rabbit: RabbitServer, directory: Path, *, kind: type[Member] = Member
) -> AsyncIterator[Fleet]:
    """A fleet with an empty record and no tickets."""
    redis.cli("flushall")
    broker = BrokerServer(url=rabbit.url)
    async with connected(redis) as record, Publisher.connected(broker) as publisher:
        await record.load()
        await publisher.declare([NEED])
        await emptied(broker)
        agents = [DurableAgent(f"h{number}", directory) for number in range(plan.hosts)]
        try:
            yield Fleet(plan, redis, rabbit, record, agents, kind)
        finally:
            for agent in agents:
                await agent.close()


async def emptied(broker: BrokerServer) -> None:
    """Takes the tickets that an earlier run has left."""
    async with Taker.connected(broker) as taker:
        while ticket := await taker.take([NEED], 0.1):
            await ticket.acknowledge()
