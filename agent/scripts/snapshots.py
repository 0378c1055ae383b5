"""Snapshots of the scripts' repository: for each commit, a catalogue of scripts and a read-only tree.

A tree has only regular files. A symbolic link to a file in the scripts' directory becomes a copy of the file.
Other links and submodules are left out, so that nothing in a tree refers to anything outside it.
"""

import asyncio
import difflib
import errno
import os
import posixpath
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..errors import AgentError, FieldError, Problem
from ..host.files import alone, sync
from ..host.tasks import to_its_end
from ..model.script import Script, ScriptList
from .declaration import DeclarationError, describe
from .git import COMMIT_PATTERN, Entry, Repository

T = TypeVar("T")

# No part begins with `.` or `_`: such files are helpers of scripts.
SCRIPT_NAME = re.compile(r"(?=.{1,255}$)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*\.py")

MAX_FILES = 20_000
MAX_FILE_BYTES = 32 * 2**20  # one file at a time is in memory
MAX_TREE_BYTES = 256 * 2**20
MAX_LINK_BYTES = 4096  # PATH_MAX
MAX_CATALOGUES = 32  # kept in memory

MODE_LINK = "120000"
MODE_EXECUTABLE = "100755"
MODE_FILES = ("100644", "100664", MODE_EXECUTABLE)  # 100664: from before git 1.0

PARTIAL = ".partial-"  # the prefix of a directory that is being written or deleted


@dataclass(frozen=True)
class _Listing:
    """The files of a snapshot by path, and the links that it leaves out."""

    files: dict[str, Entry]
    links: frozenset[str]


@dataclass(frozen=True)
class _Catalogue:
    """The scripts of a commit by name, why some cannot be run, and the links that it leaves out."""

    scripts: dict[str, Script]
    malformed: dict[str, str]
    links: frozenset[str]


