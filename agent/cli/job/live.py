"""A view on the terminal that is redrawn until its command ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ..terminal import Screen
from .http import Api
from .job_list import JobList
from .stream import RECONNECTED, Event, follow

REDRAW_SECONDS = 0.25


async def events_of_jobs(
    api: Api, path: str, jobs: JobList, notice: Callable[[str], None]
) -> AsyncIterator[Event]:
    """The events at `path`. A lost connection discards the partial snapshot in `jobs`."""

    def lost(text: str) -> None:
        jobs.discard_snapshot()
        notice(text)

    async with contextlib.aclosing(follow(api, path, params={}, notice=lost)) as events:
        async for event in events:
            yield event


@contextlib.asynccontextmanager
async def live_view(
    screen: Screen, view: Callable[[], RenderableType]
) -> AsyncIterator[Callable[[str], None]]:
    """Redraws the view, with the last notice below it. Yields the function that takes notices."""
    last = ""

    def draw() -> RenderableType:
        return Group(view(), Text(f"ml-job: {last}", style="yellow")) if last else view()

    def notice(text: str) -> None:
        nonlocal last
        last = "" if text == RECONNECTED else text

    async def redraw() -> None:
        while True:
            live.update(draw(), refresh=True)
            await asyncio.sleep(REDRAW_SECONDS)

    with Live(console=screen.out, auto_refresh=False) as live:
        drawing = asyncio.create_task(redraw())
        try:
            yield notice
        finally:
            drawing.cancel()
            live.update(draw(), refresh=True)
