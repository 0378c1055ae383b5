"""A secret's value on its way from a person: read from a file, a pipe or the keyboard, never shown."""

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import invalid_request
from ..model.secret import MAX_SECRET_BYTES, SecretChange

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="FILE", help="Read the value from FILE instead of standard input or the keyboard."
    ),
]


def read_value(file: Path | None) -> bytes:
    """The value from `file`, else from standard input; at a terminal one line without echo.

    Reads at most one byte more than a secret may have. Raises `AgentError` where the file cannot be read.
    """
    if file is None:
        if sys.stdin.isatty():
            return getpass.getpass("Value (not shown): ").encode()
        return sys.stdin.buffer.read(MAX_SECRET_BYTES + 1)
    try:
        with file.open("rb") as source:
            return source.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise invalid_request(f"{file} cannot be read: {error.strerror}.", "Name another file.") from error


def remark_on(file: Path | None) -> str | None:
    """A remark on the file that a value was read from: it stays on the disk, and others may read it."""
    if file is None or not file.is_file():
        return None
    if remark := readable_by_others(file):
        return f"{remark}: delete it, or `chmod 600` it."
    return f"{file} still holds the value; Podman has its own copy now."


def readable_by_others(file: Path) -> str | None:
    """The beginning of a remark on a file that other accounts can read."""
    return f"{file} can be read by other accounts of this host" if file.stat().st_mode & 0o077 else None


def describe_change(change: SecretChange) -> list[str]:
    """What a person is told about a secret that was set."""
    secret = f"{change.name} of {change.user or 'everybody'}"
    lines = [f"{'Rotated' if change.rotated else 'Set'}: jobs that start from now on get {secret}."]
    if jobs := change.earlier_value_in:
        lines.append(f"Running with the earlier value: {', '.join(jobs)}.")
    if hosts := change.missing_on:
        lines.append(f"Not yet on {', '.join(hosts)}: no job that needs it runs there until it is.")
    return lines
