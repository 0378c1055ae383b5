"""Tasks that must reach their end, and tasks that run beside others."""

import asyncio
import contextlib
from collections.abc import (
    AsyncIterator,
    Coroutine,
)
from typing import Any, TypeVar


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs a coroutine beside the body; its failure ends the body, the body's end ends it."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()


T = TypeVar("T")


async def to_its_end(work: Coroutine[None, None, T]) -> T:
    """Awaits work that must not stop half-way when its caller is cancelled.

    A client that hangs up cancels its request: what the disk has by then, the agent must know too.
    """
    return await asyncio.shield(work)


async def _undisturbed(work: Coroutine[Any, Any, None]) -> None:
    """Awaits what takes a moment and must be done, however often the caller is cancelled meanwhile.

    A stream may be cancelled for its slow client and again for one that hung up.
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
