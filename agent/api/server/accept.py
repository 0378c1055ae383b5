"""Which form of an answer a client prefers: the Accept header (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence

from aiohttp import web

MAX_ACCEPT = 8190  # characters that are parsed: the longest single header
WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
# It matches from every quotation mark on, so that no header makes it look at a character twice.
QUOTED = re.compile(r'"(?:[^"\\]|\\.?)*"?', re.DOTALL)
MAX_RANGES = 50  # media ranges of an Accept header, and parameters of each, that are looked at


def preferred(request: web.Request, media_types: Sequence[str]) -> str | None:
    """The media type that the client prefers, or None where it accepts none of these.

    If the header leaves the choice, the first; of several that it names with equal weight, the last.
    """
    ranges = _media_ranges(", ".join(request.headers.getall("Accept", ()))[:MAX_ACCEPT] or "*/*")

    def preference(media_type: str) -> tuple[float, int]:
        if media_type in ranges:
            return ranges[media_type], 1 + media_types.index(media_type)
        kind = media_type.partition("/")[0]
        return ranges.get(f"{kind}/*", ranges.get("*/*", 0)), 0

    found = max(media_types, key=preference)
    return found if preference(found)[0] > 0 else None


def _media_ranges(accept: str) -> dict[str, float]:
    """Each media range of the header with its weight. Other parameters are ignored."""
    found: dict[str, float] = {}
    for element in QUOTED.sub("", accept).lower().split(",", MAX_RANGES)[:MAX_RANGES]:
        media_range, *parameters = (part.strip() for part in element.split(";", MAX_RANGES)[:MAX_RANGES])
        weights = [each.removeprefix("q=") for each in parameters if each.startswith("q=")] or ["1"]
        if all(WEIGHT.fullmatch(weight) for weight in weights):
            found[media_range] = max(found.get(media_range, 0), *(float(weight) for weight in weights))
    return found
