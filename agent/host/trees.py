"""Directory trees that jobs wrote: entering them, measuring what they take on the disk, removing them.

A job's program may have left unreadable directories, nested deeper than a path can say, with a million names,
links to anywhere, FIFOs and sockets. Only directories are opened, and none through a link. Measuring and
removing take a few descriptors however deep the tree is; no program may write into the tree any more.
"""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from .tasks import StoppedError

BLOCK = 512  # bytes; the unit of st_blocks on every file system
LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
OWNERS = stat.S_IRWXU


def measure(root: Path, stop: threading.Event) -> tuple[int, int]:
    """The tree's bytes on the disk, by blocks, and its files of any kind; zeros if it is missing.

    A file with several names counts once. Directories that another user has closed are not counted. Raises
    `StoppedError` soon after `stop` is set.
    """
    try:
        here = os.open(root, LOOK)
    except FileNotFoundError:
        return 0, 0
    except NotADirectoryError:
        return os.lstat(root).st_blocks * BLOCK, 1
    seen: set[int] = set()
    total, files = os.fstat(here).st_blocks * BLOCK, 1
    # One descriptor goes down and, by `..`, up again. A level has the directories still to be entered and the
    # mode of their parent, which is restored when the walk has left it.
    levels: list[tuple[list[str], int]] = []
    try:
        mode = _open_up(here)
        while True:
            with opened(".", here) as directory:
                names, added, count = _measure_entries(directory, seen, stop)
            total, files = total + added, files + count
            levels.append((names, mode))
            while (inner := _enter(here, levels[-1][0])) is None:
                _, mode = levels.pop()
                if not levels:
                    _restore(here, mode)
                    return total, files
                outer = os.open("..", LOOK, dir_fd=here)
                _restore(here, mode)
                os.close(here)
                here = outer
            os.close(here)
            here, mode = inner
    except PermissionError:
        return total, files  # the tree itself is another user's
    finally:
        os.close(here)


def _measure_entries(directory: int, seen: set[int], stop: threading.Event) -> tuple[list[str], int, int]:
    """The names of the directories in an open directory; the bytes and the number of all that is in it."""
    total, files, directories = 0, 0, []
    for name, status in statuses(directory):
        if stop.is_set():
            raise StoppedError
        if stat.S_ISDIR(status.st_mode):
            directories.append(name)
        elif status.st_nlink > 1:
            if status.st_ino in seen:
                continue
            seen.add(status.st_ino)
        total, files = total + status.st_blocks * BLOCK, files + 1
    return directories, total, files


def _enter(directory: int, names: list[str]) -> tuple[int, int] | None:
    """The next of these directories that can be entered, and the mode that it had; None if there is none."""
    while names:
        with suppress(OSError):  # deleted meanwhile, or another user's
            inner = os.open(names.pop(), LOOK, dir_fd=directory)
            try:
                return inner, _open_up(inner)
            except OSError:
                os.close(inner)
    return None


def remove(root: Path, limit: int) -> bool:
    """Deletes about `limit` names of a tree; True when nothing of it is left.

    Deeper directories are first moved up into `root`. So after an interrupted call, even by a crash, the next
    one can go on. Raises `OSError` if something cannot be deleted.
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
        pass  # never created, or deleted by another process
    except NotADirectoryError:
        root.unlink(missing_ok=True)
    return True


def _remove_entry(top: int, name: str, limit: int) -> int:
    """Deletes one name of the top directory, or empties it up to the limit. Returns how many were deleted."""
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
    """Moves a directory into `top`, under a name that is free there; deletes anything else."""
    with suppress(FileNotFoundError):
        try:
            with opened(name, directory, flags=LOOK) as looked:
                _open_up(looked)  # moving a directory writes to it, because its `..` changes
                new_name = f".removed-{os.fstat(looked).st_ino}"
                os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=top)
        except NotADirectoryError:
            os.unlink(name, dir_fd=directory)


def _names(directory: int, limit: int) -> list[str]:
    """The first `limit` names of an open directory, in no order."""
    with os.scandir(directory) as entries:
        return [entry.name for entry in islice(entries, limit)]


def _open_up(looked: int) -> int:
    """Gives the owner all permissions on a directory; returns its mode. `PermissionError` if another's."""
    mode = stat.S_IMODE(os.fstat(looked).st_mode)
    if mode & OWNERS != OWNERS:
        os.chmod(f"/proc/self/fd/{looked}", mode | OWNERS)
    return mode


def _restore(looked: int, mode: int) -> None:
    if mode & OWNERS != OWNERS:
        os.chmod(f"/proc/self/fd/{looked}", mode)


@contextmanager
def opened(path: Path | str, parent: int | None = None, *, flags: int = OPEN) -> Iterator[int]:
    """A directory, open for reading; with `LOOK`, no permission on it is needed.

    A link raises `NotADirectoryError`.
    """
    descriptor = os.open(path, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def entered(path: Path | str, parent: int | None = None) -> Iterator[int]:
    """The same, even if its owner has closed it: the body has all permissions, then the mode is restored.

    A job may close a directory and still fill it through a descriptor that is open.
    """
    with opened(path, parent, flags=LOOK) as looked:
        mode = _open_up(looked)
        try:
            with opened(".", looked) as descriptor:
                yield descriptor
        finally:
            _restore(looked, mode)


def taken(status: os.stat_result) -> int:
    """The bytes that count for a file: a sparse one counts with its size, as so many are hashed and sent."""
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return max(status.st_blocks * BLOCK, size)


def statuses(directory: int) -> Iterator[tuple[str, os.stat_result]]:
    """The names in an open directory, each with its own status, not that of a link's target."""
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted meanwhile
            yield entry.name, status
