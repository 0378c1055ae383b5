"""What is compared: ways to run the same script in the same image, and the job that all of them run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Protocol

SCRIPT = "hello.py"
HYPERPARAMETERS = {"lines": "1"}
GREETING = "Hello, world!"  # what the script says, and leaves in hello.txt

WIDTH = 4  # jobs at a time
PATIENCE = 120.0  # seconds that a single job may take before the run is given up
POLL_INTERVAL = 0.05  # seconds between two looks of a client that polls


class BenchError(Exception):
    """A job did not do what it should, or the host lacks something: no figure is better than a wrong one."""


class Contender(Protocol):
    """One way to run jobs."""

    @property
    def name(self) -> str:
        """How the table calls it."""
        ...

    async def first_line(self) -> float:
        """Seconds from asking for a job to its first line; returns when the job has ended well."""
        ...

    async def batch(self, jobs: int) -> float:
        """Seconds for that many jobs, `WIDTH` at a time, from the first request to the last known end."""
        ...


def check_greeting(text: str, what: str) -> None:
    """Raises `BenchError` where that is not what the script says."""
    if GREETING not in text:
        raise BenchError(f"{what} said {text!r} instead of {GREETING!r}")


def check_artifact(directory: Path) -> None:
    """Raises `BenchError` where a job that is said to have succeeded has not left its file."""
    path = directory / "hello.txt"
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from error
    check_greeting(text, str(path))


async def at_a_time(width: int, work: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Runs all of the work, so many at a time; the first failure ends the rest."""
    waiting = iter(work)

    async def worker() -> None:
        for one in waiting:
            async with asyncio.timeout(PATIENCE):
                await one()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(worker())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def command(*arguments: str, stdin: bytes = b"") -> str:
    """A command's standard output. Raises `BenchError` with its standard error where it fails."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with ended(process):
        output, errors = await process.communicate(stdin)
    if process.returncode:
        raise BenchError(f"`{' '.join(arguments)}` failed: {errors.decode(errors='replace').strip()}")
    return output.decode()


@contextlib.asynccontextmanager
async def ended(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Sees to it that the process is gone after the body: told to end, where it has not by itself."""
    try:
        yield
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
