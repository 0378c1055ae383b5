"""`ml-agent` as an operator runs it, in an account of its own."""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.cli.admin import init, main
from agent.config_files import load
from agent.store.store import Store
from tests.support.git_repository import commit, git

T = TypeVar("T")

USER_RUNTIME_DIRECTORY = os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")  # before a test changes it
needs_a_user_manager = pytest.mark.skipif(
    not Path(USER_RUNTIME_DIRECTORY, "systemd/private").exists(), reason="there is no systemd user manager"
)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, and what it wrote to stdout and stderr."""

    status: int
    out: str
    err: str


Run = Callable[..., Ended]


def make_account(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `home` this process's account, with a git repository of scripts in ~/repository."""
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "ML_AGENT_CONFIG", "SUDO_USER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    # `init` refuses root, as which tests may run.
    monkeypatch.setattr(init, "is_root", lambda: False)
    scripts = home / "repository/scripts"
    scripts.mkdir(parents=True)
    (scripts / "hello.py").write_text("print('hello')\n")
    git(home / "repository", "init", "--quiet")
    commit(home / "repository", "Say hello")


def runner(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    program: Callable[[], None] = main.main,
) -> Run:
    """A function that runs `ml-agent`, or another program, with its arguments, within this process."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        with pytest.raises(SystemExit) as ended:
            program()
        output = capsys.readouterr()
        return Ended(int(ended.value.code or 0), output.out, output.err)

    return run


async def with_store(work: Callable[[Store], Awaitable[T]]) -> T:
    """What `work` does with the account's database."""
    async with Store.open(load().database) as store:
        return await work(store)


def put_on_path(directory: Path, program: str, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shell script in the place of a program: its file in a directory that is first on PATH."""
    directory.mkdir(exist_ok=True)
    file = directory / program
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    return file


def audit_rows(run: Run) -> list[dict[str, Any]]:
    """All rows of the audit."""
    rows: list[dict[str, Any]] = json.loads(run("audit", "--json", "-n", "1000").out)
    return rows


def certificates_of(run: Run, *options: str) -> list[dict[str, Any]]:
    """What `ml-agent list` lists."""
    shown = run("list", "--json", *options)
    assert shown.status == 0, shown.err
    listed: list[dict[str, Any]] = json.loads(shown.out)
    return listed


def issue(run: Run, user: str, *options: str) -> str:
    """Issues a certificate into the working directory and returns its serial number."""
    done = run("issue", user, "--replace", *options)
    assert done.status == 0, done.err
    return done.out.splitlines()[0].rpartition(" ")[2]
