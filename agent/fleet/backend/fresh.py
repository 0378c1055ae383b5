"""Answers that serve everybody who asks the same within a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

MAX_KNOWN = 1000  # answers that are remembered
SHARE = 10  # one part in so many of the time may be spent on questions about one key


@dataclass(frozen=True)
class _Answer(Generic[T]):
    value: T
    at: float  # when it came, by the monotonic clock
    took: float  # seconds


class Fresh(Generic[T]):
    """Asks `ask` about a key, once for all who want to know within so many seconds."""

    def __init__(self, ask: Callable[[str], Awaitable[T]], seconds: float = 1.0) -> None:
        self._ask = ask
        self._seconds = seconds
        self._known: dict[str, _Answer[T]] = {}  # in the order in which they came
        self._turns = WeakValueDictionary[str, asyncio.Lock]()

    async def __call__(self, key: str, *, wanted: Callable[[T], bool] = lambda _: True) -> T:
        """The answer: asked anew if it is old, or if it is not `wanted` and questions take little time."""
        async with self._turns.setdefault(key, asyncio.Lock()):
            known, now = self._known.get(key), time.monotonic()
            if known is not None and now < known.at + self._seconds and self._serves(known, now, wanted):
                return known.value
            value = await self._ask(key)
            came = time.monotonic()
            self._known.pop(key, None)
            self._known[key] = _Answer(value, came, came - now)
            while len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]
            return value

    def _serves(self, known: _Answer[T], now: float, wanted: Callable[[T], bool]) -> bool:
        return wanted(known.value) or now < known.at + SHARE * known.took
