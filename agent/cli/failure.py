"""Why `ml-job` could not do what it was asked, and the exit statuses that scripts may rely on."""

import errno
from dataclasses import dataclass, field

from ..errors import FieldError

EXIT_FAILURE = 1  # the agent failed, or what arrived was damaged
EXIT_REFUSED = 2  # wrong usage or configuration, or the agent refused the request (4xx)
EXIT_UNREACHABLE = 69  # EX_UNAVAILABLE of sysexits.h: nothing trustworthy answered
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, as other filters end under `| head`
EXIT_CANCELLED = 143  # 128 + SIGTERM, which is how a job is cancelled


@dataclass(eq=False)
class Failure(Exception):
    """One sentence (`message`), what would help (`hint`, or empty), and the refused values one by one."""

    message: str
    hint: str = ""
    fields: tuple[FieldError, ...] = field(default=(), kw_only=True)
    exit_status: int = field(default=EXIT_REFUSED, kw_only=True)
    retry_after: float = field(default=0, kw_only=True)  # seconds before which asking again is no use

    def __str__(self) -> str:
        return self.message


def of_file(error: OSError) -> Failure | None:
    """What a person is told of a file that cannot be used, or of a full disk; None of what is a bug here."""
    names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not names and not full:
        return None
    hint = "Make room on its file system." if full else "Look at the path, its owner and its permissions."
    return Failure(f"{names or 'A file'} cannot be used: {error.strerror}.", hint)


@dataclass(eq=False)
class Unreachable(Failure):
    """No answer came. `final` where asking again cannot help, as with a certificate that is not trusted."""

    exit_status: int = field(default=EXIT_UNREACHABLE, kw_only=True)
    final: bool = field(default=False, kw_only=True)


@dataclass(eq=False)
class Refused(Failure):
    """The agent answered with an error of this HTTP status, and with this code (or empty)."""

    status: int = field(kw_only=True)
    code: str = field(default="", kw_only=True)

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status == 429 or self.status >= 500
