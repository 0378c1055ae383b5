"""`ml-job` as a user runs it: at a terminal, behind a pipe, and with a configuration directory of its own."""

import contextlib
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from agent.cli.job.main import app
from agent.identity.authority import Authority, Issued
from tests.support.stand_in_agent import Step
from tests.support.waiting import until

ML_JOB = [sys.executable, "-c", "from agent.cli.job.main import main; main()"]


@dataclass
class Home:
    """A client's configuration directory, and the authority that its host trusts."""

    path: Path
    authority: Authority

    def add(self, user: str, issued: Issued) -> None:
        """Puts a user's certificate and key there."""
        (self.path / f"{user}.crt").write_bytes(issued.certificate_pem())
        key = self.path / f"{user}.key"
        key.touch(0o600)
        key.write_bytes(issued.key_pem())


@dataclass(frozen=True)
class HostKeys:
    """The authority of a host, and the directory with its and the server's certificates."""

    directory: Path
    authority: Authority


def make_home(path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Makes `path`/config/ml-job this process's configuration, and `path` its working directory."""
    directory = path / "config/ml-job"
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes(authority.certificate_pem())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory.parent))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.chdir(path)
    for name in ("ML_JOB_SERVER", "ML_JOB_IDENTITY", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    home = Home(directory, authority)
    home.add("alice", authority.issue_client("alice"))
    return home


def ml_job(*arguments: str, stdin: bytes | None = None) -> Result:
    """Runs `ml-job` within this process, behind pipes."""
    return CliRunner().invoke(app, list(arguments), input=stdin, catch_exceptions=False)


@dataclass
class Terminal:
    """A terminal: what it has `shown` so far, stdout and stderr together."""

    shown: bytes = b""

    def shows(self, text: str) -> Step:
        """A step of an agent: it waits until the terminal has shown the text."""

        async def shown() -> bool:
            return text.encode() in self.shown

        async def step(_: web.Request) -> None:
            await until(shown)

        return step

    def run(self, *arguments: str, typed: bytes = b"") -> str:
        """What `ml-job` shows until it ends. Types `typed` once it has asked."""
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [*ML_JOB, *arguments], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        with contextlib.suppress(OSError):  # EIO: the last process with the terminal has ended
            while typed and b": " not in self.shown:
                self.shown += os.read(master, 65536)
            os.write(master, typed)
            while chunk := os.read(master, 65536):
                self.shown += chunk
        os.close(master)
        process.wait(30)
        return self.shown.decode().replace("\r\n", "\n")


def at_a_terminal(*arguments: str, typed: bytes = b"") -> str:
    """What `ml-job` shows on a terminal, stdout and stderr together; `typed` once it has asked."""
    return Terminal().run(*arguments, typed=typed)
