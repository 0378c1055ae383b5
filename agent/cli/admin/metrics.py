"""`ml-agent metrics`: the numbers of GET /metrics, without starting the agent."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from ...config import Settings
from ...config_files import load
from ...host.files import write_file
from ...monitoring.monitoring import Monitoring
from ...store.store import Store
from ..terminal import Screen

app = typer.Typer()


@app.command()
def metrics(
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Replace this file, as for node_exporter."),
    ] = None,
) -> None:
    """Print what a monitoring system reads from GET /metrics. This does not start the agent."""
    text = asyncio.run(_exposition(load()))
    if output is None:
        Screen().write(text)
    else:
        write_file(output, text, mode=0o644, replace=True, durable=False, parents=False)


async def _exposition(settings: Settings) -> bytes:
    async with Store.open(settings.database) as store:
        text, _ = await Monitoring(settings, store).exposition("")
        return text
