"""Why a command failed, and the exit statuses that scripts may rely on."""

import errno
from dataclasses import dataclass, field
from functools import partial

from ..errors import AgentError, FieldError

EXIT_FAILURE = 1  # the agent or the host failed, or an answer was damaged
EXIT_REFUSED = 2  # wrong usage or configuration, or the agent refused the request (4xx)
EXIT_UNREACHABLE = 69  # EX_UNAVAILABLE of sysexits.h: no trusted agent answered
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h, which systemd shows by name
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, as other filters end under `| head`
EXIT_CANCELLED = 143  # 128 + SIGTERM, which is how a job is cancelled


@dataclass(eq=False)
class Failure(Exception):
    """One sentence (`message`), what helps (`hint`, or empty), and each refused value."""

    message: str
    hint: str = ""
    fields: tuple[FieldError, ...] = field(default=(), kw_only=True)
    exit_status: int = field(default=EXIT_REFUSED, kw_only=True)
    retry_after: float = field(default=0, kw_only=True)  # seconds to wait before another attempt
    passing: bool = field(default=False, kw_only=True)  # whether the same request may succeed later

    def __str__(self) -> str:
        return self.message


# Of what the agent sends or leaves, not of what was asked for.
broken = partial(Failure, exit_status=EXIT_FAILURE)


def of_error(error: AgentError) -> Failure:
    """What a person is told about an error of the agent's own modules."""
    return Failure(error.message, error.hint, fields=error.fields)


def of_text(error: UnicodeEncodeError) -> Failure:
    """An argument that is no text, or that the locale's encoding lacks."""
    return Failure(f"{error.object!a} is no text: half of a character, or bytes that are not UTF-8.")


def of_file(error: OSError) -> Failure | None:
    """What a person is told about an unusable file or a full disk; None for other errors, which are bugs."""
    names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not names and not full:
        return None
    hint = "Free space on its file system." if full else "Check the path, its owner and its permissions."
    return Failure(f"{names or 'A file'} cannot be used: {error.strerror}.", hint)


@dataclass(eq=False)
class Unreachable(Failure):
    """The agent did not answer. That passes, unless its certificate is not trusted, for example."""

    exit_status: int = field(default=EXIT_UNREACHABLE, kw_only=True)
    passing: bool = field(default=True, kw_only=True)


@dataclass(eq=False)
class Refused(Failure):
    """The agent answered with an error of this HTTP status, and with this code (or empty)."""

    status: int = field(kw_only=True)
    code: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        self.exit_status = EXIT_REFUSED if self.status < 500 else EXIT_FAILURE
        self.passing = self.status == 429 or self.status >= 500
