"""What a directory tree takes on the disk, and its removal: trees that a job has made, however odd.

A job's program may have left directories that nobody may read, nested deeper than a path is long, with a
million names, links to anywhere, FIFOs and sockets. Nothing is opened but directories, none is reached by a
link, and however deep a tree is, a few descriptors are enough. Nobody writes into these trees any more.
"""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from .tasks import StoppedError

BLOCK = 512  # bytes; the unit of st_blocks, whatever the file system's own is
LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
OWNERS = stat.S_IRWXU


def measure(root: Path, stop: threading.Event) -> int:
    """Bytes on the disk, by blocks; a file with several names counts once, a tree that is not there is 0.

    What belongs to another user and is closed is not counted. Raises `StoppedError` soon after `stop` is set.
    """
    try:
        here = os.open(root, LOOK)
    except FileNotFoundError:
        return 0
    except NotADirectoryError:
        return os.lstat(root).st_blocks * BLOCK
    seen: set[int] = set()
    total = os.fstat(here).st_blocks * BLOCK
    # One descriptor goes down and, by `..`, up again. A level is the directories still to be entered, and the
    # mode of the one that they are in, which may have to be opened for as long as the walk is below it.
    levels: list[tuple[list[str], int]] = []
    try:
        mode = _open_up(here)
        while True:
            added, names = _survey(here, seen, stop)
            total += added
            levels.append((names, mode))
            while (inner := _enter(here, levels[-1][0])) is None:
                _, mode = levels.pop()
                if not levels:
                    _restore(here, mode)
                    return total
                outer = os.open("..", LOOK, dir_fd=here)
                _restore(here, mode)
                os.close(here)
                here = outer
            os.close(here)
            here, mode = inner
    except PermissionError:
        return total  # the tree itself is another user's
    finally:
        os.close(here)


def _survey(directory: int, seen: set[int], stop: threading.Event) -> tuple[int, list[str]]:
    """The bytes of what is in a directory, and the names of the directories in it."""
    total, names = 0, []
    with opened(".", directory) as descriptor, os.scandir(descriptor) as entries:
        for entry in entries:
            if stop.is_set():
                raise StoppedError
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(status.st_mode):
                names.append(entry.name)
            elif status.st_nlink > 1:
                if status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
            total += status.st_blocks * BLOCK
    return total, names


def _enter(directory: int, names: list[str]) -> tuple[int, int] | None:
    """The next of these directories that can be entered, and the mode it had; None when none is left."""
    while names:
        with suppress(OSError):  # gone meanwhile, or another user's
            inner = os.open(names.pop(), LOOK, dir_fd=directory)
            try:
                return inner, _open_up(inner)
            except OSError:
                os.close(inner)
    return None


def remove(root: Path, limit: int) -> bool:
    """Deletes a tree, about `limit` names of it; True where nothing of it is left.

    What is deeper is first moved up into `root`, so that a call that was cut short, by a crash too, has left
    a tree that the next one goes on with. Raises `OSError` where something does not let itself be deleted.
    """
    try:
        with entered(root) as top:
            for name in _names(top, limit):
                if limit <= 0:
                    return False
                limit -= _remove_entry(top, name, limit)
            if _names(top, 1):
                return False
        root.rmdir()
    except FileNotFoundError:
        pass  # never made, or somebody else was faster
    except NotADirectoryError:
        root.unlink(missing_ok=True)
    return True


def _remove_entry(top: int, name: str, limit: int) -> int:
    """Deletes one name of the top directory, or empties it as far as the limit goes; how many it deleted."""
    done = 0
    try:
        with entered(name, top) as directory:
            for inner in _names(directory, limit):
                _move_up(directory, inner, top)
                done += 1
        if done < limit:
            os.rmdir(name, dir_fd=top)
    except NotADirectoryError:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=top)
    except FileNotFoundError:
        pass
    return done + 1


def _move_up(directory: int, name: str, top: int) -> None:
    """Deletes what is no directory; a directory becomes one of `top`, under a name that is free there."""
    with suppress(FileNotFoundError):
        try:
            with _looked_at(name, directory) as looked:
                _open_up(looked)  # a directory that changes its parent is written to: its `..` is another one
                new_name = f".removed-{os.fstat(looked).st_ino}"
                os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=top)
        except NotADirectoryError:
            os.unlink(name, dir_fd=directory)


def _names(directory: int, limit: int) -> list[str]:
    """So many names of an open directory, in the order in which they are found."""
    with os.scandir(directory) as entries:
        return [entry.name for entry in islice(entries, limit)]


def _open_up(looked: int) -> int:
    """Lets the owner into a directory, whose mode this returns. Raises `PermissionError` for another's."""
    mode = stat.S_IMODE(os.fstat(looked).st_mode)
    if mode & OWNERS != OWNERS:
        os.chmod(f"/proc/self/fd/{looked}", mode | OWNERS)
    return mode


def _restore(looked: int, mode: int) -> None:
    if mode & OWNERS != OWNERS:
        os.chmod(f"/proc/self/fd/{looked}", mode)


@contextmanager
def _looked_at(path: Path | str, parent: int | None = None) -> Iterator[int]:
    """A directory, by a descriptor that needs no permission on it. A link is `NotADirectoryError`, too."""
    descriptor = os.open(path, LOOK, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened(path: Path | str, parent: int | None = None) -> Iterator[int]:
    """A directory, open for reading. A link is `NotADirectoryError`."""
    descriptor = os.open(path, OPEN, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def entered(path: Path | str, parent: int | None = None) -> Iterator[int]:
    """The same, although its owner may have taken away their own permissions on it: they have them inside."""
    with _looked_at(path, parent) as looked:
        mode = _open_up(looked)
        try:
            with opened(".", looked) as descriptor:
                yield descriptor
        finally:
            _restore(looked, mode)
