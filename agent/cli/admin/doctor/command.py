"""`ml-agent doctor`: every check in turn, printed as it is made."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import typer
from rich.text import Text

from ....config import Settings
from ....config_files import load
from ....host.podman import Podman
from ...failure import EXIT_FAILURE
from ...options import JsonOption
from ...terminal import Screen
from ...text import visible
from . import certificates, host, jobs
from .findings import Finding, Level

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}

app = typer.Typer()


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check what the host needs, and say how to fix it. Exits with status 1 if a check fails."""
    screen = Screen()
    findings = asyncio.run(_examine(None if as_json else screen))
    if as_json:
        screen.json([dataclasses.asdict(finding) for finding in findings])
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(EXIT_FAILURE)


async def _examine(screen: Screen | None) -> list[Finding]:
    findings = []
    async for finding in examine(load()):
        findings.append(finding)
        if screen is not None:
            _print(screen, finding)
    return findings


def _print(screen: Screen, finding: Finding) -> None:
    level, subject = f"{finding.level:<6}", f"{finding.subject:<20}"
    screen.text(Text.assemble((level, STYLES[finding.level]), subject, visible(finding.seen)))
    if finding.remedy:
        screen.text(Text(f"{'':<26}{finding.remedy}"))


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Every finding, in the order in which an administrator would fix things."""
    yield await host.systemd()
    yield await host.manager()
    yield await host.linger()
    async with Podman(settings.podman_socket) as podman:
        async for finding in jobs.podman(settings, podman):
            yield finding
    yield await jobs.quadlet(settings)
    async for finding in host.journal():
        yield finding
    yield await host.clock()
    yield host.disk(settings)
    for finding in certificates.server(settings):
        yield finding
    async for finding in certificates.clients(settings):
        yield finding
    yield await host.socket(settings)
