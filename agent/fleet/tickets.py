"""Tickets in RabbitMQ: each says that a job waits for what its queue's need names, and not which.

A ticket wakes one host with room, which then asks the record whose turn it is. Tickets can be lost: the
record has every job, and `Publisher.ready` against the record's counts says how many are missing.
"""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aio_pika
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractIncomingMessage,
    AbstractQueue,
    TimeoutType,
)
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity, DeliveryError

from ..errors import AgentError, Problem
from ..host.tasks import to_its_end

CONNECT_TIMEOUT = 5.0  # seconds
TIMEOUT = 2.0  # seconds for the broker to confirm, or to answer
# Quorum queues survive the loss of a node. By default the broker drops a message that was returned 20 times,
# and a ticket may be returned as often as hosts have no room for what waits.
QUEUE_ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": -1}


@dataclass(frozen=True, kw_only=True)
class BrokerServer:
    """Where RabbitMQ is, such as `amqps://broker.example.com:5671/?auth=EXTERNAL`, and who asks."""

    url: str
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def queue_name(need: str) -> str:
    """The queue of the tickets for a need."""
    return f"fleet.{need}"


class _Link:
    """One connection and one channel on it, made when they are needed, and made anew after a failure.

    aio-pika's robust connections hang while the broker is away; this fails, and its user tries again.
    """

    def __init__(self, server: BrokerServer) -> None:
        self._server = server
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._turn = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, server: BrokerServer) -> AsyncIterator[Self]:
        """One that connects when it is first used, and is closed at the end."""
        link = cls(server)
        try:
            yield link
        finally:
            await link._close()

    @contextlib.asynccontextmanager
    async def _open(self, seconds: float = CONNECT_TIMEOUT + TIMEOUT) -> AsyncIterator[AbstractChannel]:
        """An open channel for so many seconds at most. An unroutable message is an error.

        Raises `AgentError` (host) for a broker that is away, refuses, or takes longer.
        """
        try:
            async with _answered(seconds):
                yield await self._opened()
        except AgentError:
            await self._close()
            raise

    async def _opened(self) -> AbstractChannel:
        async with self._turn:
            if self._channel is None or self._channel.is_closed:
                if self._connection is None or self._connection.is_closed:
                    self._connection = await _connected(self._server)
                self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            return self._channel

    async def _close(self) -> None:
        """Closes the connection. What was taken and not acknowledged is another's again."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and not connection.is_closed:
            # Cancelled halfway, the connection would go on to read, and to hold what was taken over it.
            await to_its_end(_ended(connection))


class Publisher(_Link):
    """Puts tickets into queues, on a connection of its own: a broker short of memory blocks who publishes."""

    async def declare(self, needs: Iterable[str]) -> None:
        """Makes the queues that are missing. Do this at installation.

        A queue that the broker loses its power with, a second after it was made, can stay without a leader.
        """
        async with self._open() as channel:
            for need in needs:
                await channel.declare_queue(queue_name(need), durable=True, arguments=QUEUE_ARGUMENTS)

    async def publish(self, need: str) -> None:
        """Puts a ticket into the queue of a need. It is on disk when this returns.

        Raises `AgentError` (host) where there is no such queue, or the broker does not confirm in time.
        """
        async with self._open() as channel:
            message = aio_pika.Message(b"", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, queue_name(need), mandatory=True)

    async def ready(self, need: str) -> int | None:
        """How many tickets nobody has taken; None where there is no such queue."""
        async with self._open() as channel:
            try:
                queue = await channel.declare_queue(queue_name(need), durable=True, passive=True)
            except ChannelNotFoundEntity:
                return None
            return queue.declaration_result.message_count or 0

    async def probe(self) -> None:
        """Publishes a message to a queue of its own, which goes with it: nobody is told of a job.

        Raises `AgentError` (host) also while an alarm, for memory or disk, blocks whoever publishes.
        """
        async with self._open() as channel:
            name = queue_name(f"probe.{secrets.token_hex(8)}")
            queue = await channel.declare_queue(name, exclusive=True, auto_delete=True)
            await channel.default_exchange.publish(aio_pika.Message(b""), name, mandatory=True)
            await queue.delete(if_unused=False, if_empty=False)


@dataclass(frozen=True)
class Ticket:
    """A ticket that was taken. If its holder dies, it is another's again."""

    need: str
    _message: AbstractIncomingMessage

    async def acknowledge(self) -> None:
        """Gives the ticket up: a job was claimed with it, or there was none to claim."""
        async with _answered(TIMEOUT):
            await self._message.ack()

    async def give_back(self) -> None:
        """Leaves the ticket to others: a job waits that does not fit here."""
        async with _answered(TIMEOUT):
            await self._message.nack(requeue=True)


