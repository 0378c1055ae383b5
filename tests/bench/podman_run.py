"""Raw `podman run --rm` with what the compiled unit of a job says, without what only systemd needs."""

import asyncio
import shlex
import shutil
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import dropwhile
from pathlib import Path

from .contender import PATIENCE, WIDTH, BenchError, at_a_time, check_artifact, check_greeting, ended

# What ties a container to a systemd service: notification, the unit's own cgroup, the background, its names.
SYSTEMD_ONLY = frozenset(("--cgroups=split", "--sdnotify=conmon", "-d", "--replace"))
SYSTEMD_ONLY_WITH_VALUE = frozenset(("--name",))
SYSTEMD_ONLY_PREFIXES = ("--cidfile=",)


def command_line(unit: str) -> list[str]:
    """The words of a compiled unit's `ExecStart=` from podman on, for anybody to run.

    Of systemd.service(5)'s quoting, a job's unit uses what shlex knows too. Raises `BenchError` where it has
    something that systemd alone would understand.
    """
    lines = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    if len(lines) != 1:
        raise BenchError(f"the unit has {len(lines)} ExecStart= lines")
    words = dropwhile(lambda word: not word.endswith("/podman"), shlex.split(lines[0]))
    kept = []
    for word in words:
        if word in SYSTEMD_ONLY_WITH_VALUE:
            next(words)
        elif word not in SYSTEMD_ONLY and not word.startswith(SYSTEMD_ONLY_PREFIXES):
            kept.append(word)
    if left := [word for word in kept if "%" in word]:
        raise BenchError(f"only systemd knows these specifiers: {' '.join(left)}")
    return kept


class PodmanRun:
    """The command of a job's unit on copies of that job's directory, below `scratch`."""

    def __init__(self, unit: str, directory: Path, scratch: Path) -> None:
        self.command = command_line(unit)
        self._directory = directory
        self._scratch = scratch
        self._made = 0

    @property
    def name(self) -> str:
        """How the table calls it."""
        return "podman run --rm"

    async def first_line(self) -> float:
        """From starting the command to the first byte of its standard output."""
        directory = self._copy()
        async with asyncio.timeout(PATIENCE):
            seconds = await self._run(directory)
        check_artifact(directory / "artifacts")
        return seconds

    async def batch(self, jobs: int) -> float:
        """As many commands at a time as there are slots, each started when another has ended."""
        directories = [self._copy() for _ in range(jobs)]
        work: list[Callable[[], Awaitable[None]]] = [partial(self._run_only, each) for each in directories]
        began = time.perf_counter()
        await at_a_time(WIDTH, work)
        seconds = time.perf_counter() - began
        for directory in directories:
            check_artifact(directory / "artifacts")
        return seconds

    def _copy(self) -> Path:
        self._made += 1
        directory = self._scratch / f"podman-run-{self._made}"
        (directory / "artifacts").mkdir(parents=True)
        shutil.copytree(self._directory / "input", directory / "input")
        return directory

    async def _run_only(self, directory: Path) -> None:
        await self._run(directory)

    async def _run(self, directory: Path) -> float:
        words = [word.replace(str(self._directory), str(directory)) for word in self.command]
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with ended(process):
            first = await process.stdout.read(1)
            seconds = time.perf_counter() - began
            rest, errors = await process.communicate()
        if process.returncode:
            raise BenchError(f"podman run failed: {errors.decode(errors='replace').strip()}")
        check_greeting((first + rest).decode(), "podman run")
        return seconds
