"""The largest lists of artifacts that jobs can leave, and the calls that read them.

A list is made once, when its job ends. A call sends it from the disk, in pieces of 64 KiB.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from agent.jobs.artifacts import MAX_ENTRIES
from agent.model.artifact import escape_name

from .inputs import Case

NAME = 240  # bytes of each name, of 255 that a file system allows
# What the names are filled with: some of it takes more room in JSON, in a path of the list or in a URL.
FILLINGS = {
    "letters": b"x",
    "characters of 4 bytes": "😀".encode(),
    "backslashes": b"\\",
    "bytes that are no text": b"\xff",
}


def _name(number: int, filling: bytes) -> bytes:
    begin = b"%05d" % number
    return begin + filling * ((NAME - len(begin)) // len(filling))


def leave(directory: Path, filling: bytes) -> None:
    """Makes as many empty files as are published of a job."""
    for number in range(MAX_ENTRIES):
        (directory / os.fsdecode(_name(number, filling))).touch()


def lists(jobs: Mapping[str, str]) -> Iterator[Case]:
    """The calls that list the artifacts of each job; its id by what its names are filled with."""
    for filling, job_id in jobs.items():
        title = f"{MAX_ENTRIES:,} names of {filling}"
        yield Case("list", title, "GET", f"/jobs/{job_id}/artifacts", in_pieces=True)


def cases(jobs: Mapping[str, str]) -> Iterator[Case]:
    """The lists, and single artifacts of each: the first, the middle, the last, and one that is not there."""
    yield from lists(jobs)
    for case, filling in zip(lists(jobs), FILLINGS.values(), strict=True):
        for number in (0, MAX_ENTRIES // 2, MAX_ENTRIES - 1, MAX_ENTRIES):
            path = f"{case.path}/{quote(escape_name(_name(number, filling)))}"
            for method in ("GET", "HEAD"):
                yield Case("list", f"number {number} of {case.name}", method, path)
