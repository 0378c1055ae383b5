"""Work that outlives the cancellation of its caller, runs beside other work, or is done again and again."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import Any, TypeVar

from ..errors import AgentError
from ..log import log

T = TypeVar("T")


@contextlib.asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs a coroutine beside the body. Its failure ends the body, and the body's end cancels it."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()


class Listeners:
    """Who is called when something has happened."""

    def __init__(self) -> None:
        self._callbacks: set[Callable[[], None]] = set()

    @contextlib.contextmanager
    def listening(self, callback: Callable[[], None]) -> Iterator[None]:
        """Calls `callback` at each `notify` inside the context."""
        self._callbacks.add(callback)
        try:
            yield
        finally:
            self._callbacks.discard(callback)

    def notify(self) -> None:
        """Something has happened."""
        for callback in tuple(self._callbacks):
            callback()


async def repeat(look: Callable[[], Awaitable[None]], seconds: float, what: str) -> None:
    """Looks, at once and then every so many seconds, until it is cancelled. The host's errors are logged."""
    while True:
        try:
            await look()
        except (AgentError, OSError) as error:
            log.warning("%s: %s", what, error)
        await asyncio.sleep(seconds)


async def to_its_end(work: Awaitable[T]) -> T:
    """Awaits work that is not cancelled with its caller, but goes on in the background.

    A client that hangs up cancels its request, but the agent must still learn what the disk has by then.
    """
    return await asyncio.shield(work)


async def finish(work: Coroutine[Any, Any, None]) -> None:
    """Awaits a clean-up to its end, however often the caller is cancelled; raises the cancellation after it.

    A stream may be cancelled because its client is slow, and again because the client hangs up.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
    if cancelled:
        try:
            raise cancelled
        finally:
            del cancelled  # its traceback refers to this frame


class StoppedError(Exception):
    """Work in a thread ends, because it was told that its caller no longer waits."""


async def in_thread(
    work: Callable[[threading.Event], T],
    *,
    pool: Executor | None = None,
    discard: Callable[[T], None] = lambda _: None,
) -> T:
    """Runs `work` in a thread of `pool` (default: the event loop's own).

    If the caller is cancelled, the event that `work` has is set, and what it still returns is discarded.
    """
    stop = threading.Event()
    running = asyncio.get_running_loop().run_in_executor(pool, work, stop)

    def drop(done: asyncio.Future[T]) -> None:
        if not done.cancelled() and done.exception() is None:
            discard(done.result())

    try:
        return await to_its_end(running)
    except asyncio.CancelledError:
        stop.set()
        running.add_done_callback(drop)
        raise


async def in_turn(lock: asyncio.Lock, work: Callable[[], T]) -> T:
    """Runs work on a thread, which holds the lock until it ends, even if the caller is cancelled first.

    Other callers wait for the lock without occupying a thread.
    """

    async def locked() -> T:
        try:
            return await asyncio.to_thread(work)
        finally:
            lock.release()

    await lock.acquire()
    return await to_its_end(locked())
