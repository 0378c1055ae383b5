"""The lines of a job's log, and its gaps."""

from enum import StrEnum

from .base import Model, Time


class LogSource(StrEnum):
    """Who wrote a line: the job's own processes, or systemd and Podman about them."""

    JOB = "job"
    SYSTEM = "system"


class LogLine(Model):
    """One line of a job's log; `number` is the job's own count, from 1.

    `continued` is true where journald has cut a long line: the next line goes on with it. `docs/logs.md` says
    what becomes of which bytes.
    """

    number: int
    time: Time
    source: LogSource
    text: str
    continued: bool | None = None


class LogGap(Model):
    """Lines that were printed and are lost, after line `after`.

    `count` is journald's own figure where it dropped them (of all units that share its rate limit), and
    absent where it removed them with an old journal file.
    """

    after: int
    count: int | None = None
    time: Time
