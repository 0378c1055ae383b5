"""Waiting for a condition of which nobody sends a notification."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar, overload

T = TypeVar("T")

INTERVAL = 0.02  # seconds between two looks


@overload
async def until(look: Callable[[], Awaitable[T]], *, seconds: float = 20) -> T: ...
@overload
async def until(look: Callable[[], T], *, seconds: float = 20) -> T: ...
async def until(look: Callable[[], Any], *, seconds: float = 20) -> Any:
    """The first true value that `look` returns or, if it is asynchronous, awaits.

    Raises `TimeoutError` after so many seconds.
    """
    async with asyncio.timeout(seconds):
        while True:
            value = look()
            if value := await value if isawaitable(value) else value:
                return value
            await asyncio.sleep(INTERVAL)


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
