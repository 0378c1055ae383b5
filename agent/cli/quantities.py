"""Sizes, durations and times as people write and read them; on the wire they are bytes, seconds and UTC."""

import re
from datetime import datetime

import typer

from ..model.base import format_time, now

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<suffix>[KMGT]?)(?:i?B)?", re.IGNORECASE)
_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_TIME = re.compile(
    r"(?:(?P<d>\d+)\s*d)?\s*(?:(?P<h>\d+)\s*h)?\s*(?:(?P<m>\d+)\s*m(?:in)?)?\s*(?:(?P<s>\d+)\s*s?)?"
)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_size(text: str) -> int:
    """`512M`, `2G`, `1.5G` in bytes; suffixes are powers of 1024, as in systemd's `MemoryMax=`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size such as 512M or 2G")
    return int(float(match["number"]) * _FACTORS[match["suffix"].upper()])


def parse_duration(text: str) -> int:
    """`90`, `45s`, `30m`, `1h30m`, `2d` in seconds; a number alone is seconds, as in `RuntimeMaxSec=`."""
    match = _TIME.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise typer.BadParameter(f"{text!r} is not a duration such as 90s, 30m or 1h30m")
    return sum(int(count) * _SECONDS[unit] for unit, count in match.groupdict().items() if count)


def format_size(size: int) -> str:
    """`512 B`, `1.4 MiB`: at most four digits."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`: the two largest units."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    rest, parts = int(seconds), list[str]()
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def format_age(moment: datetime) -> str:
    """`just now`, `42 s ago`, `3 min ago`, `5 h ago`, `2 d ago`."""
    seconds = (now() - moment).total_seconds()
    if seconds < 10:
        return "just now"
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{int(seconds)} s ago"


def format_moment(moment: datetime, *, person: bool) -> str:
    """How long ago it was for a person, the exact time for a program."""
    return format_age(moment) if person else format_time(moment)
