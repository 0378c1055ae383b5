"""Schedules between stand-ins for systemd's manager and Podman, under a clock that the test sets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from agent.audit.chain import Caller
from agent.model.certificate import Certificate, Role
from agent.model.job import Job, JobState
from agent.model.schedule import RunState, Schedule, ScheduleRequest, ScheduleRun, timer_name
from agent.service import JobParts
from tests.support.job_scene import Scene, driving
from tests.support.waiting import until

ALICE = Caller(actor="alice", role="analyst", source="192.0.2.1")
MONDAY = datetime(2026, 6, 1, 9, 30, tzinfo=UTC)


def request(**fields: Any) -> ScheduleRequest:
    """A job at each full hour of UTC."""
    usual = {"name": "nightly", "calendar": "hourly", "job": {"script_name": "succeed.py"}}
    return ScheduleRequest.model_validate(usual | fields)


@dataclass
class Clock:
    """The time that schedules see; jobs see the machine's."""

    moment: datetime = MONDAY

    def now(self) -> datetime:
        return self.moment

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        with (
            patch("agent.schedules.controller.now", self.now),
            patch("agent.schedules.schedules.now", self.now),
        ):
            yield

    def to(self, hour: int, minute: int = 0, *, days: int = 0) -> None:
        """Sets the time of Monday, or of some days later."""
        self.moment = MONDAY.replace(hour=hour, minute=minute) + timedelta(days=days)


@dataclass
class ScheduleScene:
    """One site, whose agents come and go."""

    scene: Scene
    clock: Clock = field(default_factory=Clock)

    @contextlib.asynccontextmanager
    async def agent(self, *, idle: bool = True) -> AsyncIterator[JobParts]:
        """An agent at work, which is `idle` at first, until the context ends. No unit ends by itself."""
        jobs = self.scene.jobs()
        async with driving(jobs), asyncio.TaskGroup() as group:
            task = group.create_task(jobs.timing.run())
            await until(lambda: jobs.timing.idle or not idle)
            try:
                yield jobs
            finally:
                task.cancel()

    async def knows(self, user: str, role: Role = Role.ANALYST, serial: str = "1") -> None:
        """Gives a user a certificate."""
        issued = datetime(2026, 1, 1, tzinfo=UTC)
        certificate = Certificate(
            serial=serial, user=user, role=role, issued_at=issued, expires_at=issued + timedelta(days=365)
        )
        await self.scene.store.certificates.add(certificate)

    def elapses(self, jobs: JobParts, schedule: Schedule) -> None:
        """What a timer's service does, and what systemd then tells the agent."""
        marks = jobs.timing.timers.marks
        marks.mkdir(parents=True, exist_ok=True)
        (marks / schedule.schedule_id).touch()
        jobs.timing.look_at(f"ml-schedule@{schedule.schedule_id}.service")

    async def elapsed(self, jobs: JobParts, schedule: Schedule) -> None:
        """The same, until the agent has done for the schedule what it can."""
        self.elapses(jobs, schedule)
        await until(lambda: schedule.schedule_id not in jobs.timing.timers.due())
        await jobs.timing.advance(schedule.schedule_id)

    async def settled(self, jobs: JobParts) -> None:
        """Returns when the agent has done what is due."""
        await until(lambda: not jobs.timing.timers.due() and jobs.timing.idle)

    async def runs(self, schedule: Schedule) -> list[ScheduleRun]:
        """The runs, oldest first."""
        page = await self.scene.store.schedules.runs(schedule.schedule_id, limit=1000)
        return page.runs[::-1]

    async def jobs_of(self, schedule: Schedule) -> list[Job]:
        """All jobs of the schedule, oldest first."""
        page = await self.scene.store.jobs.page(limit=1000)
        return [job for job in page.jobs[::-1] if job.schedule == schedule.schedule_id]

    def has_timer(self, schedule: Schedule) -> bool:
        name = timer_name(schedule.schedule_id)
        file = self.scene.settings.runtime_directory / "systemd/user" / name
        units = self.scene.units
        return file.exists() and name in units.started and name not in units.stopped

    async def end(self, jobs: JobParts, job: Job) -> None:
        """The script of a job ends, once systemd was asked to start it."""
        await until(lambda: job.unit in self.scene.units.started)
        known = await jobs.registry.get(job.job_id)
        self.scene.ends(jobs, known)

        async def ended() -> bool:
            return (await jobs.registry.get(job.job_id)).status is not JobState.RUNNING and (
                jobs.registry.active(job.job_id) is None
            )

        await until(ended)


async def create(jobs: JobParts, *, key: str | None = None, **fields: Any) -> Schedule:
    """A schedule of alice's."""
    return await jobs.schedules.create("alice", request(**fields), idempotency_key=key, by=ALICE)


def states(runs: list[ScheduleRun]) -> list[tuple[str, RunState]]:
    """The times and states of runs."""
    return [(f"{run.slot:%d %H:%M}", run.status) for run in runs]
