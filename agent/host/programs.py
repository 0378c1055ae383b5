"""What other programs of this host say, and its clocks."""

import asyncio
import os
import time
from pathlib import Path

from ..model.retention import Moment

TIMEOUT = 20.0  # seconds that a program may take
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


async def output(*command: str, errors: bool = False) -> str:
    """What a command prints, with `errors` its stderr too; empty where it cannot be run or takes too long.

    Its exit status does not matter.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if errors else asyncio.subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
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
