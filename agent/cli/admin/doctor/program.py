"""What the programs of the host print."""

import asyncio
import os

TIMEOUT = 20.0  # seconds


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
