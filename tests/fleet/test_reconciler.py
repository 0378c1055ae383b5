"""Tickets that are missing are published again, by one front at a time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent.fleet.member import Member
from agent.fleet.reconciler import Reconciler
from agent.fleet.record import Record
from agent.fleet.tickets import BrokerServer, Publisher, queue_name
from tests.support.fleet_members import CountingAgent, alive
from tests.support.fleet_record import member, submitted
from tests.support.rabbit_server import RabbitServer

pytestmark = pytest.mark.host


@pytest.fixture
def broker(rabbit: RabbitServer) -> BrokerServer:
    return BrokerServer(url=rabbit.url)


@pytest.fixture
async def publisher(rabbit: RabbitServer, broker: BrokerServer) -> AsyncIterator[Publisher]:
    """A publisher, and no tickets of other tests."""
    async with Publisher.connected(broker) as publisher:
        await publisher.declare(["none"])
        rabbit.ctl("purge_queue", queue_name("none"))
        yield publisher


async def ready(publisher: Publisher, count: int) -> None:
    """Waits until so many tickets are ready: the broker's count is a moment old."""
    async with asyncio.timeout(20):
        while await publisher.ready("none") != count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_what_is_missing_is_published_and_no_more(record: Record, publisher: Publisher) -> None:
    reconciler = Reconciler("front-1", record, publisher)
    assert await reconciler.look() == 0
    for _ in range(5):
        await submitted(record)
    await publisher.publish("none")
    await ready(publisher, 1)
    assert await reconciler.look() == 4
    await ready(publisher, 5)
    assert await reconciler.look() == 0
    host = await member(record)
    await host.claimed()
    assert await reconciler.look() == 0, "one too many is no harm"


async def test_a_queue_that_is_gone_is_made_and_filled(
    rabbit: RabbitServer, record: Record, publisher: Publisher
) -> None:
    await submitted(record)
    await publisher.publish("none")
    rabbit.ctl("delete_queue", queue_name("none"))
    assert await Reconciler("front-1", record, publisher).look() == 1
    await ready(publisher, 1)


async def test_one_front_at_a_time_looks(record: Record, publisher: Publisher) -> None:
    one, other = (Reconciler(name, record, publisher) for name in ("front-1", "front-2"))
    await submitted(record)
    assert await one.look() == 1
    await submitted(record)
    assert await other.look() == 0
    await ready(publisher, 1)
    assert await one.look() == 1
    await record.elect("front-1", 1)
    async with asyncio.timeout(10):
        while not await record.elect("front-2", 1):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_jobs_run_although_no_front_has_announced_them(
    record: Record, broker: BrokerServer, publisher: Publisher
) -> None:
    jobs = [await submitted(record) for _ in range(6)]
    agent = CountingAgent("h1")
    work = (alive(Member, record, broker, agent, []), Reconciler("front-1", record, publisher).run())
    tasks = [asyncio.create_task(each) for each in work]
    try:
        async with asyncio.timeout(30):
            while len(agent.begun) < len(jobs):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await agent.close()
    assert sorted(job_id for job_id, _ in agent.begun) == sorted(jobs)
