"""The yardstick: a server that creates containers over Podman's REST socket, and clients that poll it.

It is a file outside this project, `seed_baseline.py`, handed over by its path. It stores, isolates and
authenticates nothing, and removes no container: this module does, between two measurements.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from agent.model.job import Job

from .contender import (
    HYPERPARAMETERS,
    PATIENCE,
    POLL_INTERVAL,
    SCRIPT,
    WIDTH,
    BenchError,
    at_a_time,
    check_artifact,
    check_greeting,
    command,
    ended,
)

REQUEST = {"script_name": SCRIPT, "hyperparameters": HYPERPARAMETERS}
# Seconds without a request after which the server closes a connection. A request that is sent at that moment
# is lost, and a POST is not repeated: so the client gives up its connections before.
KEEP_ALIVE = 60
PACKAGES = ("fastapi", "uvicorn", "aiohttp")
IMAGE = "localhost/ml-bench-yardstick"

# It names its own command, where the runner's image has a launcher, which also turns buffering off.
CONTAINERFILE = "FROM {image}\nENTRYPOINT []\nENV PYTHONUNBUFFERED=1\n"


@dataclass
class Yardstick:
    """The server at the session's base address, and its clients: they ask again every `POLL_INTERVAL`."""

    session: aiohttp.ClientSession
    artifacts: Path

    @property
    def name(self) -> str:
        """How the table calls it."""
        return "yardstick, polled"

    async def first_line(self) -> float:
        """From sending `POST /jobs` to the first answer of `GET /jobs/{id}/logs` with text in it."""
        async with asyncio.timeout(PATIENCE):
            began = time.perf_counter()
            job_id = await self._submit()
            log = await self._first_log(job_id)
            seconds = time.perf_counter() - began
            await self._ended(job_id)
        check_greeting(log, f"the yardstick's job {job_id}")
        await self._clean_up([job_id])
        return seconds

    async def batch(self, jobs: int) -> float:
        """As many clients as there are slots; each submits a job, polls until it has ended, and goes on."""
        done: list[str] = []

        async def client() -> None:
            job_id = await self._submit()
            await self._ended(job_id)
            done.append(job_id)

        work: list[Callable[[], Awaitable[None]]] = [client] * jobs
        began = time.perf_counter()
        await at_a_time(WIDTH, work)
        seconds = time.perf_counter() - began
        await self._clean_up(done)
        return seconds

    async def _submit(self) -> str:
        async with self.session.post("/jobs", json=REQUEST) as response:
            response.raise_for_status()
            return str((await response.json())["job_id"])

    async def _first_log(self, job_id: str) -> str:
        """The log as soon as there is one. While there is no container, the server says "not found"."""
        while True:
            async with self.session.get(f"/jobs/{job_id}/logs") as response:
                if response.status == 200 and (log := await response.text()):
                    return log
            await asyncio.sleep(POLL_INTERVAL)

    async def _ended(self, job_id: str) -> None:
        while True:
            async with self.session.get(f"/jobs/{job_id}") as response:
                response.raise_for_status()
                job: dict[str, Any] = await response.json()
            if job["status"] == "COMPLETED":
                return
            if job["status"] == "FAILED":
                raise BenchError(f"the yardstick's job {job_id} failed: {job}")
            await asyncio.sleep(POLL_INTERVAL)

    async def _clean_up(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            check_artifact(self.artifacts / job_id)
        await command("podman", "rm", "--force", *(f"seed-{job_id}" for job_id in job_ids))


@contextlib.asynccontextmanager
async def served(source: Path, job: Job, scripts: Path, scratch: Path) -> AsyncIterator[Yardstick]:
    """Runs the server at `source` on a loopback port while the body does, with the image of `job`."""
    python = await _environment(Path.home() / ".cache/ml-agent-bench/venv")
    shutil.copyfile(source, scratch / "yardstick.py")
    artifacts = scratch / "artifacts"
    artifacts.mkdir()
    # The job runs as user 1000 of the image, who is somebody else outside: anybody must be able to write.
    artifacts.chmod(0o777)
    containerfile = CONTAINERFILE.format(image=job.image)
    await command("podman", "build", "--quiet", "--tag", IMAGE, "-", stdin=containerfile.encode())
    port = _free_port()
    try:
        process = await asyncio.create_subprocess_exec(
            *(python, "-m", "uvicorn", "yardstick:app", "--port", str(port), "--log-level", "error"),
            *("--timeout-keep-alive", str(KEEP_ALIVE)),
            cwd=scratch,
            env=os.environ | {"IMAGE": IMAGE, "SCRIPTS": str(scripts), "ARTIFACTS": str(artifacts)},
            stdin=asyncio.subprocess.DEVNULL,
            umask=0,
        )
        connector = aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE / 2)
        async with (
            ended(process),
            aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as session,
        ):
            await _wait_until_it_answers(session, process)
            yield Yardstick(session, artifacts)
    finally:
        await _remove_containers()
        await command("podman", "rmi", "--force", IMAGE)


async def _environment(directory: Path) -> str:
    """The interpreter of a virtual environment with the server's packages, made where it is missing."""
    made = directory / "made"
    if not made.exists():
        await command(sys.executable, "-m", "venv", "--clear", str(directory))
        await command(str(directory / "bin/pip"), "install", "--quiet", *PACKAGES)
        made.touch()
    return str(directory / "bin/python")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def _wait_until_it_answers(session: aiohttp.ClientSession, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(PATIENCE):
        while process.returncode is None:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with session.get("/openapi.json"):
                    return
            await asyncio.sleep(POLL_INTERVAL)
    raise BenchError("the yardstick's server does not start")


async def _remove_containers() -> None:
    """What an interrupted measurement has left; in an undisturbed one there is nothing."""
    listed = await command("podman", "ps", "--all", "--quiet", "--filter", f"ancestor={IMAGE}")
    if containers := listed.split():
        await command("podman", "rm", "--force", "--time", "0", *containers)