class Taker(_Link):
    """Takes tickets, one at a time: who is full takes none, and holds none back from those with room."""

    async def take(self, needs: Sequence[str], seconds: float) -> Ticket | None:
        """The next ticket of one of these needs; None if there is none within so many seconds.

        Raises `AgentError` (host) where the broker does not answer, or lacks one of the queues.
        """
        async with self._open(CONNECT_TIMEOUT + TIMEOUT + seconds) as channel:
            await channel.set_qos(prefetch_count=1, timeout=TIMEOUT)
            queues = {need: await _queue(channel, need) for need in needs}
            for need, queue in queues.items():
                if (message := await queue.get(fail=False, timeout=TIMEOUT)) is not None:
                    return Ticket(need, message)
            return await _pushed(channel, queues, seconds)


class _Connection(aio_pika.Connection):
    """A connection that is closed where it cannot be made.

    aio-pika's finaliser of one that is not closed makes a coroutine, which outside of a loop nobody awaits.
    """

    async def connect(self, timeout: TimeoutType = None) -> None:
        try:
            await super().connect(timeout)
        except BaseException:
            await self.close()
            raise


async def _connected(server: BrokerServer) -> AbstractConnection:
    """Connects. If its caller is cancelled meanwhile, the connection is closed as soon as it is there."""
    making: asyncio.Task[AbstractConnection] = asyncio.create_task(
        aio_pika.connect(
            server.url,
            ssl_context=_context(server),
            timeout=CONNECT_TIMEOUT,
            connection_class=_Connection,
        )
    )
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        await to_its_end(_unwanted(making))
        raise


async def _unwanted(making: asyncio.Task[AbstractConnection]) -> None:
    await asyncio.wait({making})
    if not making.cancelled() and making.exception() is None:
        await _ended(making.result())


async def _ended(connection: AbstractConnection) -> None:
    try:
        with contextlib.suppress(AgentError):
            async with _answered(TIMEOUT):
                await connection.close()
    finally:
        await connection.close()  # waits for nobody: where the broker has not answered, it is only marked


async def _queue(channel: AbstractChannel, need: str) -> AbstractQueue:
    # Not asked of the broker: a consumer of a queue that is not there is told so.
    return await channel.get_queue(queue_name(need), ensure=False)


async def _pushed(
    channel: AbstractChannel, queues: dict[str, AbstractQueue], seconds: float
) -> Ticket | None:
    """Waits for the broker to push a ticket; whatever else it has pushed meanwhile is given back."""
    arrived: asyncio.Queue[Ticket] = asyncio.Queue()
    tags: dict[str, Any] = {}
    try:
        for need, queue in queues.items():

            async def on_message(message: AbstractIncomingMessage, need: str = need) -> None:
                arrived.put_nowait(Ticket(need, message))

            tags[need] = await queue.consume(on_message, timeout=TIMEOUT)
        return await _first(channel, arrived, seconds)
    finally:
        if not channel.is_closed:
            for need, tag in tags.items():
                await queues[need].cancel(tag, timeout=TIMEOUT)
            while not arrived.empty():
                await arrived.get_nowait().give_back()


async def _first(channel: AbstractChannel, arrived: asyncio.Queue[Ticket], seconds: float) -> Ticket | None:
    """What arrives first, or None; raises where the channel is closed before, or a queue is deleted."""
    async with _deleted(channel) as deleted:
        closed, first = asyncio.ensure_future(channel.closed()), asyncio.ensure_future(arrived.get())
        gone = asyncio.ensure_future(deleted.wait())
        try:
            ends = {closed, first, gone}
            done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if first in done:
                return first.result()
            if done:
                raise ConnectionError("the broker has closed the channel, or deleted the queue")
            return None
        finally:
            for each in (closed, first, gone):
                each.cancel()


@contextlib.asynccontextmanager
async def _deleted(channel: AbstractChannel) -> AsyncIterator[asyncio.Event]:
    """Set when the broker ends a consumer of the channel, as it does where a queue is deleted."""
    deleted = asyncio.Event()
    callbacks = (await channel.get_underlay_channel()).on_consumer_cancel_callbacks

    def ended(_: object) -> None:
        deleted.set()

    callbacks.add(ended)
    try:
        yield deleted
    finally:
        callbacks.discard(ended)


@contextlib.asynccontextmanager
async def _answered(seconds: float) -> AsyncIterator[None]:
    """Raises `AgentError` (host) for a broker that is away, refuses, or takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (AMQPError, DeliveryError, OSError, TimeoutError, RuntimeError) as error:
        raise _away(error) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # aiormq lets the cancellation of its own tasks through to whoever publishes on a lost connection.
        raise _away(error) from error


def _away(error: BaseException) -> AgentError:
    why = str(error) or type(error).__name__
    return AgentError(Problem.HOST, f"The fleet's broker does not answer: {why}.")


def _context(server: BrokerServer) -> ssl.SSLContext | None:
    if not server.url.startswith("amqps:"):
        return None
    context = ssl.create_default_context(cafile=server.authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if server.certificate is not None:
        context.load_cert_chain(server.certificate, server.key)
    return context
