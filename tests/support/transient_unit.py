"""A unit of the host's user manager that logs as a job's unit does."""

import asyncio
import secrets

from agent.logs.lines import ENDED


class Unit:
    """A transient unit that logs as a job's unit does, closing entry included."""

    def __init__(self) -> None:
        self.identifier = f"ml-job@{''.join(secrets.choice('abcdefgh') for _ in range(12))}"
        self.name = self.identifier + ".service"
        self._started = asyncio.Event()
        self._process: asyncio.subprocess.Process

    async def start(self, script: str) -> None:
        """Starts it and returns; `ended` tells when it is over."""
        end = (
            f"printf 'MESSAGE_ID={ENDED.decode()}\\nSYSLOG_IDENTIFIER={self.identifier}\\nMESSAGE=Ended\\n'"
            " | logger --journald"
        )
        self._process = await asyncio.create_subprocess_exec(
            *("systemd-run", "--user", "--quiet", "--wait", "--collect", f"--unit={self.name}"),
            *(f"--property=SyslogIdentifier={self.identifier}", "--property=SyslogLevelPrefix=false"),
            *(f"--property=ExecStopPost=/bin/sh -c {_quoted(end)}", "/bin/sh", "-c", script),
        )
        self._started.set()

    async def ended(self) -> bool:
        """Returns when the unit has ended."""
        await self._started.wait()
        await self._process.wait()
        return True


def _quoted(script: str) -> str:
    return '"' + script.replace("\\", "\\\\").replace("%", "%%") + '"'
