"""Draws the app's icon: a rising curve on a blue tile.

icon.py FILE.icns
"""

import struct
import sys
import zlib
from itertools import pairwise
from pathlib import Path

#: Kinds of an .icns file and the pixels of each: once and twice the size in points.
KINDS = {
    "icp4": 16,
    "ic11": 32,
    "icp5": 32,
    "ic12": 64,
    "ic07": 128,
    "ic13": 256,
    "ic08": 256,
    "ic14": 512,
    "ic09": 512,
}
TOP, BOTTOM, CURVE = (64, 132, 255), (28, 64, 178), (255, 255, 255)
#: In parts of the icon's width, from the top left.
POINTS = [(0.24, 0.70), (0.38, 0.60), (0.50, 0.64), (0.63, 0.42), (0.76, 0.30)]
TILE, RADIUS, LINE, DOT = (0.1, 0.9), 0.18, 0.028, 0.055

Pixel = tuple[int, int, int, int]


def main() -> None:
    pictures = {size: png(size) for size in sorted(set(KINDS.values()))}
    body = b"".join(chunk(kind.encode(), pictures[size]) for kind, size in KINDS.items())
    Path(sys.argv[1]).write_bytes(chunk(b"icns", body))


def chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack(">I", len(content) + 8) + content


def png(size: int) -> bytes:
    rows = b"".join(b"\0" + b"".join(bytes(pixel(x, y, size)) for x in range(size)) for y in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 6, 0, 0, 0)
    parts = [part(b"IHDR", header), part(b"IDAT", zlib.compress(rows, 9)), part(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def part(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def pixel(column: int, row: int, size: int) -> Pixel:
    x, y = (column + 0.5) / size, (row + 0.5) / size
    tile = cover(tile_distance(x, y), size)
    if tile <= 0:
        return (0, 0, 0, 0)
    curve = max(cover(line_distance(x, y) - LINE, size), cover(distance((x, y), POINTS[-1]) - DOT, size))
    ground = [a + (b - a) * y for a, b in zip(TOP, BOTTOM, strict=True)]
    red, green, blue = (round(g + (c - g) * curve) for g, c in zip(ground, CURVE, strict=True))
    return red, green, blue, round(255 * tile)


def cover(away: float, size: int) -> float:
    """How much of a pixel lies within an edge that is so far away."""
    return min(max(0.5 - away * size, 0), 1)


def distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    return float(((one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2) ** 0.5)


def tile_distance(x: float, y: float) -> float:
    low, high = TILE
    over_x = max(low + RADIUS - x, x - high + RADIUS, 0)
    over_y = max(low + RADIUS - y, y - high + RADIUS, 0)
    return distance((over_x, over_y), (0, 0)) - RADIUS


def line_distance(x: float, y: float) -> float:
    return min(segment_distance(x, y, *ends) for ends in pairwise(POINTS))


def segment_distance(x: float, y: float, start: tuple[float, float], end: tuple[float, float]) -> float:
    along = (end[0] - start[0], end[1] - start[1])
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / (along[0] ** 2 + along[1] ** 2)
    share = min(max(share, 0), 1)
    return distance((x, y), (start[0] + share * along[0], start[1] + share * along[1]))


if __name__ == "__main__":
    main()
