"""The lines of a job's log, and its gaps."""

from enum import StrEnum

from pydantic import Base64Bytes

from .base import Model, Time


class LogSource(StrEnum):
    """Who wrote a line: the job's own processes, or systemd and Podman about them."""

    JOB = "job"
    SYSTEM = "system"


class LogStream(StrEnum):
    """Which of its two streams the job wrote a line to."""

    STDOUT = "stdout"
    STDERR = "stderr"


class GapCause(StrEnum):
    """Why lines are missing, or may be. `docs/logs.md` explains each."""

    RATE_LIMIT = "rate-limit"
    REMOVED = "removed"
    JOURNALD_KILLED = "journald-killed"
    NOT_CLOSED = "not-closed"
    DAMAGED = "damaged"


class LogLine(Model):
    """One line of a job's log. `number` counts the lines of this job from 1.

    `stream` is what the job wrote the line to; lines of the system, and logs that an earlier agent archived,
    have none. `continued` is true where journald has cut a long line: the next line of its stream continues
    it. `base64` (RFC 4648, section 4) is present where the line is not UTF-8: it has the exact bytes, which
    `text` cannot have. `docs/logs.md` says how bytes become text.
    """

    number: int
    time: Time
    source: LogSource
    stream: LogStream | None = None
    text: str
    base64: Base64Bytes | None = None
    continued: bool | None = None

    @property
    def printed(self) -> bytes:
        """The line as it was printed."""
        return self.text.encode("utf-8", "replace") if self.base64 is None else self.base64


class LogGap(Model):
    """Lines that were printed after line `after` and are lost, or may be.

    `count` is present where journald dropped them: its own figure, for all units that share its rate limit.
    `cause` is a `GapCause`, or one of a newer agent; the logs of earlier agents have none.
    """

    after: int
    count: int | None = None
    cause: str | None = None
    time: Time
