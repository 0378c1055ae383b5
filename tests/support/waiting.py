"""Waiting for something to become true on a system that owes nobody a notification."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.02  # seconds between two looks


async def until(look: Callable[[], Awaitable[T]], *, seconds: float = 20) -> T:
    """The first true value that `look` returns. Raises `TimeoutError` after so many seconds."""
    async with asyncio.timeout(seconds):
        while not (value := await look()):  # noqa: ASYNC110
            await asyncio.sleep(INTERVAL)
    return value


async def run(*command: str, check: bool = True) -> str:
    """A command's output without the last line feed. Raises `AssertionError` where it fails and must not."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0 or not check, f"{command}: {errors.decode()}"
    return output.decode().rstrip("\n")
