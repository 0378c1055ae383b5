"""What the machine says of itself: how much room a file system has left, other programs, and its clocks."""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..model.retention import Moment

TIMEOUT = 20.0  # seconds that a program may take
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Room:
    """Free bytes and inodes for an account without privileges; `inodes` is None where they are unlimited."""

    bytes: int
    inodes: int | None

    def lacks(self, needed: "Room") -> bool:
        """Whether this is less than what is needed."""
        short = self.inodes is not None and needed.inodes is not None and self.inodes < needed.inodes
        return short or self.bytes < needed.bytes

    def __str__(self) -> str:
        inodes = "" if self.inodes is None else f" and {self.inodes} inodes"
        return f"{self.bytes / 2**20:.1f} MiB{inodes}"


def room(path: Path) -> Room:
    """What the file system of a path, or of its first parent that exists, has left. Raises `OSError`."""
    status = os.statvfs(next(each for each in (path, *path.parents) if each.exists()))
    return Room(status.f_bavail * status.f_frsize, status.f_favail if status.f_files else None)


# What the runtime directory must have for the files of a job's unit and container, which are a few hundred
# kilobytes. It is in memory, and shared by all programs of the account.
RUNTIME_ROOM = Room(bytes=16 * 2**20, inodes=1000)


async def output(
    *command: str, errors: bool = False, environment: Mapping[str, str] = MappingProxyType({})
) -> str:
    """What a command prints, with `errors` its stderr too; empty where it cannot be run or takes too long.

    `environment` is added to the agent's own. The exit status does not matter.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if errors else asyncio.subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", **environment},
        )
    except OSError:
        return ""
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return printed.decode(errors="replace")


async def synchronised() -> bool | None:
    """Whether the wall clock follows a time server (timedatectl(1)); None where systemd does not say."""
    said = await output("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return {"yes": True, "no": False}.get(said.strip())


async def read_clocks(*, ask: bool = True) -> Moment:
    """What the clocks say now. Without `ask`, systemd is not asked whether the wall clock is synchronised."""
    follows = ask and await synchronised() is True
    boot_id, boot = BOOT_ID.read_text("ascii").strip(), time.clock_gettime(time.CLOCK_BOOTTIME)
    return Moment(time.time(), boot, boot_id, follows)
