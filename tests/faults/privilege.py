"""What needs root, done by a child that stays root while everything else becomes the service account."""

import asyncio
import json
import os
import pwd
import socket
import subprocess
from typing import NoReturn


class FaultError(Exception):
    """The fault could not be made: this says nothing about the agent."""


class Root:
    """Runs commands as root, one at a time."""

    def __init__(self, channel: socket.socket) -> None:
        self._stream = channel.makefile("rw", encoding="utf-8")

    async def run(self, *command: str) -> str:
        """The command's output. Raises `FaultError` where it fails."""
        return await asyncio.to_thread(self._ask, command)

    def _ask(self, command: tuple[str, ...]) -> str:
        self._stream.write(json.dumps(command) + "\n")
        self._stream.flush()
        status, output = json.loads(self._stream.readline())
        if status:
            raise FaultError(f"{' '.join(command)} failed: {output}")
        return str(output)


def become(account: str) -> Root:
    """Leaves a root child behind and goes on as the account, with its login's environment."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _serve(theirs)
    theirs.close()
    user = pwd.getpwnam(account)
    os.initgroups(account, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    runtime = f"/run/user/{user.pw_uid}"
    os.environ |= {
        "HOME": user.pw_dir,
        "USER": account,
        "LOGNAME": account,
        "XDG_RUNTIME_DIR": runtime,
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
    }
    return Root(ours)


def _serve(channel: socket.socket) -> NoReturn:
    """Until the other side is gone."""
    with channel.makefile("rw", encoding="utf-8") as stream:
        for line in stream:
            done = subprocess.run(
                json.loads(line),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            stream.write(json.dumps([done.returncode, done.stdout.decode("utf-8", "replace")]) + "\n")
            stream.flush()
    os._exit(0)
