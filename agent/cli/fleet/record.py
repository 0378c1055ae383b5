"""The fleet's record, as commands on the machine of a front ask it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ...config import Settings
from .files import of_front

if TYPE_CHECKING:
    from ...fleet.record import Record

T = TypeVar("T")


def in_record(settings: Settings, work: "Callable[[Record], Awaitable[T]]") -> T:
    """What `work` does with the record. Raises `AgentError` (configuration) where there is no front here."""
    from ...fleet.record import Record
    from ...fleet.servers import record_server

    fleet, _ = of_front(settings)

    async def asked() -> T:
        half_life = settings.jobs.fair_share_half_life_seconds
        async with Record.connected(record_server(fleet), half_life=half_life) as record:
            return await work(record)

    return asyncio.run(asked())
