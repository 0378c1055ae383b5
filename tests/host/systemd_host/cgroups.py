"""A host's control groups: one of its own in every hierarchy that matters.

- The unified hierarchy (v2) holds the host's units. With a group of its own, two hosts do not meet, and
  all processes of a host can be listed and killed.
- A v1 memory group, where the machine has that controller: Podman compares its group with the one it was
  started in, and the group of the shell that ran `up` may change when that shell ends.
- The v1 hierarchy `name=systemd`, where systemd-nspawn keeps its own groups on such machines.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import HostError


def hierarchies() -> list[Path]:
    """Mount points of the hierarchies above, the unified one first. Raises HostError if that is missing."""
    unified, legacy = list[Path](), list[Path]()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # proc_pid_mountinfo(5): the mount point is field 5; after " - " come type, source, super options.
        before, _, after = line.partition(" - ")
        point, (kind, _, options) = Path(before.split()[4]), after.split()[:3]
        if kind == "cgroup2":
            unified.append(point)
        elif kind == "cgroup" and {"memory", "name=systemd"} & set(options.split(",")):
            legacy.append(point)
    if not unified:
        raise HostError(
            "no unified cgroup hierarchy is mounted", "mount -t cgroup2 none /sys/fs/cgroup/unified"
        )
    return [unified[0], *legacy]


class ControlGroups:
    """The control groups of the host called `name`."""

    def __init__(self, name: str) -> None:
        self._folders = [point / f"ml-agent-host-{name}" for point in hierarchies()]
        self.unified = self._folders[0]

    def create(self) -> None:
        """Make the groups. Raises HostError if the machine does not allow it."""
        for folder in self._folders:
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                raise HostError(f"cannot create {folder}: {error.strerror}", "run it privileged") from error

    def enter(self, slice_: str = "") -> None:
        """Move the calling process into the groups, in the unified one into `slice_` below systemd's root."""
        for folder in self._folders[1:]:
            payload = folder / "payload"
            ((payload if payload.exists() else folder) / "cgroup.procs").write_text("0")
        target = self.unified / "payload" / slice_ if slice_ else self.unified
        target.mkdir(parents=True, exist_ok=True)
        (target / "cgroup.procs").write_text("0")

    def leader(self) -> int | None:
        """The machine's number of the host's PID 1, or None while there is none."""
        for group in ("payload/init.scope", "payload"):
            for pid in pids(self.unified / group):
                if is_pid_1(pid):
                    return pid
        return None

    def processes(self) -> list[int]:
        """All processes of the host and of what boots it."""
        return [pid for folder in self.walk(self.unified) for pid in pids(folder)]

    def kill(self, timeout: float = 10.0) -> None:
        """Kill all processes and wait until they are gone. Raises HostError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.processes():
            if time.monotonic() > deadline:
                raise HostError("processes of the host survive SIGKILL", f"see {self.unified}/cgroup.procs")
            with contextlib.suppress(OSError):
                (self.unified / "cgroup.kill").write_text("1")
            time.sleep(0.02)

    def remove(self, timeout: float = 30.0) -> None:
        """Remove the groups, which must have no processes left. Raises HostError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for folder in self._folders:
            for group in self.walk(folder):
                while not remove_group(group):
                    if time.monotonic() > deadline:
                        raise HostError(f"{group} stays in use", f"see {group}/cgroup.procs")
                    time.sleep(0.02)

    @staticmethod
    def walk(folder: Path) -> Iterator[Path]:
        """Yield the groups in and below `folder`, the deepest first."""
        for path, _, _ in os.walk(folder, topdown=False):
            yield Path(path)


def remove_group(group: Path) -> bool:
    """Remove a group; whether it is gone. A killed process is in it until its memory is given back."""
    try:
        group.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def pids(group: Path) -> list[int]:
    """The processes in one group; none if there is no such group."""
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def is_pid_1(pid: int) -> bool:
    """Whether `pid` is the first process of a PID namespace below ours (proc_pid_status(5), NSpid)."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[-1] == "1" and len(line.split()) > 2
    return False
