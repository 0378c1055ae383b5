"""What a job sees of a commit's scripts: links become copies of what they lead to, or are left out. Pure.

A snapshot has regular files only. A link works where it leads to a file or a directory of the same tree, also
through other links. All else that git can record is left out, with the reason.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from posixpath import join

from ..errors import AgentError, FieldError, invalid_request
from .git import Entry

MAX_FILES = 20_000
MAX_FILE_BYTES = 32 * 2**20  # one is in memory at a time
MAX_TREE_BYTES = 256 * 2**20
MAX_STEPS = 4 * MAX_FILES  # names that are visited, those behind links as often as they appear
MAX_LINK_BYTES = 4096  # PATH_MAX
MAX_HOPS = 40  # links on the way to one file, as for the kernel
MAX_NAME_BYTES = 255  # NAME_MAX
MAX_PATH_BYTES = 3072  # below the state directory, which has a path of its own
MAX_SHOWN = 200  # characters of a name in a sentence

MODE_LINK = "120000"
MODE_SUBMODULE = "160000"
REGULAR = "100"  # how the mode of a regular file begins


@dataclass
class Layout:
    """The files of a snapshot by path, and why what else the commit has is left out of it, by path."""

    files: dict[str, Entry] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class _Astray(Exception):
    """A link that cannot be followed; the message says why."""


class _Tree:
    """The entries of a commit by path, and the names in each directory; `""` is the scripts' directory."""

    def __init__(self, entries: Iterable[Entry], targets: Mapping[str, str]) -> None:
        self.entries: dict[str, Entry] = {}
        self.directories: dict[str, list[str]] = {"": []}
        self._targets = targets
        for entry in entries:
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        if entry.path in self.entries or entry.path in self.directories:
            raise unusable(f"names {shown(entry.path)} twice")
        self.entries[entry.path] = entry
        above, _, name = entry.path.rpartition("/")
        while above not in self.directories:
            if above in self.entries:
                raise unusable(f"names {shown(above)} twice")
            self.directories[above] = [name]
            above, _, name = above.rpartition("/")
        self.directories[above].append(name)

    def follow(self, path: str) -> str:
        """The path of the file, directory or submodule that a path leads to. Raises `_Astray`."""
        place: list[str] = []
        ahead = path.split("/")[::-1]
        hops = 0
        while ahead:
            name = ahead.pop()
            if name in ("", "."):
                continue
            here = "/".join([*place, name])
            entry = self.entries.get(here)
            if name == "..":
                if not place:
                    raise _Astray("it leads out of the scripts' directory")
                place.pop()
            elif entry is not None and entry.mode == MODE_LINK:
                hops += 1
                ahead += self._target(entry, hops).split("/")[::-1]
            elif entry is not None and ahead:
                raise _Astray(
                    "it leads into a submodule" if entry.mode == MODE_SUBMODULE else "nothing is there"
                )
            elif entry is not None or here in self.directories:
                place.append(name)
            else:
                raise _Astray("nothing is there")
        return "/".join(place)

    def _target(self, link: Entry, hops: int) -> str:
        if hops > MAX_HOPS:
            raise _Astray("it leads in a circle")
        target = self._targets.get(link.path)
        if target is None:
            raise _Astray(f"its path is longer than {MAX_LINK_BYTES} bytes")
        if target.startswith("/"):
            raise _Astray("it leads out of the scripts' directory")
        return target


def lay_out(entries: list[Entry], read_links: Callable[[list[Entry]], Iterable[str]]) -> Layout:
    """The layout of a commit. `read_links` returns where links lead, in their order.

    Raises `AgentError` (invalid-request) where the commit exceeds a bound.
    """
    _check_names(entry.path for entry in entries)
    if (count := sum(entry.mode.startswith(REGULAR) for entry in entries)) > MAX_FILES:
        raise _too_many(count)
    links = [entry for entry in entries if entry.mode == MODE_LINK and entry.size <= MAX_LINK_BYTES]
    targets = {link.path: target for link, target in zip(links, read_links(links), strict=True)}
    layout = _walk(_Tree(entries, targets), targets)
    _check_sizes({path: entry.size for path, entry in layout.files.items()})
    return layout


def _walk(tree: _Tree, targets: Mapping[str, str]) -> Layout:
    """Visits every directory, and visits it again under the name of each link to it."""
    layout = Layout()
    steps = 0
    # A directory, the path that it gets in the snapshot, and the directories that it is in there.
    ahead: list[tuple[str, str, frozenset[str]]] = [("", "", frozenset({""}))]
    while ahead:
        directory, becomes, above = ahead.pop()
        for name in tree.directories[directory]:
            steps += 1
            if steps > MAX_STEPS:
                raise unusable(f"has links to directories that make more than {MAX_STEPS} files of it")
            place, path = join(directory, name), join(becomes, name)
            try:
                found = tree.follow(place)
                if found in above:
                    raise _Astray("it leads to a directory that it is in")
            except _Astray as astray:
                target = f" to {shown(targets[place])}" if place in targets else ""
                layout.left_out[path] = f"is a link{target}: {astray}"
                continue
            if found in tree.directories:
                ahead.append((found, path, above | {found}))
            else:
                _place(layout, replace(tree.entries[found], path=path))
    return layout


def _place(layout: Layout, entry: Entry) -> None:
    if entry.mode.startswith(REGULAR):
        layout.files[entry.path] = entry
    elif entry.mode == MODE_SUBMODULE:
        layout.left_out[entry.path] = "is a submodule: its files are in another repository"
    else:
        layout.left_out[entry.path] = f"has the mode {entry.mode}, which no file has"


def _check_names(paths: Iterable[str]) -> None:
    """Git writes no such names, but an object that is made by hand can hold any."""
    for path in paths:
        names = path.split("/")
        if not {"", ".", ".."}.isdisjoint(names):
            raise unusable(f"names a file outside its directory: {shown(path)}")
        if len(os.fsencode(path)) > MAX_PATH_BYTES or any(
            len(os.fsencode(name)) > MAX_NAME_BYTES for name in names
        ):
            raise unusable(f"has a path that is too long: {shown(path)}")


def _check_sizes(sizes: Mapping[str, int]) -> None:
    total = sum(sizes.values())
    largest = max(sizes, key=lambda path: sizes[path], default="")
    if len(sizes) > MAX_FILES:
        raise _too_many(len(sizes))
    if total > MAX_TREE_BYTES:
        raise unusable(
            f"has {total} bytes below the scripts' directory; at most {MAX_TREE_BYTES} are allowed"
        )
    if sizes and sizes[largest] > MAX_FILE_BYTES:
        raise unusable(
            f"has {shown(largest)} with {sizes[largest]} bytes; at most {MAX_FILE_BYTES} are allowed"
        )
    _check_names(sizes)


def _too_many(count: int) -> AgentError:
    return unusable(f"has {count} files below the scripts' directory; at most {MAX_FILES} are allowed")


def unusable(problem: str) -> AgentError:
    """The error for a commit whose scripts cannot be used."""
    return invalid_request(
        "The scripts of this commit cannot be used.",
        "Keep data out of the scripts' directory, and use another commit.",
        (FieldError("ref", problem),),
    )


def shown(path: str) -> str:
    """A name for a sentence: short, and without characters that would not be seen."""
    text = path if path.isprintable() else ascii(path)[1:-1]
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
