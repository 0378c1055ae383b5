"""Sizes, durations and times as people write and read them; on the wire they are bytes, seconds and UTC."""

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import typer

from ..model.base import format_time, now

_NUMBER = r"(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})"  # longer ones are no amount of anything here
_SIZE = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<suffix>[KMGT]?)(?:i?B?)", re.IGNORECASE)
_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_UNITS = (
    ("w", r"w(?:eeks?)?", 604800),
    ("d", r"d(?:ays?)?", 86400),
    ("h", r"h(?:(?:ou)?rs?)?", 3600),
    ("m", r"m(?:in(?:ute)?s?)?", 60),
    ("s", r"s(?:ec(?:ond)?s?)?", 1),
)
_SECONDS = {name: seconds for name, _, seconds in _UNITS}
# In `1h30` the last number has no unit: it counts the next smaller one, minutes.
_SMALLER = {"w": "d", "d": "h", "h": "m", "m": "s"}
_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_DURATION = re.compile(
    "".join(rf"(?:(?P<{name}>{_NUMBER})\s*{unit}\s*)?" for name, unit, _ in _UNITS)
    + rf"(?P<rest>{_NUMBER})?",
    re.IGNORECASE,
)


def parse_size(text: str) -> int:
    """`512M`, `1.5G`, `1Gi`, `2 GiB` in bytes; suffixes are powers of 1024, as in systemd's `MemoryMax=`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or (not match["suffix"] and re.search(r"i", text, re.IGNORECASE)):
        raise typer.BadParameter(f"{text!r} is not a size such as 512M, 1.5G or 2GiB")
    return int(Decimal(match["number"]) * _FACTORS[match["suffix"].upper()])


def parse_duration(text: str) -> int:
    """`90`, `45s`, `1h30m`, `1h30`, `1.5h`, `2d` in whole seconds, rounded up.

    A number alone is seconds, as in `RuntimeMaxSec=`. Raises `typer.BadParameter`.
    """
    match = _DURATION.fullmatch(text.strip())
    counts = {unit: count for unit, count in match.groupdict().items() if count} if match else {}
    rest = counts.pop("rest", "")
    if rest and not counts:
        counts["s"] = rest
    elif rest:
        smaller = _SMALLER.get(list(counts)[-1])  # None in `30s5`
        counts = {**counts, smaller: rest} if smaller and rest.isdigit() else {}
    if not counts:
        raise typer.BadParameter(f"{text!r} is not a duration such as 90s, 30m, 1h30 or 1.5h")
    return math.ceil(sum(Decimal(count) * _SECONDS[unit] for unit, count in counts.items()))


def parse_time(text: str, *, ahead: bool = False) -> datetime:
    """`2d`, `1h30`: so long ago; or a time such as 2026-01-01T12:00:00Z, a date, which means its beginning.

    With `ahead`, a duration means in so long, and `22:00` the next time that it is so late. A time without an
    offset is UTC, as all times are shown. Raises `typer.BadParameter`.
    """
    if ahead and (match := _OF_DAY.fullmatch(text.strip())):
        moment = now().replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        return moment if moment > now() else moment + timedelta(days=1)
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    try:
        distance = timedelta(seconds=parse_duration(text))
        return now() + distance if ahead else now() - distance
    except (typer.BadParameter, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is neither a time such as 2026-01-31 or 2026-01-31T12:00:00Z,"
            f" nor {'in how long' if ahead else 'how long ago'}, such as 2d or 1h30"
        ) from error


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
