"""TOML that clients and repositories write: tomllib's, with a bound on what it costs to read."""

import tomllib
from typing import Any

MAX_DOTS = 64  # in one line


class TooMuchError(ValueError):
    """More than is read. Of the text the message has the number of a line at most."""


def parse(text: str) -> dict[str, Any]:
    """The table that a text is. Raises `ValueError`, of which `TooMuchError` is one.

    tomllib takes time and memory with the square of a dotted key's parts: 17 s and 4 GB for 64 KB of them.
    A key is within one line.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > MAX_DOTS:
            raise TooMuchError(f"has more than {MAX_DOTS} dots in line {number}")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise TooMuchError("is nested too deeply") from error
