"""Answers that serve everybody who asks the same within a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

MAX_KNOWN = 1000  # answers that are remembered


class Fresh(Generic[T]):
    """Asks `ask` about a key, once for all who want to know within so many seconds."""

    def __init__(self, ask: Callable[[str], Awaitable[T]], seconds: float = 1.0) -> None:
        self._ask = ask
        self._seconds = seconds
        self._known: dict[str, tuple[float, T]] = {}  # in the order in which they were asked
        self._turns = WeakValueDictionary[str, asyncio.Lock]()

    async def __call__(self, key: str, *, wanted: Callable[[T], bool] = lambda _: True) -> T:
        """The answer, asked anew if it is old or not `wanted`."""
        async with self._turns.setdefault(key, asyncio.Lock()):
            at, answer = self._known.get(key, (0.0, None))
            if answer is not None and time.monotonic() < at + self._seconds and wanted(answer):
                return answer
            answer = await self._ask(key)
            self._known.pop(key, None)
            self._known[key] = time.monotonic(), answer
            while len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]
            return answer
