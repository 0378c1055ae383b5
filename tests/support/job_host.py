"""The parts of an agent on a real host, without HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config import Settings, shipped
from agent.host.podman import Podman
from agent.host.systemd import Units
from agent.logs.journal import Journal
from agent.logs.lines import Item, Line, LineNumbering, Position
from agent.model.job import Job, JobRequest, JobState
from agent.model.log import LogSource
from agent.model.paths import AttemptPaths
from agent.runtime.quadlet import TEMPLATE, Compiler
from agent.scripts.snapshots import Snapshots
from agent.service import JobParts, secrets_of
from agent.store.store import Store
from tests.support.job_scene import driving, end_of
from tests.support.waiting import run, until


@dataclass
class Host:
    """An agent's parts on the real host, without HTTP."""

    settings: Settings
    jobs: JobParts
    submitted: list[Job]

    async def submit(self, script_name: str, **fields: Any) -> Job:
        job = await self.jobs.submission.submit("alice", JobRequest(script_name=script_name, **fields))
        self.submitted.append(job)
        return job

    async def end_of(self, job: Job) -> Job:
        return await end_of(self.jobs, job, seconds=60)

    async def running(self, job: Job) -> Job:
        """The job once its script has begun, and the record says so."""

        async def begun() -> bool:
            known = (await self.jobs.registry.get(job.job_id)).status is JobState.RUNNING
            return known and ("begun", LogSource.JOB) in await self.log(job)

        await until(begun)
        return await self.jobs.registry.get(job.job_id)

    def attempt(self, job: Job) -> AttemptPaths:
        """The files of the attempt that the job is at."""
        return self.settings.paths_of(job.job_id).attempt(job.attempt)

    async def has_no_container(self, job: Job) -> None:
        """Returns when nothing of the job's container is left: the exit record comes before that."""

        async def gone() -> bool:
            return job.job_id not in await run("podman", "ps", "--all", "--format={{.Names}}")

        await until(gone)

    async def log(self, job: Job) -> list[tuple[str, LogSource]]:
        return await lines_of(Journal().history(job.unit, LineNumbering(Position())))

    async def whole_log(self, job: Job) -> list[tuple[str, LogSource]]:
        return await lines_of(Journal().rest(job.unit, LineNumbering(Position())))


async def lines_of(batches: AsyncIterator[list[Item]]) -> list[tuple[str, LogSource]]:
    return [
        (item.text.decode(), item.source)
        async for items in batches
        for item in items
        if isinstance(item, Line)
    ]


@contextlib.asynccontextmanager
async def real_parts(settings: Settings, *, hooks: Path | None = None) -> AsyncIterator[JobParts]:
    """The parts of `agent.jobs` at work; `hooks` in place of the programs that leave a unit's marks."""
    units = Units(f"unix:path={settings.runtime_directory}/bus")
    async with Store.open(settings.database) as store, Podman(settings.podman_socket) as podman:
        jobs = JobParts(
            settings=settings,
            store=store,
            snapshots=Snapshots(settings.scripts.repository, "scripts", settings.snapshots_directory),
            podman=podman,
            secrets=secrets_of(settings, podman),
            compiler=Compiler(
                shipped("quadlets") / TEMPLATE,
                settings.policy_directories,
                settings.state_directory / "scratch",
            ),
            units=units,
            hooks=hooks,
        )
        bus = asyncio.create_task(units.run(jobs.reconciler.look_at))
        try:
            async with driving(jobs):
                yield jobs
        finally:
            bus.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await bus


@contextlib.asynccontextmanager
async def real_host(settings: Settings, *, hooks: Path | None = None) -> AsyncIterator[Host]:
    """A host whose units are stopped and removed at the end."""
    submitted: list[Job] = []
    async with real_parts(settings, hooks=hooks) as jobs:
        yield Host(settings, jobs, submitted)
    for job in submitted:
        await run("systemctl", "--user", "stop", job.unit, check=False)
        await run("systemctl", "--user", "reset-failed", job.unit, check=False)
        settings.paths_of(job.job_id).unit_file.unlink(missing_ok=True)
