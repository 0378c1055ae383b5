"""Tickets in a real RabbitMQ: each is one host's at a time, and none is lost that was confirmed."""

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.fleet.tickets import BrokerServer, Publisher, Taker, Ticket
from tests.support.rabbit_server import RabbitServer

pytestmark = pytest.mark.host

NEEDS = ("none", "warehouse")


@pytest.fixture
def server(rabbit: RabbitServer) -> BrokerServer:
    return BrokerServer(url=rabbit.url)


@pytest.fixture
async def publisher(server: BrokerServer) -> AsyncIterator[Publisher]:
    """A publisher, and empty queues."""
    async with Publisher.connected(server) as publisher, Taker.connected(server) as taker:
        await publisher.declare(NEEDS)
        while ticket := await taker.take(NEEDS, 0.1):
            await ticket.acknowledge()
        yield publisher


@pytest.fixture
async def taker(server: BrokerServer) -> AsyncIterator[Taker]:
    async with Taker.connected(server) as taker:
        yield taker


async def test_a_ticket_is_one_hosts(server: BrokerServer, publisher: Publisher, taker: Taker) -> None:
    await publisher.publish("none")
    ticket = await taker.take(NEEDS, 10)
    assert ticket is not None
    assert ticket.need == "none"
    async with Taker.connected(server) as other:
        assert await other.take(NEEDS, 0.2) is None
        await ticket.give_back()
        again = await other.take(NEEDS, 10)
        assert again is not None
        await again.acknowledge()
        assert await other.take(NEEDS, 0.2) is None


async def test_a_host_that_waits_is_told_at_once(publisher: Publisher, taker: Taker) -> None:
    waiting = asyncio.create_task(taker.take(NEEDS, 30))
    await asyncio.sleep(0.5)
    started = time.monotonic()
    await publisher.publish("warehouse")
    ticket = await waiting
    assert ticket is not None
    assert ticket.need == "warehouse"
    assert time.monotonic() - started < 5
    await ticket.acknowledge()


async def test_a_host_takes_tickets_for_what_it_offers_alone(publisher: Publisher, taker: Taker) -> None:
    await publisher.publish("warehouse")
    assert await taker.take(("none",), 0.2) is None
    assert await taker.take(("warehouse",), 10) is not None


async def test_a_host_that_takes_one_holds_no_other_back(
    server: BrokerServer, publisher: Publisher, taker: Taker
) -> None:
    waiting = asyncio.create_task(taker.take(NEEDS, 30))
    await asyncio.sleep(0.5)
    for need in ("none", "none", "warehouse"):
        await publisher.publish(need)
    first = await waiting
    assert first is not None
    async with Taker.connected(server) as other:
        others = [await other.take(NEEDS, 10) for _ in range(2)]
        assert all(others)
        assert sorted(each.need for each in (first, *others) if each) == ["none", "none", "warehouse"]


async def test_the_ticket_of_a_host_that_dies_is_anothers(
    server: BrokerServer, publisher: Publisher, taker: Taker
) -> None:
    await publisher.publish("none")
    async with Taker.connected(server) as dying:
        assert await dying.take(NEEDS, 10) is not None
    assert await taker.take(NEEDS, 10) is not None


async def test_a_ticket_may_be_given_back_as_often_as_need_be(publisher: Publisher, taker: Taker) -> None:
    await publisher.publish("none")
    for _ in range(40):
        ticket = await taker.take(NEEDS, 10)
        assert ticket is not None
        await ticket.give_back()


async def test_a_host_that_waits_hears_that_a_queue_is_gone(
    rabbit: RabbitServer, publisher: Publisher, taker: Taker
) -> None:
    """Otherwise it would wait for a queue that is made anew, and nobody of those that wait would be told."""
    waiting = asyncio.create_task(taker.take(NEEDS, 30))
    await asyncio.sleep(0.5)
    started = time.monotonic()
    await asyncio.to_thread(rabbit.ctl, "delete_queue", "fleet.none")
    with pytest.raises(AgentError, match="deleted the queue"):
        await waiting
    assert time.monotonic() - started < 20
    await publisher.declare(NEEDS)
    await publisher.publish("none")
    ticket = await taker.take(NEEDS, 10)
    assert ticket is not None
    await ticket.acknowledge()


