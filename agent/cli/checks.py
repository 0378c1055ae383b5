"""Checks of a doctor: what was seen, and what helps. A check that fails stops no other one."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import typer
from rich.text import Text

from ..errors import AgentError
from .failure import EXIT_FAILURE, of_error, of_file
from .terminal import Screen, visible


class Level(StrEnum):
    """`warn`: jobs run, but not as well as promised. `fail`: jobs or the agent cannot run."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """What was checked, what was seen, and what fixes it (empty where nothing has to be fixed)."""

    subject: str
    level: Level
    seen: str
    remedy: str = ""


def judge(subject: str, *, good: bool, seen: str, remedy: str, otherwise: Level = Level.FAIL) -> Finding:
    """A finding that is ok where `good`, else has the level `otherwise` and the remedy."""
    return Finding(subject, Level.OK, seen) if good else Finding(subject, otherwise, seen, remedy)


advise = partial(judge, otherwise=Level.WARN)

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def report(findings: AsyncIterator[Finding], *, as_json: bool) -> None:
    """Prints each finding as it is made, or all as JSON. Exits with status 1 where one failed."""
    screen = Screen()
    found = asyncio.run(_collect(findings, None if as_json else screen))
    if as_json:
        screen.json([dataclasses.asdict(finding) for finding in found])
    if any(finding.level is Level.FAIL for finding in found):
        raise typer.Exit(EXIT_FAILURE)


async def _collect(findings: AsyncIterator[Finding], screen: Screen | None) -> list[Finding]:
    found = []
    async for finding in findings:
        found.append(finding)
        if screen is not None:
            _print(screen, finding)
    return found


def _print(screen: Screen, finding: Finding) -> None:
    level, subject = f"{finding.level:<6}", f"{finding.subject:<19} "
    screen.text(Text.assemble((level, STYLES[finding.level]), subject, visible(finding.seen)))
    if finding.remedy:
        screen.text(Text(f"{'':<26}{finding.remedy}"))


async def guarded(subject: str, findings: AsyncIterator[Finding]) -> AsyncIterator[Finding]:
    """The findings of one check. A check that fails is a finding, and does not stop the other checks."""
    try:
        async for finding in findings:
            yield finding
    except Exception as error:
        seen, remedy = sentences(error)
        yield Finding(subject, Level.FAIL, f"cannot be checked: {seen}", remedy)


def sentences(error: Exception) -> tuple[str, str]:
    """What is wrong, and what helps."""
    failure = of_file(error) if isinstance(error, OSError) else None
    if isinstance(error, AgentError):
        failure = of_error(error)
    if failure is None:
        return f"{type(error).__name__}: {error}", "Report this: the check itself failed."
    fields = "; ".join(f"{each.field} {each.message}" for each in failure.fields)
    return f"{failure.message} {fields}".strip(), failure.hint or "docs/operations.md"


async def one(check: Callable[[], Finding | Awaitable[Finding]]) -> AsyncIterator[Finding]:
    """The one finding of a check."""
    found = check()
    yield found if isinstance(found, Finding) else await found


async def each(check: Callable[[], Iterable[Finding]]) -> AsyncIterator[Finding]:
    """The findings of a check that does not wait."""
    for finding in check():
        yield finding