class Snapshots:
    """Snapshots of `directory` in the git repository at `repository`, kept below `root` by commit id.

    Commits are full ids as `resolve` returns them. Methods raise `AgentError`: host if the repository cannot
    be read, storage-full if a tree cannot be written. A commit that git has dropped works if it has a tree.
    """

    def __init__(self, repository: Path, directory: str, root: Path) -> None:
        self._repository = Repository(repository)
        self._directory = directory
        self._root = root
        self._catalogues: dict[str, _Catalogue] = {}
        self._reading = asyncio.Lock()
        self._extracting = asyncio.Lock()

    async def resolve(self, ref: str | None = None) -> str:
        """The full id of the commit that `ref` refers to; by default, the repository's HEAD.

        Raises `AgentError` (ref-not-found).
        """
        commit = await asyncio.to_thread(self._repository.commit, "HEAD" if ref is None else ref)
        if commit is None and ref is None:
            raise AgentError(Problem.HOST, "The scripts' repository has no commit.", "Commit a script to it.")
        if commit is None:
            raise _no_commit("is no branch, tag or commit of the scripts' repository")
        return commit

    async def tree(self, commit: str) -> Path:
        """The read-only directory with the files of a commit; the first call writes it.

        It appears complete and synced, or not at all. Directories have mode 0555, files 0444 or 0555.
        """
        path = self._root / _checked(commit)
        if not path.is_dir():
            await _in_turn(self._extracting, partial(self._extract, commit))
        return path

    def commits(self) -> list[str]:
        """The commits that have a tree."""
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if COMMIT_PATTERN.fullmatch(path.name))

    def retire(self, commit: str) -> None:
        """Takes a commit's tree out of use, at once. `sweep` deletes it; `tree` would write it again."""
        # An interrupted deletion must not leave half a tree under the commit's name.
        name = f"{PARTIAL}{_checked(commit)}-{secrets.token_hex(4)}"
        with suppress(FileNotFoundError):
            (self._root / commit).rename(self._root / name)

    async def sweep(self) -> None:
        """Deletes retired trees and the remains of a crash."""
        await _in_turn(self._extracting, self._sweep)

    async def scripts(self, ref: str | None) -> ScriptList:
        """All scripts that can be run at a branch, tag or commit, by name."""
        return await self.catalogue(await self.resolve(ref))

    async def catalogue(self, commit: str) -> ScriptList:
        """All scripts that can be run at a commit, by name."""
        catalogue = await self._catalogue(commit)
        return ScriptList(commit=commit, scripts=list(catalogue.scripts.values()))

    async def malformed(self, commit: str) -> dict[str, str]:
        """The malformed scripts of a commit: by name, why each is not in the catalogue."""
        return (await self._catalogue(commit)).malformed

    async def script(self, commit: str, script_name: str) -> Script:
        """A script by its name in the catalogue. The name is looked up, and never becomes a path.

        Raises `AgentError`: script-not-found, invalid-request if its ml-job block is malformed.
        """
        catalogue = await self._catalogue(commit)
        if script := catalogue.scripts.get(script_name):
            return script
        if why := catalogue.malformed.get(script_name):
            raise AgentError(
                Problem.INVALID_REQUEST,
                f"{script_name} cannot be run: its ml-job block is malformed.",
                "Correct the block in the repository, or use another commit.",
                (FieldError("script_name", why),),
            )
        raise _no_script(catalogue, script_name)

    async def _catalogue(self, commit: str) -> _Catalogue:
        if (known := self._catalogues.get(commit)) is None:
            known = await _in_turn(self._reading, partial(self._remember_catalogue, commit))
        return known

    def _remember_catalogue(self, commit: str) -> _Catalogue:
        if (known := self._catalogues.get(commit)) is None:
            known = self._read_catalogue(commit)
            if len(self._catalogues) >= MAX_CATALOGUES:
                del self._catalogues[next(iter(self._catalogues))]
            self._catalogues[commit] = known
        return known

    def _read_catalogue(self, commit: str) -> _Catalogue:
        tree = self._root / _checked(commit)
        if tree.is_dir() and self._repository.commit(commit) is None:
            # Git has dropped the commit, but a script that has run must be able to run again.
            with _storage("read"):
                sizes = _sizes(tree)
                _check_bounds(sizes)
                names = _scripts(sizes)
                return _described(names, ((tree / name).read_bytes() for name in names), frozenset())
        listing = self._list(commit)
        names = _scripts(listing.files)
        blobs = self._repository.blobs(listing.files[name].oid for name in names)
        return _described(names, blobs, listing.links)

    def _list(self, commit: str) -> _Listing:
        entries = self._repository.entries(commit, self._directory)
        if entries is None:
            raise _no_commit(f"has no directory {self._directory}")
        files = {entry.path: entry for entry in entries if entry.mode in MODE_FILES}
        links = [entry for entry in entries if entry.mode == MODE_LINK and entry.size <= MAX_LINK_BYTES]
        targets = self._repository.blobs(link.oid for link in links)
        copies: dict[str, Entry] = {}
        for link, target in zip(links, targets, strict=True):
            # The lookup is among regular files: a link to a link, or out of the directory, finds nothing.
            place = posixpath.join(posixpath.dirname(link.path), os.fsdecode(target))
            if source := files.get(posixpath.normpath(place)):
                copies[link.path] = replace(source, path=link.path)
        left_out = {entry.path for entry in entries if entry.mode == MODE_LINK} - copies.keys()
        files |= copies
        _check_bounds({path: entry.size for path, entry in files.items()})
        return _Listing(files, frozenset(left_out))

    def _extract(self, commit: str) -> None:
        with _storage(), _exclusive(self._root):
            if (self._root / commit).is_dir():
                return
            _sweep(self._root)
            listing = self._list(commit)
            partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self._root))
            try:
                self._write(partial, list(listing.files.values()))
                partial.rename(self._root / commit)
            except BaseException:
                _delete(partial)
                raise
            sync(self._root)

    def _write(self, tree: Path, entries: list[Entry]) -> None:
        with closing(self._repository.blobs(entry.oid for entry in entries)) as blobs:
            for entry, data in zip(entries, blobs, strict=True):
                path = tree / entry.path
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fchmod(file.fileno(), 0o555 if entry.mode == MODE_EXECUTABLE else 0o444)
                    os.fsync(file.fileno())
        for directory, _, _ in os.walk(tree, topdown=False):
            os.chmod(directory, 0o555)  # noqa: S103 (nobody writes into a snapshot)
            sync(Path(directory))

    def _sweep(self) -> None:
        with _storage(), _exclusive(self._root):
            _sweep(self._root)


