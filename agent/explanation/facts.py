"""What is known of a job that is to be explained, and what was found out about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..model.host import Usage
from ..model.job import Job

MAX_TEXT = 300  # characters of a line, or of what a line says, that are quoted


@dataclass(frozen=True)
class LogLine:
    """A line of a job's log: its number, its text, and whether the job itself wrote it."""

    number: int
    text: str
    own: bool
    stderr: bool = False


@dataclass(frozen=True)
class Facts:
    """A job with its place in the queue, its newest lines in order, and what it uses while it runs."""

    job: Job
    lines: Sequence[LogLine]
    usage: Usage | None = None


@dataclass(frozen=True)
class Finding:
    """A cause in one sentence, what helps, and the line that shows it."""

    summary: str
    advice: tuple[str, ...] = ()
    line: LogLine | None = None


def shortened(text: str) -> str:
    """At most `MAX_TEXT` characters of a text."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
