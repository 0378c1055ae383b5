"""Values of secrets on their way from a person: read from a file, a pipe or the keyboard, never shown."""

import getpass
import sys
from pathlib import Path

from ..errors import AgentError, Problem
from ..model.secret import MAX_SECRET_BYTES, SecretChange


def read_value(file: Path | None) -> bytes:
    """The value from `file`, or else from standard input; at a terminal one line, which is not shown."""
    if file is None:
        if sys.stdin.isatty():
            return getpass.getpass("Value (not shown): ").encode()
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
    if remark := readable_by_others(file):
        return f"{remark}: delete it, or `chmod 600` it."
    return f"{file} is still there; Podman has its own copy now."


def readable_by_others(file: Path) -> str | None:
    """The beginning of a remark on a file that is not its owner's alone."""
    return f"{file} can be read by other accounts of this host" if file.stat().st_mode & 0o077 else None


def said_of(change: SecretChange) -> list[str]:
    """What a person is told of a secret that was set."""
    whom = change.user or "everybody"
    lines = [f"{'Rotated' if change.rotated else 'Set'}: jobs that begin now get {change.name} of {whom}."]
    if jobs := change.earlier_value_in:
        lines.append(f"Running, with what they began with: {', '.join(jobs)}.")
    return lines