async def _in_turn(lock: asyncio.Lock, work: Callable[[], T]) -> T:
    """Runs work on a thread, which holds the lock until it ends, even if the caller is cancelled first.

    Other callers wait for the lock without occupying a thread.
    """

    async def locked() -> T:
        try:
            return await asyncio.to_thread(work)
        finally:
            lock.release()

    await lock.acquire()
    return await to_its_end(locked())


def _scripts(files: Iterable[str]) -> list[str]:
    return sorted(filter(SCRIPT_NAME.fullmatch, files))


def _described(names: list[str], contents: Iterable[bytes], links: frozenset[str]) -> _Catalogue:
    scripts: dict[str, Script] = {}
    malformed: dict[str, str] = {}
    for name, data in zip(names, contents, strict=True):
        try:
            scripts[name] = describe(name, data)
        except DeclarationError as error:
            malformed[name] = str(error)
    return _Catalogue(scripts, malformed, links)


def _sizes(tree: Path) -> dict[str, int]:
    """The size in bytes of each regular file of a tree. Raises `OSError` if the tree is retired meanwhile."""

    def fail(error: OSError) -> None:
        raise error

    sizes: dict[str, int] = {}
    for directory, _, names in os.walk(tree, onerror=fail):
        for name in names:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                sizes[os.path.relpath(path, tree)] = status.st_size
    return sizes


def _checked(commit: str) -> str:
    if not COMMIT_PATTERN.fullmatch(commit):
        raise _no_commit("must be a full commit id here")
    return commit


def _no_commit(why: str) -> AgentError:
    return AgentError(
        Problem.REF_NOT_FOUND,
        "There are no scripts at this ref.",
        "Leave `ref` out to use the current commit.",
        (FieldError("ref", why),),
    )


def _no_script(catalogue: _Catalogue, name: str) -> AgentError:
    folded = {known.casefold(): known for known in catalogue.scripts}
    near = difflib.get_close_matches(name.casefold(), folded, n=3)
    hint = f"Did you mean {' or '.join(folded[match] for match in near)}?" if near else ""
    if name in catalogue.links:
        hint = "It is a symbolic link to something other than a file in the scripts' directory."
    return AgentError(
        Problem.SCRIPT_NOT_FOUND,
        f"There is no script {name!a} at this commit.",  # !a: a look-alike shows
        hint or "See which scripts there are: GET /scripts, or `ml-job scripts`.",
        (FieldError("script_name", "is no script of the repository"),),
    )


def _check_bounds(sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    largest = max(sizes, key=lambda path: sizes[path], default=None)
    problem = None
    if len(sizes) > MAX_FILES:
        problem = f"has {len(sizes)} files below the scripts' directory; at most {MAX_FILES} are allowed"
    elif total > MAX_TREE_BYTES:
        problem = f"has {total} bytes below the scripts' directory; at most {MAX_TREE_BYTES} are allowed"
    elif largest is not None and sizes[largest] > MAX_FILE_BYTES:
        problem = f"has {largest!a} with {sizes[largest]} bytes; at most {MAX_FILE_BYTES} are allowed"
    elif unsafe := next((path for path in sizes if not _is_beneath(path)), None):
        problem = f"names a file outside its directory: {unsafe!a}"
    if problem:
        raise AgentError(
            Problem.INVALID_REQUEST,
            "The scripts of this commit cannot be used.",
            "Keep data out of the scripts' directory, and use another commit.",
            (FieldError("ref", problem),),
        )


def _is_beneath(path: str) -> bool:
    """Git itself writes no other paths, but a tree object made by hand can have any."""
    return not {"", ".", ".."} & set(path.split("/"))


@contextmanager
def _exclusive(root: Path) -> Iterator[None]:
    """Lets one process and one thread at a time change what is below `root`; creates it if it is missing."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(root):
        yield


@contextmanager
def _storage(action: str = "written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise AgentError(
            Problem.STORAGE_FULL if full else Problem.HOST,
            f"The snapshot of the scripts cannot be {action}: {error.strerror}.",
            "Make room in the agent's state directory." if full else "Check the agent's state directory.",
        ) from error


def _sweep(root: Path) -> None:
    """Deletes the remains of a crash. The caller holds the lock, so no other process is using them."""
    for path in root.glob(f"{PARTIAL}*"):
        _delete(path)


def _delete(tree: Path) -> None:
    for directory, _, _ in os.walk(tree):
        os.chmod(directory, 0o700)
    shutil.rmtree(tree)
