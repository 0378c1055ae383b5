"""Looks after the disk while jobs run: ends those that take more than they may, before they take all."""

import asyncio
import logging
import shutil

from ..config import Settings
from ..errors import AgentError
from ..host.systemd import Units
from ..model.job import Job, JobState, Reason
from .registry import Jobs

log = logging.getLogger("ml-agent")

INTERVAL = 3.0  # seconds between two looks; what a job can write in two of them is how far it may overshoot
MIN_GROWTH = 2**20  # bytes between two looks; who has written less has not taken the room
FULL = "The disk was about to be full, and the job was writing the most to it."


class Warden:
    """Every few seconds: what each running job has in /artifacts, and what the file system has left."""

    def __init__(self, settings: Settings, jobs: Jobs, units: Units) -> None:
        self._settings = settings
        self._jobs = jobs
        self._units = units
        self._known: dict[str, int] | None = None  # what each had taken at the last look

    async def run(self) -> None:
        """Looks, at once and then again and again, until it is cancelled."""
        while True:
            try:
                await self._look()
            except (AgentError, OSError) as error:
                log.warning("the disk: %s", error)
            await asyncio.sleep(INTERVAL)

    async def _look(self) -> None:
        running = [job for job in self._jobs.begun(None) if job.status is JobState.RUNNING]
        grown: dict[str, int] = {}
        for job in running:
            taken = await self._jobs.taken(job)
            if taken.excess:
                self._jobs.end(job, Reason.ARTIFACT_QUOTA, taken.excess)
            # What is deleted and still open is in no directory: only the kernel counts that, if asked to.
            grown[job.job_id] = max(taken.bytes, await self._written(job))
        before, self._known = self._known, grown
        if running:
            # At the first look nobody has grown: what jobs took before is not for this agent to say.
            before = grown if before is None else before
            growth = {job_id: size - before.get(job_id, 0) for job_id, size in grown.items()}
            self._make_room(running, growth)

    async def _written(self, job: Job) -> int:
        """Bytes by the kernel's count, 0 where nobody counts or the manager does not answer."""
        try:
            return await self._units.written(job.unit) or 0
        except AgentError:
            return 0

    def _make_room(self, running: list[Job], growth: dict[str, int]) -> None:
        """Ends one job, if the disk is about to be full: the one that grew most since the last look.

        Where none is seen to grow and the room goes on shrinking, it is the one that began last.
        """
        disk = shutil.disk_usage(self._settings.state_directory)
        floor = self._settings.jobs.free_floor(disk.total)
        if disk.free >= floor:
            return
        most = max(running, key=lambda job: growth[job.job_id])
        if growth[most.job_id] < MIN_GROWTH:
            if disk.free >= floor / 2:
                return
            most = max(running, key=lambda job: job.started_at or job.created_at)
        log.warning("only %d bytes are free: job %s is ended", disk.free, most.job_id)
        self._jobs.end(most, Reason.STORAGE_FULL, FULL)