async def test_a_ticket_without_a_queue_is_refused(publisher: Publisher, taker: Taker) -> None:
    with pytest.raises(AgentError) as refused:
        await publisher.publish("elsewhere")
    assert refused.value.problem is Problem.HOST
    assert await publisher.ready("elsewhere") is None
    with pytest.raises(AgentError):
        await taker.take(("elsewhere",), 1)
    # Both go on.
    await publisher.publish("none")
    assert await taker.take(NEEDS, 10) is not None


async def test_what_nobody_has_taken_is_counted(publisher: Publisher, taker: Taker) -> None:
    for _ in range(3):
        await publisher.publish("none")
    ticket = await taker.take(NEEDS, 10)
    assert ticket is not None
    async with asyncio.timeout(10):
        while await publisher.ready("none") != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert await publisher.ready("warehouse") == 0


async def test_a_broker_short_of_memory_blocks_publishers_and_not_takers(
    rabbit: RabbitServer, publisher: Publisher, taker: Taker
) -> None:
    rabbit.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        started = time.monotonic()
        with pytest.raises(AgentError):
            await publish_some(publisher)
        assert time.monotonic() - started < 60
        assert await taker.take(NEEDS, 10) is not None
    finally:
        rabbit.ctl("set_vm_memory_high_watermark", "0.6")
    async with asyncio.timeout(60):
        await published(publisher)


async def test_a_confirmed_ticket_survives_a_kill(tmp_path: Path) -> None:
    with RabbitServer.running(tmp_path / "node") as rabbit:
        server = BrokerServer(url=rabbit.url)
        async with Publisher.connected(server) as publisher, Taker.connected(server) as taker:
            await publisher.declare(NEEDS)
            await asyncio.sleep(2)  # one that is younger may stay without a leader: see `declare`
            for _ in range(5):
                await publisher.publish("none")
            assert await taker.take(("warehouse",), 0.1) is None
            rabbit.kill()
            for work in (publisher.publish("none"), taker.take(NEEDS, 1)):
                with pytest.raises(AgentError) as refused:
                    await work
                assert refused.value.problem is Problem.HOST
            await asyncio.to_thread(rabbit.start)
            async with asyncio.timeout(60):
                assert len([await taken(taker) for _ in range(5)]) == 5
            await publisher.publish("none")


async def test_a_connection_that_broke_is_forgotten_outside_of_a_loop(
    rabbit: RabbitServer, server: BrokerServer
) -> None:
    """A finaliser that makes a coroutine there warns, and warnings are errors."""
    async with Publisher.connected(server) as publisher:
        await publisher.declare(NEEDS)
        os.killpg(rabbit.group, signal.SIGSTOP)
        try:
            with pytest.raises(AgentError):
                await publisher.publish("none")
        finally:
            os.killpg(rabbit.group, signal.SIGCONT)
    async with Publisher.connected(BrokerServer(url="amqp://127.0.0.1:9/")) as nowhere:
        with pytest.raises(AgentError):
            await nowhere.publish("none")
    await asyncio.to_thread(gc.collect)
    await asyncio.sleep(0)


async def publish_some(publisher: Publisher) -> None:
    """More than one: a broker short of memory reads one message before it reads no more of a connection."""
    for _ in range(3):
        await publisher.publish("none")


async def published(publisher: Publisher) -> None:
    """Publishes a ticket to a broker that is about to take one again."""
    while True:
        with contextlib.suppress(AgentError):
            await publisher.publish("none")
            return
        await asyncio.sleep(0.2)


async def taken(taker: Taker) -> Ticket:
    """The next ticket of a broker whose queues may have no leader yet."""
    while True:
        with contextlib.suppress(AgentError):
            if ticket := await taker.take(NEEDS, 1):
                await ticket.acknowledge()
                return ticket
        await asyncio.sleep(0.2)
