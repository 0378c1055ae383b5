"""Watches the disk while jobs run: ends jobs that exceed their quota, and one job before the disk is full."""

import asyncio
import logging
import shutil

from ..config import Settings
from ..errors import AgentError
from ..host.systemd import Units
from ..model.job import Job, JobState, Reason
from .reconciler import Reconciler
from .registry import Registry
from .results import Results

log = logging.getLogger("ml-agent")

INTERVAL = 3.0  # seconds between two looks; a job may overshoot by what it can write in two of them
MIN_GROWTH = 2**20  # bytes between two looks; a job that has written less did not take the room
FULL = "The disk was almost full, and this job was writing the most to it."


class DiskGuard:
    """Every few seconds: what each running job has in /artifacts, and what the file system has left."""

    def __init__(
        self, settings: Settings, registry: Registry, results: Results, reconciler: Reconciler, units: Units
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._results = results
        self._reconciler = reconciler
        self._units = units
        self._known: dict[str, int] | None = None  # by job, the bytes that it had taken at the last look

    async def run(self) -> None:
        """Looks, at once and then every `INTERVAL` seconds, until it is cancelled."""
        while True:
            try:
                await self.look()
            except (AgentError, OSError) as error:
                log.warning("the disk: %s", error)
            await asyncio.sleep(INTERVAL)

    async def look(self) -> None:
        """Looks once. Raises `AgentError` or `OSError` where something cannot be looked at."""
        running = [job for job in self._registry.started(None) if job.status is JobState.RUNNING]
        grown: dict[str, int] = {}
        for job in running:
            taken = await self._results.measure(job)
            if taken.excess:
                self._reconciler.order_end(job, Reason.ARTIFACT_QUOTA, taken.excess)
            # A file that is deleted and still open is in no directory; only the kernel counts it, if asked.
            grown[job.job_id] = max(taken.bytes, await self._written(job))
        before, self._known = self._known, grown
        if running:
            # At the first look no job has grown: what they took before, this agent cannot tell.
            before = grown if before is None else before
            growth = {job_id: size - before.get(job_id, 0) for job_id, size in grown.items()}
            self._make_room(running, growth)

    async def _written(self, job: Job) -> int:
        """Bytes by the kernel's count; 0 where it does not count, or the manager does not answer."""
        try:
            return await self._units.written(job.unit) or 0
        except AgentError:
            return 0

    def _make_room(self, running: list[Job], growth: dict[str, int]) -> None:
        """If the disk is about to be full, ends the job that grew most since the last look.

        Where no job is seen to grow and the room still shrinks, ends the one that began last.
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
        log.warning("only %d bytes are free: ending job %s", disk.free, most.job_id)
        self._reconciler.order_end(most, Reason.STORAGE_FULL, FULL)
