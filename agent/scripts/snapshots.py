"""Snapshots: the scripts of a commit as an immutable tree of files, and the catalogue of what can be run."""

import asyncio
import difflib
import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..errors import AgentError, FieldError, Problem, host_failed, invalid_request
from ..host.files import alone, sync
from ..host.tasks import in_turn
from ..host.trees import BLOCK
from ..model.ref import is_object_id
from ..model.script import LeftOut, Script, ScriptList
from .declaration import DeclarationError, describe
from .git import Entry, Repository, no_commit
from .layout import Layout, lay_out, shown

PAGE = 4096  # bytes, which the smallest file takes of most file systems
MAX_CATALOGUES = 32  # commits whose catalogue is kept in memory
EXECUTABLE = 0o100  # of a mode: its owner may execute the file

PARTIAL = ".partial-"  # how a directory is named that is being made, or deleted

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
    """The scripts of a commit by name, why some cannot be run, and why other paths are left out.

    `tree_bytes` is what its snapshot takes on the disk.
    """

    scripts: dict[str, Script] = field(default_factory=dict)
    malformed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    tree_bytes: int = 0

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
    size = sum(max(1, -(-entry.size // PAGE)) * PAGE for entry in layout.files.values())
    found = Catalogue(left_out=dict(layout.left_out), tree_bytes=size)
    for path in layout.files:
        if LOOKS_LIKE_A_SCRIPT.fullmatch(path) and not SCRIPT_NAME.fullmatch(path):
            found.left_out[path] = NAME_RULE
    wanted = [
        path
        for path, entry in sorted(layout.files.items())
        if SCRIPT_NAME.fullmatch(path) or len(LFS_POINTER) < entry.size <= MAX_LFS_POINTER
    ]
    for path, data in zip(wanted, read(layout.files[path].oid for path in wanted), strict=True):
        if len(data) <= MAX_LFS_POINTER and data.startswith(LFS_POINTER):
            found.left_out[path] = "is a pointer of Git LFS: its content is not in the repository"
        elif SCRIPT_NAME.fullmatch(path):
            _describe(found, path, data)
    return found


def _describe(found: Catalogue, name: str, data: bytes) -> None:
    try:
        found.scripts[name] = describe(name, data)
    except DeclarationError as error:
        found.malformed[name] = str(error)


class Snapshots:
    """Snapshots of `directory` in the git repository at `repository`, kept below `root` by commit id.

    Commits are full ids as `resolve` returns them. Methods raise `AgentError`: host if the repository cannot
    be read, storage-full if a tree cannot be written.
    """

    def __init__(self, repository: Path, directory: str, root: Path) -> None:
        self._repository = Repository(repository)
        self._directory = directory
        self._root = root
        self._catalogues: dict[str, Catalogue] = {}
        self._sizes: dict[str, int] = {}  # of trees, in bytes on the disk
        self._reading = asyncio.Lock()
        self._extracting = asyncio.Lock()

    async def resolve(self, ref: str | None = None) -> str:
        """The full id of the commit that `ref` refers to; by default, the repository's HEAD.

        Raises `AgentError` (ref-not-found).
        """
        return await asyncio.to_thread(self._resolve, ref)

    def _resolve(self, ref: str | None) -> str:
        commit = self._repository.commit("HEAD" if ref is None else ref)
        if commit is not None:
            return commit
        if ref is None:
            raise host_failed(
                f"The scripts' repository {self._repository.path} {self._repository.why_no_head()}.",
                "Commit a script to it, or check out a branch that has one.",
            )
        raise no_commit(self._repository.why_no_commit(ref))

    async def tree(self, commit: str) -> Path:
        """The read-only directory with the files of a commit; the first call writes it.

        It appears complete and synced, or not at all. Directories have mode 0555, files 0444 or 0555.
        """
        path = self._root / _checked(commit)
        if path.is_dir():
            with suppress(OSError):
                os.utime(path)  # for `keep_within`
        else:
            await in_turn(self._extracting, partial(self._extract, commit))
        return path

    def has_tree(self, commit: str) -> bool:
        """Whether the commit's tree is written."""
        return (self._root / _checked(commit)).is_dir()

    async def tree_bytes(self, commit: str) -> int:
        """What the commit's tree takes on the disk, or will take."""
        return (await self._catalogue(commit)).tree_bytes

    async def taken(self, commits: Iterable[str]) -> int:
        """What the trees of these commits take on the disk now."""
        return await asyncio.to_thread(lambda: sum(map(self._measured, commits)))

    async def keep_within(self, max_bytes: int, needed: Collection[str]) -> None:
        """Deletes trees until all have `max_bytes` at most, those first that were used longest ago.

        Those of the commits in `needed` stay. `tree` writes a deleted one again.
        """
        await in_turn(self._extracting, partial(self._keep_within, max_bytes, needed))

    def _keep_within(self, max_bytes: int, needed: Collection[str]) -> None:
        with _changing(self._root):
            sizes = {commit: self._measured(commit) for commit in self.commits()}
            surplus = sum(sizes.values()) - max_bytes
            unneeded = [commit for commit in sizes if commit not in needed] if surplus > 0 else []
            for commit in sorted(unneeded, key=self._used):
                if surplus > 0:
                    surplus -= sizes[commit]
                    self.retire(commit)
            _sweep(self._root)

    def _used(self, commit: str) -> int:
        """When the commit's tree was used last; 0 if it is gone."""
        with suppress(FileNotFoundError):
            return (self._root / commit).stat().st_mtime_ns
        return 0

    def _measured(self, commit: str) -> int:
        """What the commit's tree takes on the disk; a tree never changes."""
        tree = self._root / _checked(commit)
        if commit not in self._sizes and tree.is_dir():
            files = (Path(place, name) for place, _, names in os.walk(tree) for name in names)
            self._sizes[commit] = sum(file.lstat().st_blocks * BLOCK for file in files)
        return self._sizes.get(commit, 0)

    def commits(self) -> list[str]:
        """The commits that have a tree."""
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if is_object_id(path.name))

    def retire(self, commit: str) -> None:
        """Takes a commit's tree out of use, at once. `sweep` deletes it; `tree` would write it again."""
        # An interrupted deletion must not leave half a tree under the commit's name.
        name = f"{PARTIAL}{_checked(commit)}-{secrets.token_hex(4)}"
        self._sizes.pop(commit, None)
        with suppress(FileNotFoundError):
            (self._root / commit).rename(self._root / name)

    async def sweep(self) -> None:
        """Deletes retired trees and the remains of a crash."""
        await in_turn(self._extracting, self._sweep)

    async def catalogue(self, commit: str) -> ScriptList:
        """All scripts that can be run at a commit, by name."""
        return (await self._catalogue(commit)).listing(commit)

    async def left_out(self, commit: str) -> dict[str, str]:
        """Why a file, link or submodule of a commit is no script, or not in the tree, by its path."""
        return (await self._catalogue(commit)).all_left_out()

    async def script(self, commit: str, script_name: str) -> Script:
        """A script by its name in the catalogue. The name is looked up, and never becomes a path.

        Raises `AgentError`: script-not-found, invalid-request if its ml-job block is malformed.
        """
        catalogue = await self._catalogue(commit)
        if script := catalogue.scripts.get(script_name):
            return script
        if why := catalogue.malformed.get(script_name):
            raise invalid_request(
                f"{script_name} cannot be run: its ml-job block is malformed.",
                "Correct the block in the repository, or use another commit.",
                (FieldError("script_name", why),),
            )
        raise _no_script(catalogue, script_name)

    async def _catalogue(self, commit: str) -> Catalogue:
        if (known := self._catalogues.get(commit)) is None:
            known = await in_turn(self._reading, partial(self._remember_catalogue, commit))
        return known

    def _remember_catalogue(self, commit: str) -> Catalogue:
        if (known := self._catalogues.get(commit)) is None:
            known = catalogue(self._lay_out(commit), self._repository.blobs)
            if len(self._catalogues) >= MAX_CATALOGUES:
                del self._catalogues[next(iter(self._catalogues))]
            self._catalogues[commit] = known
        return known

    def _lay_out(self, commit: str) -> Layout:
        entries = self._repository.entries(_checked(commit), self._directory)
        if entries is None:
            raise self._no_directory(commit)
        return lay_out(
            entries, lambda links: map(os.fsdecode, self._repository.blobs(link.oid for link in links))
        )

    def _no_directory(self, commit: str) -> AgentError:
        if self._repository.commit(commit) is None:
            return no_commit(self._repository.why_no_commit(commit))
        kind = self._repository.kind(commit, self._directory)
        what = f"has a {kind} where a directory {self._directory} is expected"
        why = what if kind else f"has no directory {self._directory}"
        return AgentError(
            Problem.REF_NOT_FOUND,
            f"Commit {commit[:12]} of the scripts' repository {why}.",
            "Run a commit that has the directory, or have the operator set scripts.directory.",
            (FieldError("ref", why),),
        )

    def _extract(self, commit: str) -> None:
        with _changing(self._root):
            if (self._root / commit).is_dir():
                return
            _sweep(self._root)
            layout = self._lay_out(commit)
            partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self._root))
            try:
                self._write(partial, list(layout.files.values()))
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
                    os.fchmod(file.fileno(), 0o555 if int(entry.mode, 8) & EXECUTABLE else 0o444)
                    os.fsync(file.fileno())
        for directory, _, _ in os.walk(tree, topdown=False):
            os.chmod(directory, 0o555)  # noqa: S103 (nobody writes into a snapshot)
            sync(Path(directory))

    def _sweep(self) -> None:
        with _changing(self._root):
            _sweep(self._root)


def _checked(commit: str) -> str:
    if not is_object_id(commit):
        raise no_commit("must be a full commit id here")
    return commit


def _no_script(catalogue: Catalogue, name: str) -> AgentError:
    folded = {known.casefold(): known for known in catalogue.scripts}
    near = difflib.get_close_matches(name.casefold(), folded, n=3)
    hint = f"Did you mean {' or '.join(folded[match] for match in near)}?" if near else ""
    why = catalogue.left_out.get(name)
    message = f"There is no script {name!a} at this commit."  # !a: a look-alike shows
    return AgentError(
        Problem.SCRIPT_NOT_FOUND,
        f"{shown(name)} {why}." if why else message,
        hint or "See which scripts there are: GET /scripts, or `ml-job scripts`.",
        (FieldError("script_name", "is no script of the repository"),),
    )


@contextmanager
def _changing(root: Path) -> Iterator[None]:
    """Lets one process and one thread at a time change what is below `root`; creates it if it is missing."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone(root):
            yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise AgentError(
            Problem.STORAGE_FULL if full else Problem.HOST,
            f"The snapshot of the scripts cannot be written: {error.strerror}.",
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
