"""The installed agent, over mutual TLS, as `ml-job` speaks to it."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from agent.cli.job.http import Api
from agent.cli.job.profile import Profile, config_directory
from agent.cli.job.stream import Event, follow
from agent.config import Settings
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
)

REQUEST = {"script_name": SCRIPT, "hyperparameters": HYPERPARAMETERS}


@dataclass(frozen=True)
class Followed:
    """A job as its client saw it, and when, in seconds of the epoch."""

    job: Job
    sent: float
    answered: float
    first_line: float
    end: float


class InstalledAgent:
    """The agent, with Podman's API service (which it asks about images and secrets) `running` or not.

    systemd starts that service at the first question, and it leaves after 5 s without one: a lone job finds
    it stopped.
    """

    def __init__(self, api: Api, settings: Settings, *, running: bool) -> None:
        self._api = api
        self._settings = settings
        self._running = running
        self.followed: list[Followed] = []

    @property
    def name(self) -> str:
        """How the table calls it."""
        return "ml-agent, podman.service " + ("running" if self._running else "stopped")

    async def first_line(self) -> float:
        """From sending `POST /jobs` to the first line of the script in the event stream."""
        await self._prepare()
        async with asyncio.timeout(PATIENCE):
            followed = await self._follow_one()
        check_outcome(followed.job, self._settings)
        self.followed.append(followed)
        return followed.first_line - followed.sent

    async def batch(self, jobs: int) -> float:
        """All are submitted, by as many clients as run at a time; the last is watched, then all are listed.

        Their logs are kept ten seconds later: that is not in the time, but in the CPU of the batch.
        """
        await self._prepare()
        submitted: list[Job] = []

        async def submit() -> None:
            submitted.append(Job.model_validate(await self._api.post("/jobs", REQUEST)))

        began = time.perf_counter()
        await at_a_time(WIDTH, [submit] * jobs)
        async with asyncio.timeout(PATIENCE):
            async with self._stream(f"/jobs/{submitted[-1].job_id}/events") as events:
                async for _ in events:
                    pass
            done = await self._ended({job.job_id for job in submitted})
        seconds = time.perf_counter() - began
        for job in done:
            check_outcome(job, self._settings)
        async with asyncio.timeout(PATIENCE):
            await self._logs_kept(done)
        return seconds

    async def _logs_kept(self, jobs: list[Job]) -> None:
        """Returns when the agent is done with these jobs: the CPU that it takes is not another's."""
        for job in jobs:
            file = self._settings.paths_of(job.job_id).log
            while not file.exists():  # noqa: ASYNC110
                await asyncio.sleep(POLL_INTERVAL)

    async def _prepare(self) -> None:
        """The agent is up, the connection is made, and Podman's API service is as this row says."""
        await self._api.get("/scripts")
        if self._running:
            connector = aiohttp.UnixConnector(str(self._settings.podman_socket), force_close=True)
            async with aiohttp.ClientSession(connector=connector) as session:
                await session.get("http://podman/_ping")
        else:
            await command("systemctl", "--user", "stop", "podman.service")

    async def _follow_one(self) -> Followed:
        sent = time.time()
        job_id = (await self._api.post("/jobs", REQUEST))["job_id"]
        answered = time.time()
        first_line = 0.0
        async with self._stream(f"/jobs/{job_id}/logs") as events:
            async for event in events:
                if event.name == "line" and not first_line:
                    line = json.loads(event.data)
                    if line["source"] == "job":
                        first_line = time.time()
                        check_greeting(line["text"], f"job {job_id}")
        if not first_line:
            raise BenchError(f"job {job_id} printed nothing")
        return Followed(Job.model_validate_json(event.data), sent, answered, first_line, time.time())

    def _stream(self, path: str) -> contextlib.aclosing[AsyncGenerator[Event]]:
        """The events at `path` as a client follows them, to their end."""
        return contextlib.aclosing(follow(self._api, path, params={}, notice=_broken))

    async def _ended(self, job_ids: set[str]) -> list[Job]:
        """The jobs of these ids, the newest of all, once each has ended."""
        while True:
            newest = self._api.jobs({}, limit=len(job_ids))
            listed = [Job.model_validate(job) async for job in newest]
            done = [job for job in listed if job.job_id in job_ids and job.status.terminal]
            if len(done) == len(job_ids):
                return done
            await asyncio.sleep(POLL_INTERVAL)


def _broken(notice: str) -> None:
    raise BenchError(f"the event stream broke: {notice}")


def check_outcome(job: Job, settings: Settings) -> None:
    """Raises `BenchError` where the job did not succeed, or has not left what it should."""
    if (job.status, job.exit_status) != ("COMPLETED", 0):
        raise BenchError(f"job {job.job_id} is {job.status} ({job.reason}): {job.message}")
    check_artifact(attempt_directory(job, settings) / "artifacts")


def attempt_directory(job: Job, settings: Settings) -> Path:
    """Where the agent keeps the files of a job's attempt."""
    return settings.paths_of(job.job_id).attempt(job.attempt).directory


def unit_file(job: Job, settings: Settings) -> Path:
    """Where the agent has put the job's compiled unit."""
    return settings.paths_of(job.job_id).unit_file


@contextlib.asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Api]:
    """A client of the agent, which runs `WIDTH` jobs at a time while the body does."""
    async with (
        configured(settings, JOBS__MAX_RUNNING=WIDTH, JOBS__CPUS=WIDTH),
        Api(Profile.load(config_directory(), server=None, identity=None)) as api,
    ):
        yield api


@contextlib.asynccontextmanager
async def configured(settings: Settings, **values: int) -> AsyncIterator[None]:
    """The installed agent with these values in its environment, for as long as the body runs."""
    drop_in = settings.runtime_directory / "systemd/user/ml-agent.service.d/90-bench.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"Environment=ML_AGENT_{name}={value}\n" for name, value in values.items())
    drop_in.write_text(f"[Service]\n{''.join(lines)}", "utf-8")
    try:
        await _restart()
        yield
    finally:
        drop_in.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            drop_in.parent.rmdir()
        await _restart()


async def _restart() -> None:
    await command("systemctl", "--user", "daemon-reload")
    await command("systemctl", "--user", "try-restart", "ml-agent.service")


async def reference(api: Api, settings: Settings) -> Job:
    """A job that has succeeded: the others copy what its unit does. It also warms every cache."""
    followed = InstalledAgent(api, settings, running=False)
    await followed.first_line()
    return followed.followed[0].job
