"""`ml-agent doctor`: every check in turn, printed as it is made."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import typer
from rich.text import Text

from ....config import Settings
from ....config_files import load
from ....errors import AgentError
from ....host.podman import Podman
from ...failure import EXIT_FAILURE, of_error, of_file
from ...program import JsonOption
from ...terminal import Screen, visible
from . import host, jobs, journal, scripts
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
    async for finding in examine():
        findings.append(finding)
        if screen is not None:
            _print(screen, finding)
    return findings


def _print(screen: Screen, finding: Finding) -> None:
    level, subject = f"{finding.level:<6}", f"{finding.subject:<20}"
    screen.text(Text.assemble((level, STYLES[finding.level]), subject, visible(finding.seen)))
    if finding.remedy:
        screen.text(Text(f"{'':<26}{finding.remedy}"))


async def examine() -> AsyncIterator[Finding]:
    """Every finding, in the order in which an administrator would fix things."""
    for subject, findings in (  # which need no configuration
        ("systemd", _one(host.systemd)),
        ("user manager", _one(host.manager)),
        ("linger", _one(host.linger)),
        ("journal", journal.journal()),
    ):
        async for finding in guarded(subject, findings):
            yield finding
    try:
        settings = load()
    except AgentError as error:
        yield Finding("configuration", Level.FAIL, *_sentences(error))
        return
    async with Podman(settings.podman_socket) as podman:
        for subject, findings in _account_checks(settings, podman):
            async for finding in guarded(subject, findings):
                yield finding


def _account_checks(settings: Settings, podman: Podman) -> list[tuple[str, AsyncIterator[Finding]]]:
    return [
        ("podman", jobs.podman(settings, podman)),
        ("scripts", scripts.scripts(settings, podman)),
        ("quadlet", _one(partial(jobs.quadlet, settings))),
        ("clock", host.clock(settings)),
        ("disk", _one(partial(host.disk, settings))),
        ("runtime directory", _one(partial(host.runtime_directory, settings))),
        ("leftovers", _one(partial(jobs.leftovers, podman))),
        ("server certificate", host.server(settings)),
        ("clients", host.clients(settings)),
        ("socket", _one(partial(host.socket, settings))),
    ]


async def guarded(subject: str, findings: AsyncIterator[Finding]) -> AsyncIterator[Finding]:
    """The findings of one check. A check that fails is a finding, and does not stop the other checks."""
    try:
        async for finding in findings:
            yield finding
    except Exception as error:
        seen, remedy = _sentences(error)
        yield Finding(subject, Level.FAIL, f"cannot be checked: {seen}", remedy)


def _sentences(error: Exception) -> tuple[str, str]:
    """What is wrong, and what helps."""
    failure = of_file(error) if isinstance(error, OSError) else None
    if isinstance(error, AgentError):
        failure = of_error(error)
    if failure is None:
        return f"{type(error).__name__}: {error}", "Report this: the check itself failed."
    fields = "; ".join(f"{each.field} {each.message}" for each in failure.fields)
    return f"{failure.message} {fields}".strip(), failure.hint or "docs/operations.md"


async def _one(check: Callable[[], Finding | Awaitable[Finding]]) -> AsyncIterator[Finding]:
    found = check()
    yield found if isinstance(found, Finding) else await found
