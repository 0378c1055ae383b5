"""Attempts to take more than the job's limits."""

import errno
import os
import resource
import signal
from pathlib import Path

from _attempts import attempt, each


@attempt("fork without bound")
def fork_bomb():
    """At the most 600 processes, which do nothing and end."""
    if not Path("/sys/fs/cgroup/pids.max").exists():
        raise NotImplementedError("no controller here")
    children = []
    try:
        for _ in range(600):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
        return f"{len(children)} processes"
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@each("fill {}", ["/tmp", "/dev/shm"])
def fill(directory):
    limit = {"/tmp": 2**30, "/dev/shm": 2**28}[directory]
    status = os.statvfs(directory)
    if status.f_blocks * status.f_frsize > limit:
        return f"it has {status.f_blocks * status.f_frsize} bytes"
    path = Path(directory, "filler")
    try:
        with path.open("wb") as file:
            # Reserved, not written: memory is taken by blocks that are.
            os.posix_fallocate(file.fileno(), 0, limit + 1)
    finally:
        path.unlink()
    return "more than its size"


@attempt("make a sparse file of a terabyte")
def sparse():
    path = Path("/artifacts/sparse")
    try:
        with path.open("wb") as file:
            os.ftruncate(file.fileno(), 2**40)
    finally:
        path.unlink()
    return "made"


@attempt("write behind the end of what a file may be")
def write_behind():
    path = Path("/artifacts/behind")
    try:
        with path.open("wb", buffering=0) as file:
            file.seek(2**40)
            file.write(b"x")
    finally:
        path.unlink()
    return "written"


@attempt("open files without bound")
def open_files():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard > 65536:
        return f"{hard} at a time"
    raise OSError(errno.EMFILE, f"{hard} at the most")
