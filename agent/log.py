"""The agent's own log on stderr, which systemd passes to the journal: one line for each record."""

import logging
from types import TracebackType

log = logging.getLogger("ml-agent")

# A line break in a client's text would look like a line of the agent's. The others control terminals.
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Formatter(logging.Formatter):
    """The message on one line, and the indented lines of a traceback below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message without control characters."""
        return super().formatMessage(record).translate(CONTROLS)

    def formatException(self, ei: ExceptionInfo) -> str:
        """The traceback, each line indented."""
        lines = super().formatException(ei).splitlines()
        return "\n".join("    " + line.translate(CONTROLS) for line in lines)


def configure() -> None:
    """Sends records of level INFO and above to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
