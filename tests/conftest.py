"""What every test gets: it fails on what it leaves running, and is skipped where the host is not there."""

import asyncio
import contextlib
import functools
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.runtime.quadlet import generator

PATIENCE = 5.0  # seconds that a task or a process may take to end after its test


@functools.cache
def _missing() -> str | None:
    """What a test of the real thing needs and this machine lacks, or None."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime or not Path(runtime, "bus").exists():
        return "there is no user bus in XDG_RUNTIME_DIR"
    state = subprocess.run(
        ["systemctl", "--user", "is-system-running"], capture_output=True, text=True, check=False
    )
    if state.stdout.strip() not in ("running", "degraded"):
        return f"the user manager is {state.stdout.strip() or state.stderr.strip()}"
    try:
        generator()
    except AgentError as error:
        return error.message
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what is marked `host` where there is none, and says what is missing."""
    if item.get_closest_marker("host") and (missing := _missing()):
        pytest.skip(f"needs a systemd host: {missing}")


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    """Fails a test that leaves a child process behind."""
    before = set(_children())
    yield
    left = [pid for pid in _children() if pid not in before and not _ends(pid)]
    assert not left, "child processes are left: " + ", ".join(map(_command, left))


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """Fails a test that leaves an asyncio task behind."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=PATIENCE)
    assert not left, f"tasks are left: {left}"


def _children() -> list[int]:
    found: list[int] = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread may end meanwhile
            found += map(int, (thread / "children").read_text("ascii").split())
    return found


def _ends(pid: int) -> bool:
    """Waits for a child, which may be one that asyncio has yet to reap."""
    for _ in range(round(PATIENCE / 0.05)):
        try:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return True
        except ChildProcessError:
            return True
        time.sleep(0.05)
    return False


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text("utf-8").replace("\0", " ").strip()


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in journalctl's place."""

    def place(script: str) -> None:
        (tmp_path / "journalctl").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "journalctl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return place
