"""Values of secrets on their way to Podman: read from a file or a pipe, looked at, never shown."""

import re
import sys
import tomllib
from pathlib import Path

from agent.errors import AgentError, FieldError, Problem
from agent.podman import MAX_SECRET_BYTES

_POSITION = re.compile(r"\(at (line \d+, column \d+|end of document)\)")


def read_value(file: Path | None) -> bytes:
    """The value from `file`, or else from standard input, which must not be a terminal."""
    if file is None:
        if sys.stdin.isatty():
            raise AgentError(
                Problem.INVALID_REQUEST,
                "A secret is not typed at a terminal, where it would be shown.",
                "Use --file, or a pipe.",
            )
        return sys.stdin.buffer.read(MAX_SECRET_BYTES + 1)
    try:
        with file.open("rb") as source:
            return source.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise AgentError(
            Problem.INVALID_REQUEST, f"{file} cannot be read: {error.strerror}.", "Name another file."
        ) from error


def left_readable(file: Path | None) -> str | None:
    """A remark on a file that others can read too, or that stays behind on the disk."""
    if file is None or not file.is_file():
        return None
    if file.stat().st_mode & 0o077:
        return f"{file} can be read by other accounts of this host: delete it, or `chmod 600` it."
    return f"{file} is still there; Podman has its own copy now."


def check_value(name: str, value: bytes) -> None:
    """Makes sure that a secret whose name begins with `snowflake` is a connections.toml.

    Format: docs.snowflake.com, "Connecting using the connections.toml file": one table per connection.
    Raises `AgentError` (invalid-request) that says where it is wrong, without a byte of the value.
    """
    if not name.startswith("snowflake"):
        return
    try:
        connections = tomllib.loads(value.decode("utf-8"))
    except UnicodeDecodeError:
        raise _refused("is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        place = _POSITION.search(str(error))
        raise _refused(f"is not TOML{f' (at {place[1]})' if place else ''}") from None
    if "connections" in connections:
        raise _refused("has its connections below [connections]; write [NAME], not [connections.NAME]")
    if not any(isinstance(table, dict) and "account" in table for table in connections.values()):
        raise _refused('has no connection: a table such as [default] with account = "…"')


def _refused(why: str) -> AgentError:
    return AgentError(
        Problem.INVALID_REQUEST,
        "A secret of this name must be a connections.toml.",
        "docs/operations.md shows one; other names take any value.",
        (FieldError("value", why),),
    )
