"""TOML from clients and repositories: tomllib, with a bound on the cost of parsing."""

import tomllib
from typing import Any

MAX_DOTS = 64  # in one line


class TooMuchError(ValueError):
    """The text would cost too much to parse. The message quotes nothing of it but a line number."""


def parse(text: str) -> dict[str, Any]:
    """Parses a text. Raises `ValueError`, or its subclass `TooMuchError`.

    The time and memory of tomllib grow with the square of the parts of a dotted key: 17 s and 4 GB for a key
    of 64 KB. A key is within one line.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > MAX_DOTS:
            raise TooMuchError(f"has more than {MAX_DOTS} dots in line {number}")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise TooMuchError("is nested too deeply") from error
