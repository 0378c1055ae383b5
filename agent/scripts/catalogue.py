"""The scripts of a commit, and why what looks like one is none. Pure."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..model.script import LeftOut, Script, ScriptList
from .declaration import DeclarationError, describe
from .layout import Layout, shown

MAX_LEFT_OUT = 100  # that an answer names

# No part begins with `.` or `_`: those are a script's helpers, not scripts.
SCRIPT_NAME = re.compile(r"(?=.{1,255}$)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*\.py")
LOOKS_LIKE_A_SCRIPT = re.compile(r"[^._/][^/]*(/[^._/][^/]*)*\.py", re.DOTALL)
NAME_RULE = (
    "cannot be run: names of scripts have only A-Z a-z 0-9 . _ - and begin with a letter or a digit;"
    " with its directories, a name has at most 255 characters"
)

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: the first line, and the most bytes of a pointer.
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
MAX_LFS_POINTER = 1024


@dataclass
class Catalogue:
    """The scripts of a commit by name, why some cannot be run, and why other paths are left out."""

    scripts: dict[str, Script] = field(default_factory=dict)
    malformed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def all_left_out(self) -> dict[str, str]:
        """Everything that is no script, or not in /scripts, although its author may expect it; by path."""
        malformed = {
            name: f"cannot be run: its ml-job block is malformed: {why}"
            for name, why in self.malformed.items()
        }
        return dict(sorted((self.left_out | malformed).items()))

    def listing(self, commit: str) -> ScriptList:
        """What a client is told."""
        left_out = self.all_left_out()
        return ScriptList(
            commit=commit,
            scripts=list(self.scripts.values()),
            left_out=[
                LeftOut(path=shown(path), reason=why) for path, why in list(left_out.items())[:MAX_LEFT_OUT]
            ],
            left_out_count=len(left_out),
        )


def catalogue(layout: Layout, read: Callable[[Iterable[str]], Iterable[bytes]]) -> Catalogue:
    """The catalogue of a layout. `read` returns the bytes of objects, in the order of their ids."""
    found = Catalogue(left_out=dict(layout.left_out))
    for path in layout.files:
        if LOOKS_LIKE_A_SCRIPT.fullmatch(path) and not SCRIPT_NAME.fullmatch(path):
            found.left_out[path] = NAME_RULE
    wanted = [path for path in sorted(layout.files) if _must_be_read(layout, path)]
    for path, data in zip(wanted, read(layout.files[path].oid for path in wanted), strict=True):
        if len(data) <= MAX_LFS_POINTER and data.startswith(LFS_POINTER):
            found.left_out[path] = "is a pointer of Git LFS: its content is not in the repository"
        elif SCRIPT_NAME.fullmatch(path):
            _describe(found, path, data)
    return found


def _must_be_read(layout: Layout, path: str) -> bool:
    small = len(LFS_POINTER) < layout.files[path].size <= MAX_LFS_POINTER
    return small or SCRIPT_NAME.fullmatch(path) is not None


def _describe(found: Catalogue, name: str, data: bytes) -> None:
    try:
        found.scripts[name] = describe(name, data)
    except DeclarationError as error:
        found.malformed[name] = str(error)
